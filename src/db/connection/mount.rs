//! Mounts: parts of a database that are on another file system than its name says.

use std::path::Path;

/// Whether the file alone is mounted. Then what is beside its name is elsewhere, including SQLite's
/// write-ahead log. `false` where the operating system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn is_mounted_alone(path: &Path) -> bool {
    let of_folder = path.parent().and_then(mount_id);
    match (mount_id(path), of_folder) {
        (Some(of_file), Some(of_folder)) => of_file != of_folder,
        _ => false,
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_mounted_alone(_: &Path) -> bool {
    false
}

/// Uses a descriptor that only names the file (`O_PATH`): closing it releases no locks. Source:
/// <https://docs.kernel.org/filesystems/proc.html>, `/proc/<pid>/fdinfo`.
#[cfg(target_os = "linux")]
fn mount_id(path: &Path) -> Option<u64> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH)
        .open(path)
        .ok()?;
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let id = facts
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))?;
    id.trim().parse().ok()
}
