//! What two bodies share at their start and their end.

/// The minimum length of a common tail.
pub(super) const TAIL_BYTES_MIN: usize = 64;

/// The length of the tail that two bodies share after their common head; 0 if it is too short to be worth
/// its number.
pub(super) fn common_tail(left: &[u8], right: &[u8]) -> usize {
    const STEP: usize = 256;
    let blocks = left
        .rchunks_exact(STEP)
        .zip(right.rchunks_exact(STEP))
        .take_while(|(left, right)| left == right)
        .count();
    let rest = |bytes| {
        let end = <[u8]>::len(bytes).saturating_sub(blocks.saturating_mul(STEP));
        <[u8]>::get(bytes, ..end).unwrap_or_default()
    };
    let equal = rest(left)
        .iter()
        .rev()
        .zip(rest(right).iter().rev())
        .take_while(|(left, right)| left == right)
        .count();
    let equal = equal.saturating_add(blocks.saturating_mul(STEP));
    if equal < TAIL_BYTES_MIN { 0 } else { equal }
}

/// The length of the head that two bodies share.
pub(super) fn common_head(left: &[u8], right: &[u8]) -> usize {
    // Long steps run at the speed of memory; short steps come close to the end of the common part.
    const STEPS: [usize; 2] = [1024, 64];
    let rest = |bytes, start| <[u8]>::get(bytes, start..).unwrap_or_default();
    let start = STEPS.iter().fold(0, |start: usize, &step| {
        let blocks = rest(left, start)
            .chunks_exact(step)
            .zip(rest(right, start).chunks_exact(step))
            .take_while(|(left, right)| left == right)
            .count();
        start.saturating_add(blocks.saturating_mul(step))
    });
    let equal = rest(left, start)
        .iter()
        .zip(rest(right, start))
        .take_while(|(left, right)| left == right)
        .count();
    start.saturating_add(equal)
}
