//! The page that `auditlite show` prints. Everything from the database is escaped here.

use std::borrow::Cow;
use std::io::{self, Write};

use auditlite::{
    BodyInfo, CanonicalMessage, CostSource, MessagePart, Payload, PayloadSide, RequestRecord,
    ToolLink, ToolResult, UsageSource,
};

use crate::cli::commands::payload::truncation;
use crate::cli::support::json::Details;
use crate::cli::support::style::Style;
use crate::cli::support::text::{self, Fold, escape};
use crate::cli::support::{format, marks, time};

/// Largest body that is indented as JSON, in bytes; a larger one is shown as it is.
const INDENTED_BYTES_MAX: usize = 256 * 1024;
/// Digits of a price list's digest that are shown.
const DIGEST_DIGITS: usize = 12;
/// Width of the column of names.
const NAME_WIDTH: usize = 16;

/// Writes the page.
pub(crate) struct Page<'a> {
    /// Where it goes.
    pub(crate) out: &'a mut dyn Write,
    /// Nothing is folded.
    pub(crate) is_full: bool,
}

impl Page<'_> {
    /// Everything except messages and bodies.
    pub(super) fn details(&mut self, details: &Details, has_calls: bool) -> io::Result<()> {
        let record = &details.record;
        self.line("request", &record.request_id)?;
        if record.is_id_shared {
            let reference = record.reference();
            self.line(
                "same id",
                &format!("also of other requests; this one is {reference}"),
            )?;
        }
        let status = Style::of_status(record.status).paint(record.status.as_str());
        self.painted("status", &status)?;
        if record.is_erased {
            self.line("erased", "yes: its content, and who it was of")?;
        }
        self.times(details)?;
        self.error(record)?;
        self.who(record)?;
        self.model(record)?;
        self.usage(details)?;
        self.bodies(details)?;
        self.body_flags(&record.body_flags)?;
        self.adjusted_fields(&record.adjusted_fields)?;
        self.attributes(&record.attributes)?;
        if has_calls {
            self.tool_calls(details)?;
        }
        Ok(())
    }

    /// What was changed or left out when the request was recorded, in words.
    fn body_flags(&mut self, body_flags: &[String]) -> io::Result<()> {
        for name in body_flags {
            let what = match name.as_str() {
                "usage_unparsed" => {
                    "of its usage: some counts are negative or no numbers, and left out"
                }
                "unprepared" => "by a fault of the writer: what is not shown was not recorded",
                "row_refused" => {
                    "the file did not let more of this row in; the log has it, \
                     `doctor --rebuild` writes it again"
                }
                _ => "",
            };
            if !what.is_empty() {
                self.line("incomplete", what)?;
                continue;
            }
            let (label, body) = match name.rsplit_once('_') {
                Some((body, "unparsed")) => ("not read", body),
                Some((body, "withheld")) => ("withheld", body),
                // A flag of a later version.
                _ => ("flagged", name.as_str()),
            };
            let why = match label {
                "not read" => "is not, or not in full, of its protocol; kept as it came",
                _ => "the redaction failed on it, so that it was left out",
            };
            self.line(label, &format!("the {body} body: {why}"))?;
        }
        Ok(())
    }

    fn adjusted_fields(&mut self, names: &[String]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let names = names.join(", ");
        self.line(
            "adjusted",
            &format!("{names} (out of bounds: shortened or left out)"),
        )
    }

    fn times(&mut self, details: &Details) -> io::Result<()> {
        let record = &details.record;
        self.line("opened", &time::exact(record.opened_at))?;
        self.optional("latency", record.latency_us.map(format::latency))?;
        let parts = [
            ("  upstream", record.upstream_latency_us),
            ("  gateway", details.overhead_us()),
            ("  first chunk", record.time_to_first_chunk_us),
        ];
        for (name, part) in parts {
            self.optional(name, part.map(format::latency))?;
        }
        let ended = record.ended_seq.map(|seq| format!(", ended at {seq}"));
        let events = format!(
            "opened at {}{}",
            record.opened_seq,
            ended.unwrap_or_default()
        );
        self.line("log", &events)
    }

    fn error(&mut self, record: &RequestRecord) -> io::Result<()> {
        self.optional("http status", record.http_status)?;
        self.optional("error", record.error_type.as_deref())?;
        if let Some(message) = &record.error_message {
            self.line("error message", &text::shorten(message, self.characters()))?;
        }
        Ok(())
    }

    fn who(&mut self, record: &RequestRecord) -> io::Result<()> {
        self.optional("user", record.user_id.as_deref())?;
        self.optional("session", record.session_id.as_deref())?;
        self.optional("context", record.context_id.as_deref())?;
        self.optional("conversation", record.conversation_id.as_deref())?;
        self.optional("trace", record.trace_id.as_deref())?;
        let actor = record.actor_type.as_deref().map(|kind| {
            let id = record.actor_id.as_deref().unwrap_or(format::ABSENT);
            format!("{kind} {id}")
        });
        self.optional("actor", actor)
    }

    fn model(&mut self, record: &RequestRecord) -> io::Result<()> {
        self.optional("operation", record.operation_name.as_deref())?;
        self.optional("path", record.url_path.as_deref())?;
        self.optional("provider", record.provider_name.as_deref())?;
        self.optional("  served by", record.response_provider_name.as_deref())?;
        self.optional("model", record.request_model.as_deref())?;
        self.optional("  asked for", record.client_model.as_deref())?;
        self.optional("  served by", record.response_model.as_deref())?;
        self.optional("protocol", record.wire_protocol.as_deref())?;
        self.optional("streamed", record.is_streaming.then_some("yes"))?;
        self.optional("max tokens", record.max_tokens.map(format::count))?;
        self.optional("temperature", record.temperature)?;
        self.optional("top p", record.top_p)?;
        self.optional("response id", record.response_id.as_deref())?;
        let reasons = &record.finish_reasons;
        self.optional(
            "finished",
            (!reasons.is_empty()).then(|| reasons.join(", ")),
        )
    }

    fn usage(&mut self, details: &Details) -> io::Result<()> {
        let record = &details.record;
        let parts = [
            (record.cache_read_input_tokens, "read from cache"),
            (record.cache_write_input_tokens, "written to cache"),
        ];
        self.tokens(record, "tokens in", record.input_tokens, &parts)?;
        let parts = [(record.reasoning_output_tokens, "reasoning")];
        self.tokens(record, "tokens out", record.output_tokens, &parts)?;
        let has_usage = record.input_tokens.is_some() || record.output_tokens.is_some();
        self.optional("", record.usage_source.and_then(usage_words))?;
        match record.cost_microdollars {
            Some(_) => self.line("cost", &marks::cost(record)),
            None if has_usage => self.line("cost", "not known: no price for the model"),
            None => Ok(()),
        }?;
        let words = record.cost_source.and_then(cost_words);
        self.optional("", words.map(|words| cost_of_book(words, details)))
    }

    fn tokens(
        &mut self,
        record: &RequestRecord,
        name: &str,
        total: Option<u64>,
        parts: &[(Option<u64>, &str)],
    ) -> io::Result<()> {
        let parts: Vec<_> = parts
            .iter()
            .filter_map(|(part, words)| Some(format!("{} {words}", format::count((*part)?))))
            .collect();
        if total.is_none() && parts.is_empty() {
            return Ok(());
        }
        let mut words = marks::tokens(total, record);
        if !parts.is_empty() {
            words = format!("{words} ({})", parts.join(", "));
        }
        self.line(name, &words)
    }

    fn bodies(&mut self, details: &Details) -> io::Result<()> {
        let record = &details.record;
        let sides = [
            ("request body", details.request, true),
            (
                "response body",
                details.response,
                record.response_bytes.is_some(),
            ),
        ];
        for (name, info, is_recorded) in sides {
            let Some(info) = info else {
                let seen = details.response_so_far.as_ref();
                let words = match (seen.filter(|_| name == "response body"), is_recorded) {
                    (Some(seen), _) => format!("{} seen so far", format::bytes(seen.length)),
                    (None, true) => "damaged".to_owned(),
                    (None, false) => "none".to_owned(),
                };
                self.line(name, &words)?;
                continue;
            };
            self.line(name, &kept(&info))?;
            self.optional("", info.sha256.map(|digest| format!("sha256:{digest}")))?;
        }
        Ok(())
    }

    fn attributes(&mut self, attributes: &[(String, String)]) -> io::Result<()> {
        if attributes.is_empty() {
            return Ok(());
        }
        self.heading("attributes")?;
        for (key, value) in attributes {
            writeln!(self.out, "  {}:", escape(key))?;
            self.indented(value, Fold::PART, 4)?;
        }
        Ok(())
    }

    fn tool_calls(&mut self, details: &Details) -> io::Result<()> {
        let calls = &details.tool_calls;
        if calls.is_empty() {
            return Ok(());
        }
        self.heading(&format!("tool calls ({})", calls.len()))?;
        for call in calls {
            writeln!(
                self.out,
                "  {}. {}  {}  {}",
                call.position.saturating_add(1),
                escape(&call.tool_name),
                escape(&call.tool_call_id),
                format::bytes(call.input_bytes),
            )?;
            match &call.input {
                Some(input) => {
                    self.indented(&indented_if_short(input), Fold::PART, 5)?;
                    let kept = u64::try_from(input.len()).unwrap_or(u64::MAX);
                    let missing = call.input_bytes.saturating_sub(kept);
                    if missing > 0 {
                        writeln!(self.out, "     … {missing} more bytes are not kept")?;
                    }
                }
                None => writeln!(self.out, "     (input not kept)")?,
            }
            self.link(details.tool_links.get(&call.position), 5)?;
            self.result(details.result_of(&call.tool_call_id), 5)?;
        }
        Ok(())
    }

    /// What is missing of the messages, before them.
    pub(super) fn left_out(&mut self, messages: u64) -> io::Result<()> {
        if messages == 0 {
            return Ok(());
        }
        let messages = format::counted(messages, "message", "messages");
        let words = format!("the first {messages} of the request; `auditlite payload` writes them");
        self.line("left out", &words)
    }

    /// Messages under a heading.
    pub(super) fn messages(
        &mut self,
        heading: &str,
        messages: &[CanonicalMessage],
        details: &Details,
    ) -> io::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        match messages.len() {
            1 => self.heading(heading)?,
            several => self.heading(&format!("{heading} ({several})"))?,
        }
        for message in messages {
            self.message("", message, "", Some(details))?;
        }
        Ok(())
    }

    /// One message. `remark` is written behind the role, as it is; results of tool calls are looked
    /// up in `details`.
    pub(crate) fn message(
        &mut self,
        number: &str,
        message: &CanonicalMessage,
        remark: &str,
        details: Option<&Details>,
    ) -> io::Result<()> {
        let role = Style::Role.paint(&escape(&message.role));
        let line = format!("  {number}{role}  {remark}");
        let is_apart = !number.is_empty();
        if is_apart {
            writeln!(self.out)?;
        }
        writeln!(self.out, "{}", line.trim_end())?;
        for part in &message.parts {
            match part {
                MessagePart::Text(text) => self.indented(text, Fold::SCREEN, 4)?,
                MessagePart::Thinking(text) => {
                    self.remark("thinking")?;
                    self.indented(text, Fold::PART, 6)?;
                }
                MessagePart::Refusal(text) => {
                    self.remark("refuses")?;
                    self.indented(text, Fold::PART, 6)?;
                }
                MessagePart::ToolCall(call) => {
                    let name = escape(&call.tool_name);
                    self.remark(&format!("calls {name}  {}", escape(&call.tool_call_id)))?;
                    self.indented(&indented_if_short(&call.input), Fold::PART, 6)?;
                    self.link(details.and_then(|details| details.link_of(call)), 4)?;
                    let result = details.and_then(|details| details.result_of(&call.tool_call_id));
                    self.result(result, 4)?;
                }
                MessagePart::ToolResult(result) => {
                    self.remark(&format!("result of {}", escape(&result.tool_call_id)))?;
                    self.indented(&result.text, Fold::PART, 6)?;
                }
                MessagePart::Other(kind) => self.remark(&format!("({})", escape(kind)))?,
                // Kinds of parts that are added later.
                _ => self.remark("(a part that is not shown)")?,
            }
        }
        Ok(())
    }

    fn remark(&mut self, words: &str) -> io::Result<()> {
        let words = Style::Quiet.paint(words.trim_end());
        writeln!(self.out, "    {words}")
    }

    /// Which request executed a call, or asked for it.
    fn link(&mut self, link: Option<&ToolLink>, columns: usize) -> io::Result<()> {
        let Some(link) = link else { return Ok(()) };
        let reference = escape(&link.reference);
        let words = match (link.is_execution, &link.error_type) {
            (false, _) => format!("asked for in {reference}"),
            (true, None) => format!("executed by {reference}: {}", link.status.as_str()),
            (true, Some(error)) => format!(
                "executed by {reference}: {}, {}",
                link.status.as_str(),
                escape(error)
            ),
        };
        writeln!(self.out, "{:columns$}{}", "", Style::Quiet.paint(&words))
    }

    /// What a tool returned.
    fn result(&mut self, result: Option<&ToolResult>, columns: usize) -> io::Result<()> {
        let Some(result) = result else { return Ok(()) };
        let words = format!("returned, in {}", escape(&result.reference));
        writeln!(self.out, "{:columns$}{}", "", Style::Quiet.paint(&words))?;
        self.indented(&result.text, Fold::PART, columns.saturating_add(2))
    }

    /// One of the two bodies.
    pub(super) fn body(&mut self, side: PayloadSide, payload: &Payload) -> io::Result<()> {
        self.heading(&format!("{side} body"))?;
        let Some(head) = payload.head else {
            return self.bytes(&payload.bytes);
        };
        let head = usize::try_from(head).unwrap_or(usize::MAX);
        let (head, tail) = payload
            .bytes
            .split_at_checked(head)
            .unwrap_or((&payload.bytes, &[]));
        self.bytes(head)?;
        if let Some(truncation) = truncation(payload) {
            writeln!(self.out, "  … {truncation} …")?;
        }
        self.bytes(tail)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.block(&indented_if_short(text), Fold::SCREEN),
            Err(_) => writeln!(
                self.out,
                "  ({} that are not text; `auditlite payload` writes them)",
                format::bytes(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            ),
        }
    }

    fn heading(&mut self, heading: &str) -> io::Result<()> {
        writeln!(self.out, "\n{}", Style::Heading.paint(heading))
    }

    /// A name and a value.
    pub(crate) fn line(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.painted(name, &escape(value))
    }

    fn painted(&mut self, name: &str, value: &str) -> io::Result<()> {
        let name = Style::Quiet.paint(&format!("{name:<NAME_WIDTH$}"));
        writeln!(self.out, "{}", format!("{name}{value}").trim_end())
    }

    /// A name and a value, where there is one.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl ToString>) -> io::Result<()> {
        match value {
            Some(value) => self.line(name, &value.to_string()),
            None => Ok(()),
        }
    }

    fn block(&mut self, text: &str, fold: Fold) -> io::Result<()> {
        self.indented(text, fold, 2)
    }

    fn indented(&mut self, text: &str, fold: Fold, columns: usize) -> io::Result<()> {
        let fold = if self.is_full { Fold::NONE } else { fold };
        for line in text::fold(text, fold) {
            let line = format!("{:columns$}{line}", "");
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn characters(&self) -> usize {
        if self.is_full {
            Fold::NONE.characters
        } else {
            Fold::PART.characters
        }
    }
}

/// Where counts come from, unless they are the provider's final ones.
fn usage_words(source: UsageSource) -> Option<&'static str> {
    match source {
        UsageSource::Partial => Some("at least: the response broke off before its final counts"),
        UsageSource::Told => Some("as the gateway told"),
        UsageSource::Absent => Some("tokens are not known"),
        _ => None,
    }
}

/// Where a cost comes from.
fn cost_words(source: CostSource) -> Option<&'static str> {
    match source {
        CostSource::Computed => Some("computed"),
        CostSource::Stated => Some("stated by the response"),
        CostSource::Told => Some("as the gateway told"),
        CostSource::Partial => {
            Some("at least: computed from the counts of a response that broke off")
        }
        CostSource::Incomplete => Some("without something that has no price: computed"),
        _ => None,
    }
}

/// `computed from litellm (2,843 prices, sha256:…), stated by #7`.
fn cost_of_book(words: &str, details: &Details) -> String {
    let Some(seq) = details.record.price_book_seq else {
        return words.to_owned();
    };
    let sources = details.price_book.iter().map(|source| {
        let digest = source.sha256.to_string();
        let digest = digest.get(..DIGEST_DIGITS).unwrap_or_default();
        let prices = format::counted(source.entries, "price", "prices");
        let name = match source.format.as_str() {
            "built_in" => Cow::Borrowed("built-in prices"),
            format => escape(format),
        };
        let date = source
            .date
            .as_deref()
            .map(|date| format!(" of {}", escape(date)));
        format!(
            "{name}{} ({prices}, sha256:{digest}…)",
            date.unwrap_or_default()
        )
    });
    let sources = sources.collect::<Vec<_>>().join(", ");
    let from = if sources.is_empty() {
        "a price book".to_owned()
    } else {
        sources
    };
    format!("{words} from {from}, event {seq}")
}

fn indented_if_short(text: &str) -> Cow<'_, str> {
    if text.len() > INDENTED_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    text::indent_json(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn kept(info: &BodyInfo) -> String {
    let mut length = format::counted(info.length, "byte", "bytes");
    if info.is_unchecked {
        length.push_str(", not checked: its line in the log cannot be read");
        if info.removed == Some("missing") {
            length.push_str(", and it is missing");
        }
    }
    if info.kept == info.length || info.is_unchecked && info.removed.is_some() {
        return length;
    }
    if info.removed == Some("missing") {
        return format!("{length}, missing, though the log says that it was kept");
    }
    if let Some(removed) = info.removed {
        return format!("{length}, {removed}");
    }
    if info.is_deferred {
        return format!("{length}, not kept (capture was deferred)");
    }
    if info.kept == 0 {
        return format!("{length}, not kept");
    }
    format!("{length}, of which {} are kept", format::count(info.kept))
}
