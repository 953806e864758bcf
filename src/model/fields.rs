//! The fields of a request, in the order of the JSON contract: the one table from which rows, exports, schemas and
//! documents are made or checked.

use super::RequestRecord;
use super::field_value::FieldValue;

/// Which event has the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The opening's event.
    Opening,
    /// The opening's event, or the end's if the opening has none.
    OpeningElseEnd,
    /// Both events: the end's values take the place of the opening's with the same keys.
    Merged,
    /// A `served` event or the end's; a later value replaces an earlier one.
    Serving,
    /// The end's event.
    End,
    /// Both events: names of the opening, then those of the end.
    OpeningAndEnd,
    /// Derived when a request is read; no column of `requests`.
    Reading,
}

/// One field of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) known: Known,
    /// Its column's type in an SQLite export.
    pub(crate) sql_type: &'static str,
}

const fn field(name: &'static str, known: Known, sql_type: &'static str) -> Field {
    Field {
        name,
        known,
        sql_type,
    }
}

/// All fields.
pub(crate) const FIELDS: [Field; COUNT] = [
    field("opened_seq", Known::Opening, "INTEGER PRIMARY KEY"),
    field("ended_seq", Known::End, "INTEGER"),
    field("request_id", Known::Opening, "TEXT NOT NULL"),
    field("status", Known::End, "TEXT NOT NULL"),
    field("opened_at", Known::Opening, "INTEGER NOT NULL"),
    field("latency_us", Known::End, "INTEGER"),
    field("upstream_latency_us", Known::End, "INTEGER"),
    field("time_to_first_chunk_us", Known::End, "INTEGER"),
    field("user_id", Known::OpeningElseEnd, "TEXT"),
    field("session_id", Known::Opening, "TEXT"),
    field("context_id", Known::Opening, "TEXT"),
    field("conversation_id", Known::OpeningElseEnd, "TEXT"),
    field("trace_id", Known::Opening, "TEXT"),
    field("actor_type", Known::Opening, "TEXT"),
    field("actor_id", Known::Opening, "TEXT"),
    field("operation_name", Known::Opening, "TEXT"),
    field("url_path", Known::Opening, "TEXT"),
    field("provider_name", Known::Opening, "TEXT"),
    field("response_provider_name", Known::Serving, "TEXT"),
    field("client_model", Known::Opening, "TEXT"),
    field("request_model", Known::Opening, "TEXT"),
    field("response_model", Known::Serving, "TEXT"),
    field("wire_protocol", Known::Opening, "TEXT"),
    field("is_streaming", Known::Opening, "INTEGER NOT NULL"),
    field("max_tokens", Known::Opening, "INTEGER"),
    field("temperature", Known::Opening, "REAL"),
    field("top_p", Known::Opening, "REAL"),
    field("attributes", Known::Merged, "TEXT"),
    field("input_tokens", Known::End, "INTEGER"),
    field("output_tokens", Known::End, "INTEGER"),
    field("cache_read_input_tokens", Known::End, "INTEGER"),
    field("cache_write_input_tokens", Known::End, "INTEGER"),
    field("reasoning_output_tokens", Known::End, "INTEGER"),
    field("usage_source", Known::End, "TEXT"),
    field("usage_details", Known::End, "TEXT"),
    field("cost_microdollars", Known::End, "INTEGER"),
    field("cost_source", Known::End, "TEXT"),
    field("price_book_seq", Known::End, "INTEGER"),
    field("finish_reasons", Known::End, "TEXT"),
    field("tool_call_count", Known::End, "INTEGER NOT NULL"),
    field("response_id", Known::End, "TEXT"),
    field("http_status", Known::End, "INTEGER"),
    field("error_type", Known::End, "TEXT"),
    field("error_message", Known::End, "TEXT"),
    field("request_bytes", Known::Opening, "INTEGER NOT NULL"),
    field("response_bytes", Known::End, "INTEGER"),
    field("adjusted_fields", Known::OpeningAndEnd, "TEXT"),
    field("body_flags", Known::OpeningAndEnd, "TEXT"),
    field("is_erased", Known::Reading, "INTEGER NOT NULL"),
    field("is_id_shared", Known::Reading, "INTEGER NOT NULL"),
];

pub(super) const COUNT: usize = 50;

/// Names of the `N` fields whose values come from these events, in the table's order. Fails to compile with another
/// number.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler only")]
pub(crate) const fn names_known<const N: usize>(known: Known) -> [&'static str; N] {
    let mut names = [""; N];
    let (mut place, mut found) = (0, 0);
    while place < COUNT {
        if FIELDS[place].known as u8 == known as u8 {
            names[found] = FIELDS[place].name;
            found += 1;
        }
        place += 1;
    }
    assert!(found == N, "another number of fields is known then");
    names
}

/// When the request arrived, as ISO 8601; in exports beside `opened_at`.
const OPENED_AT_ISO: &str = "opened_at_iso";
/// Its cost in US dollars; in exports beside `cost_microdollars`.
const COST_DOLLARS: &str = "cost_dollars";

/// A form of a field that is easier to read, for people.
const READABLE: [(&str, (&str, &str)); 2] = [
    (OPENED_AT, (OPENED_AT_ISO, "TEXT")),
    (COST, (COST_DOLLARS, "REAL")),
];
const OPENED_AT: &str = "opened_at";
const COST: &str = "cost_microdollars";

/// Columns of exports for people: all fields with their types, and after two of them a form that is easier to read.
pub(crate) fn export_columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    FIELDS.iter().flat_map(|field| {
        let readable = READABLE.iter().find(|(name, _)| *name == field.name);
        let readable = readable.map(|(_, column)| *column);
        [Some((field.name, field.sql_type)), readable]
            .into_iter()
            .flatten()
    })
}

impl RequestRecord {
    /// Visits the values of [`export_columns`], of which two are given in the form that is easier to read.
    pub(crate) fn visit_export_values<'r>(
        &'r self,
        opened_at: FieldValue<'r>,
        cost: FieldValue<'r>,
        mut visit: impl FnMut(FieldValue<'r>),
    ) {
        for (name, value) in &self.fields() {
            visit(*value);
            match *name {
                OPENED_AT => visit(opened_at),
                COST => visit(cost),
                _ => {}
            }
        }
    }

    /// Names of all fields, as JSON, CSV and SQLite exports spell them, in their order.
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler only")]
    pub const FIELD_NAMES: [&'static str; COUNT] = {
        let mut names = [""; COUNT];
        let mut place = 0;
        while place < COUNT {
            names[place] = FIELDS[place].name;
            place += 1;
        }
        names
    };
}
