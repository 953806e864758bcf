//! Prices of what is not a token: searches, sessions, images, seconds, characters, pages.

use super::bill::Bill;
use super::units::Units;
use crate::model::{Usage, UsageDetails};

/// Milliseconds in a second.
const MS_PER_SECOND: u64 = 1_000;

/// Prices of units, in 1e-12 dollars each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fees {
    /// For each search of the web.
    pub(super) web_search: Option<u64>,
    /// Whether the price of a search depends on how much it brings, which responses do not say.
    pub(super) does_web_search_vary: bool,
    /// Whether searches are billed by answer, however many there were.
    pub(super) is_web_search_by_answer: bool,
    /// For each look-up on a map; by answer, as searches are.
    pub(super) maps_search: Option<u64>,
    pub(super) file_search: Option<u64>,
    pub(super) code_session: Option<u64>,
    /// For each request.
    pub(super) request: Option<u64>,
    /// For each query of a search or a ranking.
    pub(super) query: Option<u64>,
    pub(super) output_image: Option<u64>,
    pub(super) input_image: Option<u64>,
    /// For each second of audio that is read.
    pub(super) input_audio_second: Option<u64>,
    /// For each second of audio, where nothing else has a price.
    pub(super) audio_second: Option<u64>,
    pub(super) input_video_second: Option<u64>,
    pub(super) output_video_second: Option<u64>,
    /// Whether the price of a second of video depends on its resolution, which responses do not say.
    pub(super) does_video_vary: bool,
    pub(super) character: Option<u64>,
    pub(super) page: Option<u64>,
    pub(super) page_in_batch: Option<u64>,
}

impl Fees {
    /// Adds the provider's own tools that ran. Those with tokens of their own are billed elsewhere.
    pub(super) fn add_tools(&self, details: &UsageDetails, bill: &mut Bill) {
        for tool in &details.server_tools {
            let runs = tool.request_count.unwrap_or(0);
            if runs == 0 || tool.usage.is_some() {
                continue;
            }
            let by_answer = match self.is_web_search_by_answer {
                true => 1,
                false => runs,
            };
            let name = tool.tool_name.as_str();
            match name {
                "web_search" => {
                    let is_certain = !self.does_web_search_vary;
                    bill.add(by_answer, (self.web_search, is_certain), name);
                }
                "google_maps" => bill.add(by_answer, (self.maps_search, true), name),
                "file_search" => bill.add(runs, (self.file_search, true), name),
                "code_interpreter" => bill.add(runs, (self.code_session, true), name),
                // No provider charges for these beyond their tokens.
                "web_fetch" | "tool_search" => {}
                _ => bill.add(runs, (None, false), name),
            }
        }
    }

    /// Adds units that are billed beside tokens or in their place.
    pub(super) fn add_units(
        &self,
        units: &Units<'_>,
        usage: &Usage,
        is_batch: bool,
        bill: &mut Bill,
    ) {
        let count = |units: Option<u64>| units.unwrap_or(0);
        let has_output = count(usage.output_tokens) > 0;
        let has_tokens = has_output || count(usage.input_tokens) > 0;
        // What has tokens and no price of its own is paid by its tokens.
        let add = |bill: &mut Bill, units: Option<u64>, parts: u64, price: Option<u64>, name| {
            if price.is_some() || !has_tokens {
                bill.add_part(count(units), parts, (price, true), name);
            }
        };
        add(
            bill,
            units.input_images,
            1,
            self.input_image,
            "input_images",
        );
        add(bill, units.characters, 1, self.character, "characters");
        add(bill, units.queries, 1, self.query, "queries");
        let audio = match has_tokens {
            true => self.input_audio_second,
            false => self.input_audio_second.or(self.audio_second),
        };
        add(bill, units.audio_ms, MS_PER_SECOND, audio, "audio_ms");
        let video = self.input_video_second;
        add(
            bill,
            units.input_video_ms,
            MS_PER_SECOND,
            video,
            "input_video_ms",
        );
        let video = (self.output_video_second, !self.does_video_vary);
        if !has_tokens || video.0.is_some() {
            bill.add_part(count(units.video_ms), MS_PER_SECOND, video, "video_ms");
        }
        // Images have either a price each or one of their tokens.
        if !has_output {
            bill.add(count(units.images), (self.output_image, true), "images");
        }
        let page = match is_batch {
            true => (
                self.page_in_batch.or(self.page),
                self.page_in_batch.is_some(),
            ),
            false => (self.page, true),
        };
        bill.add(count(units.pages), page, "pages");
        for unit in &units.others {
            bill.add(unit.count, (None, false), &unit.unit);
        }
    }
}
