//! The priority of long commands.

/// How much this process gives way to others: with both at work, a process of normal priority gets about nine times as
/// much of a processor.
#[cfg(unix)]
const NICENESS: i32 = 10;

/// Gives way to a gateway on the same machine. On an idle one it makes no difference.
pub(crate) fn give_way() {
    #[cfg(unix)]
    // Where it may not be changed, the command runs as it is.
    let _ = rustix::process::nice(NICENESS);
}
