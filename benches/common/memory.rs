//! This process's memory, as the kernel reports it. Linux only; elsewhere unknown.

/// Resident memory now, in MiB.
pub fn resident_mib() -> Option<f64> {
    status("VmRSS:")
}

/// The most that was resident since the start, or since [`forget_peak`], in MiB.
pub fn peak_mib() -> Option<f64> {
    status("VmHWM:")
}

/// Starts the peak over. Source: proc_pid_clear_refs(5).
pub fn forget_peak() {
    // Where it is not allowed, the peak before counts too: the figure is larger, never smaller.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn status(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
