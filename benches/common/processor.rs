//! This process's processor time, as the kernel reports it. Linux only; elsewhere unknown.

/// Clock ticks a second in `/proc`: fixed on every platform that Linux runs on today.
/// Source: proc_pid_stat(5), `sysconf(_SC_CLK_TCK)`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that all threads of this process have had, in the kernel too. On a
/// machine that is shared this says more than the time on the clock.
pub fn seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name may hold spaces and parentheses; the fields after it do not.
    let fields = stat.rsplit_once(')')?.1;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let kernel: f64 = fields.next()?.parse().ok()?;
    Some((user + kernel) / TICKS_PER_SECOND)
}

/// Seconds that this thread has had a processor, with steps of nanoseconds.
/// Source: the kernel's Documentation/scheduler/sched-stats.rst.
pub fn thread_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
