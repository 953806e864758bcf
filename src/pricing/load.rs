//! From a file to its format, and from bytes to a document. The only I/O of prices.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::book::Layer;
use super::{litellm, native};
use crate::error::PriceBookError;
use crate::regular_file;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Formats, as the log states them.
const LITELLM: &str = "litellm";
const OWN: &str = "own";
const BUILT_IN: &str = "built_in";

/// Reads a file of either format.
pub(super) fn load(path: &Path) -> Result<Layer, PriceBookError> {
    let bytes = read_bounded(path, FILE_BYTES_MAX)?;
    let is_toml = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    read(&bytes, is_toml).map_err(|error| PriceBookError::File {
        path: path.to_owned(),
        source: Box::new(error),
    })
}

/// Reads LiteLLM's list.
pub(super) fn litellm(text: &str) -> Result<Layer, PriceBookError> {
    Ok(litellm::read(&parse_json(text)?)?.read_from(LITELLM, text))
}

/// Reads the list that comes with the library.
pub(super) fn built_in(text: &str, date: &'static str) -> Result<Layer, PriceBookError> {
    let layer = litellm::read(&parse_json(text)?)?;
    Ok(layer.read_from(BUILT_IN, text).of_date(date))
}

/// Reads own prices from JSON.
pub(super) fn own_json(text: &str) -> Result<Layer, PriceBookError> {
    Ok(native::read(&parse_json(text)?)?.read_from(OWN, text))
}

/// Reads own prices from TOML.
pub(super) fn own_toml(text: &str) -> Result<Layer, PriceBookError> {
    Ok(native::read(&parse_toml(text)?)?.read_from(OWN, text))
}

/// Parses JSON.
fn parse_json(text: &str) -> Result<Value, PriceBookError> {
    serde_json::from_str(text).map_err(|error| PriceBookError::Syntax {
        format: "JSON",
        source: Box::new(error),
    })
}

/// Parses TOML into the same value as the equivalent JSON.
fn parse_toml(text: &str) -> Result<Value, PriceBookError> {
    toml::from_str(text).map_err(|error| PriceBookError::Syntax {
        format: "TOML",
        source: Box::new(error),
    })
}

fn read(bytes: &[u8], is_toml: bool) -> Result<Layer, PriceBookError> {
    let format = if is_toml { "TOML" } else { "JSON" };
    let text = std::str::from_utf8(bytes).map_err(|error| PriceBookError::Syntax {
        format,
        source: Box::new(error),
    })?;
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if is_toml {
        return own_toml(text);
    }
    let document = parse_json(text)?;
    if document.get(native::PRICES).is_some() {
        Ok(native::read(&document)?.read_from(OWN, text))
    } else if litellm::is_likely(&document) {
        Ok(litellm::read(&document)?.read_from(LITELLM, text))
    } else {
        let problem = "it has neither a list \"prices\" nor entries like LiteLLM's";
        Err(PriceBookError::Shape(problem.to_owned()))
    }
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, PriceBookError> {
    let mut bytes = Vec::new();
    regular_file::open(path)
        .and_then(|file| {
            file.take(bytes_max.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(|source| PriceBookError::Read {
            path: path.to_owned(),
            source,
        })?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max) {
        Ok(bytes)
    } else {
        Err(PriceBookError::TooLarge {
            path: path.to_owned(),
            bytes_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::pricing::PriceBook;

    #[test]
    fn files_are_told_apart_by_name_and_shape() {
        let folder = tempfile::tempdir().unwrap();
        let load = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            PriceBook::load(&path)
        };
        let own = r#"{"prices": [{"model": "m", "input": 1, "output": 1}]}"#;
        let litellm =
            r#"{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 2e-06}}"#;
        let toml = "[[prices]]\nmodel = \"m\"\ninput = 1\noutput = 1\n";
        assert!(load("own.json", own).unwrap().knows(None, &["m"]));
        assert!(
            load("own", &format!("\u{feff}{own}"))
                .unwrap()
                .knows(None, &["m"])
        );
        assert!(load("own.TOML", toml).unwrap().knows(None, &["m"]));
        assert!(
            load("litellm.json", litellm)
                .unwrap()
                .knows(None, &["gpt-4o"])
        );

        for (name, text, expected) in [
            ("empty.json", "{}", "neither a list"),
            ("other.json", r#"{"name": "a package"}"#, "neither a list"),
            ("broken.json", "{", "not valid JSON"),
            ("json.toml", own, "not valid TOML"),
            (
                "typo.json",
                r#"{"prices": [{"model": "m", "inputs": 1}]}"#,
                "unknown field \"inputs\"",
            ),
        ] {
            let error = load(name, text).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains(expected), "{name}: {cause}");
        }
    }

    #[test]
    fn unreadable_files_say_which() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.json");
        let error = PriceBook::load(&missing).unwrap_err();
        assert!(
            matches!(&error, PriceBookError::Read { path, .. } if *path == missing),
            "{error}"
        );

        let path = folder.path().join("binary.json");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        let error = PriceBook::load(&path).unwrap_err();
        assert!(matches!(error, PriceBookError::File { .. }), "{error}");
    }

    #[test]
    fn a_file_is_read_up_to_the_limit_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert!(matches!(
            read_bounded(&path, 4).unwrap_err(),
            PriceBookError::TooLarge { bytes_max: 4, .. }
        ));
    }
}
