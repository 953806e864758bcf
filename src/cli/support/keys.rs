//! Keys on the command line: in files, and as text.

use std::io::Read;
use std::path::Path;

use auditlite::{KeyError, SigningKey, VerifyingKey};

use super::error::CliError;
use super::source;

/// No file with a key is longer, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// The public key that was given: its text, or a file that holds it.
///
/// # Errors
///
/// It is neither.
pub(crate) fn public(given: &str) -> Result<VerifyingKey, CliError> {
    match given.parse() {
        Ok(key) => Ok(key),
        Err(KeyError::Format) if Path::new(given).exists() => {
            let path = Path::new(given);
            read(path)?.parse().map_err(|error| bad_key(path, error))
        }
        // The text is not repeated: it may be a secret one.
        Err(error) => Err(CliError::Message(format!("--key cannot be used: {error}"))),
    }
}

/// The secret key in a file.
///
/// # Errors
///
/// The file cannot be read, or holds no secret key.
pub(crate) fn secret(path: &Path) -> Result<SigningKey, CliError> {
    SigningKey::from_secret_text(&read(path)?).map_err(|error| bad_key(path, error))
}

fn read(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File {
        path: path.to_owned(),
        what: "read",
        source,
    };
    let file = source::open_regular(path).map_err(failed)?;
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn bad_key(path: &Path, error: KeyError) -> CliError {
    CliError::Message(format!("the key in {path:?} cannot be used: {error}"))
}
