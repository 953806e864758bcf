//! How other programs read an export without a guess: code of theirs that names the type of every column.
//!
//! DuckDB takes a column of JSON Lines that is null in its first 20,480 lines for JSON without a value, and reads a later
//! one as NULL. pandas makes fractions of whole numbers where some are unknown, and takes a user named `NA` for
//! none. Polars refuses a late value.

use std::fmt::Write as _;

use super::{ExportContent, ExportFormat};
use crate::error::named;
use crate::model::{FIELDS, Field, export_columns};

/// Longest line that the code for DuckDB lets pass, in bytes: two bodies of the default cap, quoted.
const LINE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// A program for which [`export_schema`] writes code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportReader {
    /// A view in SQL, for DuckDB 1.1 or later.
    DuckDb,
    /// Python, for pandas 2 or later.
    Pandas,
    /// Python, for Polars 1 or later.
    Polars,
}

named! {
    ExportReader;
    DuckDb => "duckdb",
    Pandas => "pandas",
    Polars => "polars",
}

/// Code with which this program reads an export from `file`, without a guess at the type of any column: a view
/// `requests` in SQL, or a variable `requests` in Python. `None`: spans and SQLite databases have their types
/// themselves.
///
/// ```
/// use auditlite::{ExportContent, ExportFormat, ExportReader, export_schema};
///
/// let (format, content) = (ExportFormat::JsonLines, ExportContent::None);
/// let sql = export_schema(ExportReader::DuckDb, format, content, "requests.jsonl").unwrap_or_default();
/// assert!(sql.contains("error_type: 'VARCHAR'"));
/// ```
pub fn export_schema(
    reader: ExportReader,
    format: ExportFormat,
    content: ExportContent,
    file: &str,
) -> Option<String> {
    let columns = match format {
        ExportFormat::JsonLines => json_columns(),
        ExportFormat::Csv => csv_columns(content),
        ExportFormat::Otlp | ExportFormat::Sqlite => return None,
    };
    let is_csv = format == ExportFormat::Csv;
    let is_long = content != ExportContent::None;
    Some(match reader {
        ExportReader::DuckDb => duckdb(&columns, is_csv, is_long, file),
        ExportReader::Pandas => pandas(&columns, is_csv, file),
        ExportReader::Polars => polars(&columns, is_csv, file),
    })
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Fraction,
    /// Exact, with six digits after the point.
    Dollars,
    Truth,
    /// A time, as text of ISO 8601.
    Time,
    Texts,
    NamedTexts,
    /// An object with parts of several kinds.
    Details,
    ToolCalls,
    Body,
}

type Column = (&'static str, Kind);

fn kind(field: &Field) -> Kind {
    match (field.name, field.sql_type) {
        ("attributes", _) => Kind::NamedTexts,
        ("usage_details", _) => Kind::Details,
        ("finish_reasons" | "adjusted_fields" | "body_flags", _) => Kind::Texts,
        (name, _) if name.starts_with("is_") => Kind::Truth,
        (_, kind) if kind.starts_with("INTEGER") => Kind::Whole,
        (_, kind) if kind.starts_with("REAL") => Kind::Fraction,
        _ => Kind::Text,
    }
}

fn json_columns() -> Vec<Column> {
    let fields = FIELDS.iter().map(|field| (field.name, kind(field)));
    fields
        .chain([
            ("tool_calls", Kind::ToolCalls),
            ("request", Kind::Body),
            ("response", Kind::Body),
        ])
        .collect()
}

fn csv_columns(content: ExportContent) -> Vec<Column> {
    let of_field = |name: &'static str| {
        let field = FIELDS.iter().find(|field| field.name == name);
        let kind = match (name, field) {
            ("cost_dollars", _) => Kind::Dollars,
            ("opened_at_iso", _) => Kind::Time,
            (_, None) => Kind::Text,
            // Lists and objects are texts of JSON there.
            (_, Some(field)) => match kind(field) {
                Kind::Texts | Kind::NamedTexts | Kind::Details => Kind::Text,
                kind => kind,
            },
        };
        (name, kind)
    };
    let mut columns: Vec<Column> = export_columns().map(|(name, _)| of_field(name)).collect();
    let texts = [
        "tool_names",
        "request_sha256",
        "response_sha256",
        "unchecked",
    ];
    columns.extend(texts.map(|name| (name, Kind::Text)));
    if content != ExportContent::None {
        columns.extend(["request_text", "response_text"].map(|name| (name, Kind::Text)));
    }
    columns
}

fn duckdb(columns: &[Column], is_csv: bool, is_long: bool, file: &str) -> String {
    let kind = |kind| match kind {
        Kind::Text => "VARCHAR",
        Kind::Whole => "BIGINT",
        Kind::Fraction => "DOUBLE",
        Kind::Dollars => "DECIMAL(38, 6)",
        Kind::Truth => "BOOLEAN",
        Kind::Time => "TIMESTAMPTZ",
        Kind::Texts => "VARCHAR[]",
        Kind::NamedTexts => "MAP(VARCHAR, VARCHAR)",
        Kind::Details => "JSON",
        Kind::ToolCalls => {
            "STRUCT(tool_call_id VARCHAR, tool_name VARCHAR, input_bytes BIGINT, input VARCHAR)[]"
        }
        Kind::Body => {
            "STRUCT(length BIGINT, sha256 VARCHAR, not_exported VARCHAR, is_unchecked BOOLEAN, head BIGINT, \
             \"text\" VARCHAR, base64 VARCHAR)"
        }
    };
    let file = file.replace('\'', "''");
    let mut sql = match is_csv {
        true => format!(
            "CREATE OR REPLACE VIEW requests AS SELECT * FROM read_csv('{file}', auto_detect = false, \
             header = true,\n    delim = ',', quote = '\"', escape = '\"', new_line = '\\r\\n', nullstr = '',\n"
        ),
        false => format!(
            "CREATE OR REPLACE VIEW requests AS SELECT * FROM read_json('{file}', \
             format = 'newline_delimited',\n"
        ),
    };
    if is_long {
        let option = match is_csv {
            true => "max_line_size",
            false => "maximum_object_size",
        };
        let _ = writeln!(sql, "    {option} = {LINE_BYTES_MAX},");
    }
    sql.push_str("    columns = {\n");
    for (name, of) in columns {
        let _ = writeln!(sql, "        {name}: '{}',", kind(*of));
    }
    sql.push_str("    });\n");
    sql
}

fn pandas(columns: &[Column], is_csv: bool, file: &str) -> String {
    let kind = |kind| match kind {
        Kind::Text => "string",
        Kind::Whole => "Int64",
        Kind::Fraction | Kind::Dollars => "Float64",
        Kind::Truth => "boolean",
        Kind::Time
        | Kind::Texts
        | Kind::NamedTexts
        | Kind::Details
        | Kind::ToolCalls
        | Kind::Body => "object",
    };
    let mut code = match is_csv {
        true => "import pandas\n\n".to_owned(),
        false => "import json\n\nimport pandas\n\n".to_owned(),
    };
    code.push_str("COLUMNS = {\n");
    for (name, of) in columns {
        if *of != Kind::Time {
            let _ = writeln!(code, "    \"{name}\": \"{}\",", kind(*of));
        }
    }
    code.push_str("}\n");
    let file = python_text(file);
    code.push_str(&match is_csv {
        true => format!(
            "requests = pandas.read_csv(\n    {file}, dtype=COLUMNS, keep_default_na=False, na_values=[\"\"],\n    \
             parse_dates=[\"opened_at_iso\"], encoding=\"utf-8\",\n)\n"
        ),
        false => format!(
            "with open({file}, encoding=\"utf-8\", newline=\"\\n\") as lines:\n    rows = [json.loads(line) for line in lines]\n\
             requests = pandas.DataFrame(\n    {{name: pandas.Series([row[name] for row in rows], dtype=kind) \
             for name, kind in COLUMNS.items()}}\n)\n"
        ),
    });
    code
}

fn polars(columns: &[Column], is_csv: bool, file: &str) -> String {
    let kind = |kind| match kind {
        // Polars has no objects with any names: the text of JSON.
        Kind::Text | Kind::NamedTexts | Kind::Details => "polars.String",
        Kind::Whole => "polars.Int64",
        Kind::Fraction => "polars.Float64",
        // Read as text below, and converted exactly.
        Kind::Dollars | Kind::Time => "polars.String",
        Kind::Truth => "polars.Boolean",
        Kind::Texts => "polars.List(polars.String)",
        Kind::ToolCalls => "polars.List(TOOL_CALL)",
        Kind::Body => "BODY",
    };
    let mut code = "import polars\n\n".to_owned();
    if !is_csv {
        code.push_str(
            "TOOL_CALL = polars.Struct({\n    \"tool_call_id\": polars.String, \"tool_name\": polars.String,\n    \
             \"input_bytes\": polars.Int64, \"input\": polars.String,\n})\n\
             BODY = polars.Struct({\n    \"length\": polars.Int64, \"sha256\": polars.String, \
             \"not_exported\": polars.String,\n    \"is_unchecked\": polars.Boolean, \"head\": polars.Int64, \
             \"text\": polars.String, \"base64\": polars.String,\n})\n",
        );
    }
    code.push_str("COLUMNS = {\n");
    for (name, of) in columns {
        let _ = writeln!(code, "    \"{name}\": {},", kind(*of));
    }
    code.push_str("}\n");
    let file = python_text(file);
    code.push_str(&match is_csv {
        true => format!(
            "requests = polars.read_csv({file}, schema=COLUMNS).with_columns(\n    \
             polars.col(\"opened_at_iso\").str.to_datetime(\"%Y-%m-%dT%H:%M:%S%.6fZ\", time_unit=\"us\", \
             time_zone=\"UTC\"),\n    polars.col(\"cost_dollars\").cast(polars.Decimal(38, 6)),\n)\n"
        ),
        false => format!("requests = polars.read_ndjson({file}, schema=COLUMNS)\n"),
    });
    code
}

/// A text as Python and JSON spell it.
fn python_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The types of `docs/schemas/export.json`.
    #[test]
    fn every_column_has_the_type_of_its_schema() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../docs/schemas/export.json")).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let columns = json_columns();
        assert_eq!(columns.len(), properties.len());
        for (name, kind) in columns {
            let property = &properties[name];
            let types = property["type"].to_string();
            let expected = match kind {
                Kind::Whole => "integer",
                Kind::Fraction => "number",
                Kind::Truth => "boolean",
                Kind::Texts | Kind::ToolCalls => "array",
                Kind::NamedTexts | Kind::Details | Kind::Body => "object",
                _ => "string",
            };
            let is_named = property["enum"].is_array() && kind == Kind::Text;
            assert!(
                is_named || types.contains(expected) || kind == Kind::Body,
                "{name}: {types}"
            );
        }
    }

    #[test]
    fn a_name_of_a_file_stays_a_name() {
        for reader in ExportReader::ALL {
            for format in [ExportFormat::JsonLines, ExportFormat::Csv] {
                let code = export_schema(reader, format, ExportContent::None, "it's \"a\".x");
                let code = code.unwrap();
                let quoted = match reader {
                    ExportReader::DuckDb => "'it''s \"a\".x'",
                    _ => r#""it's \"a\".x""#,
                };
                assert!(code.contains(quoted), "{code}");
            }
        }
        let sqlite = export_schema(
            ExportReader::DuckDb,
            ExportFormat::Sqlite,
            ExportContent::None,
            "x",
        );
        assert_eq!(sqlite, None);
    }
}
