//! Units other than tokens that price books have prices for, by the names that usage has for them.

use crate::model::BilledUnit;

/// Amounts of them; `None`: not stated.
#[derive(Debug, Clone, Default)]
pub(super) struct Units<'d> {
    /// Images that were made.
    pub(super) images: Option<u64>,
    /// Images that were read.
    pub(super) input_images: Option<u64>,
    /// Audio that was read or made, in milliseconds.
    pub(super) audio_ms: Option<u64>,
    /// Video that was made, in milliseconds.
    pub(super) video_ms: Option<u64>,
    /// Video that was read, in milliseconds.
    pub(super) input_video_ms: Option<u64>,
    pub(super) characters: Option<u64>,
    /// Pages of documents.
    pub(super) pages: Option<u64>,
    /// Queries of a search or a ranking.
    pub(super) queries: Option<u64>,
    /// What no book has a price for.
    pub(super) others: Vec<&'d BilledUnit>,
}

impl<'d> Units<'d> {
    pub(super) fn of(billed: &'d [BilledUnit]) -> Self {
        let mut units = Self::default();
        for unit in billed {
            let place = match unit.unit.as_str() {
                "images" => &mut units.images,
                "input_images" => &mut units.input_images,
                "audio_ms" | "input_audio_ms" => &mut units.audio_ms,
                "video_ms" => &mut units.video_ms,
                "input_video_ms" => &mut units.input_video_ms,
                "characters" => &mut units.characters,
                "pages" => &mut units.pages,
                "queries" | "search_units" => &mut units.queries,
                // Its length is not what a document costs.
                "document_bytes" => continue,
                _ => {
                    units.others.push(unit);
                    continue;
                }
            };
            *place = Some(place.unwrap_or(0).saturating_add(unit.count));
        }
        units
    }
}
