//! Memory for bodies that wait for the writer: the given size, else what the machine lets this program use.

use std::fs;
use std::path::Path;

/// At most this part of a control group's memory is used: the program itself needs some 30 MiB.
const GROUP_PART: u64 = 6;
/// The least that a store takes.
const BYTES_MIN: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct CapacityArgs {
    /// Memory for bodies that wait for the disk: 64MiB, 1000000; a body longer than two thirds of it is left
    /// out. Default: enough for the longest (8 MiB with --edge), or a sixth of the control group's memory where
    /// that is less
    #[arg(long, value_name = "BYTES", value_parser = super::size::parse)]
    capacity_bytes: Option<u64>,
}

impl CapacityArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.capacity_bytes.is_some()
    }

    /// The given size, else `default` or what the control group allows, whichever is less.
    pub(crate) fn bytes(&self, default: usize) -> usize {
        let part = || group_limit_bytes().map(|limit| limit / GROUP_PART);
        let bytes = self.capacity_bytes.map_or_else(
            || part().map_or(default, |part| as_usize(part).min(default)),
            as_usize,
        );
        bytes.max(BYTES_MIN)
    }
}

fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The memory that this program's control group, or one above it, may use. `None`: no bound, or another
/// system than Linux.
fn group_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(group_of)
        .flat_map(|(root, file, group)| {
            // In a container the group may be named as the host sees it; its own is at the root then.
            Path::new(group)
                .ancestors()
                .filter_map(move |group| {
                    let folder = Path::new(root).join(group.strip_prefix("/").unwrap_or(group));
                    fs::read_to_string(folder.join(file)).ok()
                })
                .collect::<Vec<_>>()
        })
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min()
}

/// The file with the memory limit of a line of `/proc/self/cgroup`: version 2 (`0::/a/b`) or 1 (`4:memory:/a/b`).
fn group_of(line: &str) -> Option<(&'static str, &'static str, &str)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.is_empty() {
        Some(("/sys/fs/cgroup", "memory.max", group))
    } else if controllers.split(',').any(|name| name == "memory") {
        Some(("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions_are_found() {
        let of = |line| group_of(line).map(|(_, file, group)| (file, group));
        assert_eq!(of("0::/a/b"), Some(("memory.max", "/a/b")));
        assert_eq!(of("4:memory:/a:b"), Some(("memory.limit_in_bytes", "/a:b")));
        assert_eq!(of("5:cpu,cpuacct:/a"), None);
        assert_eq!(of("nonsense"), None);
    }
}
