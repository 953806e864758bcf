//! Sizes as people write them.

/// Bytes, or a number with a unit.
///
/// # Errors
///
/// Says which forms are understood.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    const HINT: &str = "give bytes, or a number and KiB, MiB, GiB or TiB, such as 10GiB";
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("", 1),
    ];
    number_with_unit(text, &units).ok_or_else(|| HINT.to_owned())
}

/// A number with one of these units, in bytes.
pub(crate) fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}
