//! Forms with files (`multipart/form-data`, RFC 7578): the fields that say what is asked for.

use memchr::memmem;

/// Limit of parts that are looked at.
const PARTS_MAX: usize = 64;
/// The longest value of a field that is read, in bytes: a prompt. Files are longer, and are not read.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The longest line that a boundary takes: RFC 2046 allows 70 characters.
const BOUNDARY_BYTES_MAX: usize = 80;

/// One part of a form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    /// `None`: a file, or no text.
    pub(super) value: Option<&'a str>,
}

/// The parts, and whether the form is complete; `None`: the body is no form.
pub(super) fn parts(body: &[u8]) -> Option<(Vec<Part<'_>>, bool)> {
    if !body.starts_with(b"--") {
        return None;
    }
    let line = body.get(..body.len().min(BOUNDARY_BYTES_MAX))?;
    let boundary = body.get(..memmem::find(line, b"\r\n")?)?;
    if boundary.len() < 3 {
        return None;
    }
    let mut delimiter = b"\r\n".to_vec();
    delimiter.extend_from_slice(boundary);
    let mut rest = body.get(boundary.len()..)?;
    let mut parts = Vec::new();
    while parts.len() < PARTS_MAX {
        if rest.starts_with(b"--") {
            return Some((parts, true));
        }
        let Some(content) = rest.strip_prefix(b"\r\n") else {
            return Some((parts, false));
        };
        let Some(end) = memmem::find(content, &delimiter) else {
            return Some((parts, false));
        };
        let (part, after) = content.split_at_checked(end)?;
        parts.extend(part_of(part));
        rest = after.get(delimiter.len()..)?;
    }
    Some((parts, false))
}

fn part_of(part: &[u8]) -> Option<Part<'_>> {
    let end = memmem::find(part, b"\r\n\r\n")?;
    let (head, value) = part.split_at_checked(end)?;
    let head = std::str::from_utf8(head).ok()?;
    let (_, name) = head.split_once("name=\"")?;
    let (name, _) = name.split_once('"')?;
    let value = value.get(4..)?;
    let is_text = !head.contains("filename") && value.len() <= VALUE_BYTES_MAX;
    Some(Part {
        name,
        value: std::str::from_utf8(value).ok().filter(|_| is_text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] =
        b"--xY\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --xY\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\
        Content-Type: audio/mpeg\r\n\r\n\xFF\xFB\r\n\r\n\0\r\n--xY--\r\n";

    #[test]
    fn fields_are_read_and_files_named() {
        let (parts, is_complete) = parts(FORM).unwrap();
        let found: Vec<_> = parts.iter().map(|part| (part.name, part.value)).collect();
        assert_eq!(found, [("model", Some("whisper-1")), ("file", None)]);
        assert!(is_complete);
    }

    #[test]
    fn what_is_no_form_or_half_of_one_is_no_panic() {
        for body in [&b""[..], b"--", b"--\r\n", b"{}", b"-- \r\n\r\n"] {
            assert!(
                parts(body).is_none_or(|(parts, is_complete)| parts.is_empty() && !is_complete)
            );
        }
        for at in 0..FORM.len() - 4 {
            assert!(
                parts(&FORM[..at]).is_none_or(|(_, is_complete)| !is_complete),
                "{at}"
            );
        }
    }
}
