//! Ed25519 keys with names, in the text forms of C2SP signed notes.
//!
//! Source: C2SP signed-note (<https://c2sp.org/signed-note>); the form of the secret key is that of
//! Go's `golang.org/x/mod/sumdb/note`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use sha2::{Digest as _, Sha256};

use crate::error::KeyError;

/// The number of Ed25519 in signed notes.
const ED25519: u8 = 1;
/// The prefix of the text of a secret key.
const SECRET_PREFIX: &str = "PRIVATE+KEY+";
/// The longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// The longest text of a key, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// Signs the checkpoints of a store.
///
/// `auditlite keygen` writes one to a file. A person who has it can sign any history: keep it where readers
/// of the database cannot read it. `Debug` never prints the secret.
///
/// ```
/// use auditlite::{SigningKey, VerifyingKey};
///
/// let key = SigningKey::generate("audit.example.com/gateway-1")?;
/// let public: VerifyingKey = key.verifying_key().to_string().parse()?;
/// assert_eq!(public, key.verifying_key());
/// # Ok::<(), auditlite::KeyError>(())
/// ```
#[derive(Clone)]
pub struct SigningKey {
    verifying: VerifyingKey,
    secret: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// A new random key. The name says to whom or what it belongs; a URL without scheme such as
    /// `audit.example.com/gateway-1` avoids collisions.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`]: the name is empty, longer than 256 bytes, or contains spaces, control characters
    /// or `+`.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        Self::from_seed(name, &rand::random())
    }

    /// Reads a secret key: `PRIVATE+KEY+<name>+<key id>+<base64>`. Space around it is ignored.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says what is wrong, without repeating the key.
    pub fn from_secret_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return Err(KeyError::Format);
        }
        let rest = text
            .strip_prefix(SECRET_PREFIX)
            .ok_or(KeyError::NotSecret)?;
        let (name, key_id, seed) = parse(rest)?;
        let key = Self::from_seed(name, &seed)?;
        if key.verifying.key_id == key_id {
            Ok(key)
        } else {
            Err(KeyError::KeyId)
        }
    }

    /// The secret key as text, for a file that only its owner reads.
    pub fn to_secret_text(&self) -> String {
        let VerifyingKey { name, key_id, .. } = &self.verifying;
        let data = encode(self.secret.as_bytes());
        format!("{SECRET_PREFIX}{name}+{key_id:08x}+{data}")
    }

    /// The public key that checks what this key signs.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.verifying.clone()
    }

    pub(super) fn sign(&self, text: &str) -> [u8; 64] {
        self.secret.sign(text.as_bytes()).to_bytes()
    }

    pub(super) fn public(&self) -> &VerifyingKey {
        &self.verifying
    }

    fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifying = VerifyingKey::new(name, secret.verifying_key())?;
        Ok(Self { verifying, secret })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("name", &self.verifying.name)
            .finish_non_exhaustive()
    }
}

/// Checks signatures of checkpoints. Its text is `<name>+<key id>+<base64>`, which C2SP calls a vkey. It is
/// not secret: give it to everyone who verifies the trail.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    key_id: u32,
    public: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    fn new(name: &str, public: ed25519_dalek::VerifyingKey) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        Ok(Self {
            name: name.to_owned(),
            key_id: key_id(name, public.as_bytes()),
            public,
        })
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first 32 bits of a hash of name and key. Together with the name it tells which key signed.
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    pub(super) fn is_valid(&self, text: &str, signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| {
            self.public
                .verify_strict(text.as_bytes(), &signature)
                .is_ok()
        })
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return Err(KeyError::Format);
        }
        if text.starts_with(SECRET_PREFIX) {
            return Err(KeyError::NotPublic);
        }
        let (name, key_id, public) = parse(text)?;
        let public =
            ed25519_dalek::VerifyingKey::from_bytes(&public).map_err(|_| KeyError::Format)?;
        let key = Self::new(name, public)?;
        if key.key_id == key_id {
            Ok(key)
        } else {
            Err(KeyError::KeyId)
        }
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = encode(self.public.as_bytes());
        write!(f, "{}+{:08x}+{data}", self.name, self.key_id)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

/// Whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let is_fine =
        |character: char| !character.is_whitespace() && !character.is_control() && character != '+';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_fine)
}

/// `SHA-256(name || 0x0A || 0x01 || public key)[:4]`.
fn key_id(name: &str, public: &[u8; 32]) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', ED25519]);
    hasher.update(public);
    let hash: [u8; 32] = hasher.finalize().into();
    let (&start, _) = hash.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
    u32::from_be_bytes(start)
}

fn encode(key: &[u8; 32]) -> String {
    let mut data = vec![ED25519];
    data.extend_from_slice(key);
    STANDARD.encode(data)
}

/// Splits `<name>+<key id>+<base64(0x01 || 32 bytes)>`.
fn parse(text: &str) -> Result<(&str, u32, [u8; 32]), KeyError> {
    // Base64 may contain a plus; names and key ids may not.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(key_id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Format);
    };
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if key_id.len() != 8 || !key_id.bytes().all(is_hex) {
        return Err(KeyError::Format);
    }
    let key_id = u32::from_str_radix(key_id, 16).map_err(|_| KeyError::Format)?;
    let data = STANDARD.decode(data).map_err(|_| KeyError::Format)?;
    match data.split_first() {
        Some((&ED25519, key)) => key
            .try_into()
            .map(|key| (name, key_id, key))
            .map_err(|_| KeyError::Format),
        Some(_) => Err(KeyError::Algorithm),
        None => Err(KeyError::Format),
    }
}

#[cfg(test)]
#[allow(clippy::string_slice)]
pub(super) mod tests {
    use super::*;

    /// Keys of the tests of Go's `sumdb/note`.
    pub(in crate::merkle) const SECRET: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    pub(in crate::merkle) const PUBLIC: &str =
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn published_keys_are_read_and_written() {
        let key = SigningKey::from_secret_text(SECRET).unwrap();
        assert_eq!(key.to_secret_text(), SECRET);
        assert_eq!(key.verifying_key().to_string(), PUBLIC);
        assert_eq!(key.verifying_key().name(), "PeterNeumann");
        assert_eq!(key.verifying_key().key_id(), 0xc74f_20a3);
        assert_eq!(PUBLIC.parse::<VerifyingKey>().unwrap(), key.verifying_key());
        let with_newline = format!("{SECRET}\n");
        assert!(SigningKey::from_secret_text(&with_newline).is_ok());
        assert!(!format!("{key:?}").contains("AYEK"));
    }

    #[test]
    fn no_part_and_no_mangling_of_a_key_is_a_key() {
        for whole in [SECRET, PUBLIC] {
            let is_key = |text: &str| {
                SigningKey::from_secret_text(text).is_ok() || text.parse::<VerifyingKey>().is_ok()
            };
            assert!(is_key(whole));
            for first in 0..=whole.len() {
                for after in first..=whole.len() {
                    let part = &whole[first..after];
                    assert!(part == whole || !is_key(part), "{part}");
                }
            }
            for at in 0..whole.len() {
                let mut bytes = whole.as_bytes().to_vec();
                bytes[at] += 1;
                let mangled = String::from_utf8(bytes).unwrap();
                assert!(!is_key(&mangled), "{mangled}");
            }
        }
        // Published bad keys: too long, and of an unknown algorithm.
        for bad in [
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(bad.parse::<VerifyingKey>().is_err());
        }
        assert!(matches!(
            SECRET.parse::<VerifyingKey>(),
            Err(KeyError::NotPublic)
        ));
        assert!(matches!(
            SigningKey::from_secret_text(PUBLIC),
            Err(KeyError::NotSecret)
        ));
        for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb", &"x".repeat(257)] {
            assert!(matches!(SigningKey::generate(name), Err(KeyError::Name)));
        }
    }
}
