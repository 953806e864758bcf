//! Disk space: how much of it the file may still take, in four steps.
//!
//! The committer looks after each commit and while idle, and sets the step in `health.rs`. Admission reads it there:
//! `admission/queue.rs` leaves bodies out, then whole requests. `commit/wal.rs` moves the write-ahead log earlier.

use std::time::Duration;

use crate::config::SpaceLimits;
use crate::db::{DatabasePath, free_space};
use crate::sync::Instant;

/// The shortest interval between two checks of free space; only so much can be written in between.
const FREE_SPACE_EVERY: Duration = Duration::from_millis(250);
/// Default thresholds: so many bytes, or this part of the disk if that is less.
const WARN_BELOW_BYTES: u64 = 256 * 1024 * 1024;
const WARN_BELOW_PART: u64 = 10;
const METADATA_ONLY_BELOW_BYTES: u64 = 32 * 1024 * 1024;
const METADATA_ONLY_BELOW_PART: u64 = 20;
/// Percentages of the largest size from which the same happens.
const WARN_FROM_PERCENT: u64 = 80;
const METADATA_ONLY_FROM_PERCENT: u64 = 90;

/// How much disk space there is, from ample to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum DiskSpace {
    #[default]
    Ample = 0,
    /// An alarm is raised.
    Low = 1,
    /// Bodies are left out.
    MetadataOnly = 2,
    /// New requests meet the overflow policy.
    Exhausted = 3,
}

impl DiskSpace {
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Ample,
            1 => Self::Low,
            2 => Self::MetadataOnly,
            _ => Self::Exhausted,
        }
    }

    /// Why it matters, in words.
    pub(crate) fn problem(self) -> Option<&'static str> {
        match self {
            Self::Ample | Self::Low => None,
            Self::MetadataOnly => Some(
                "there is little disk space for the database; bodies are left out, metadata is recorded",
            ),
            Self::Exhausted => {
                Some("the database has reached its size_bytes_max; new requests are not recorded")
            }
        }
    }
}

/// Checks the disk space now and then. Owned by the committer.
#[derive(Debug)]
pub(crate) struct DiskSpaceWatch {
    limits: SpaceLimits,
    looked_at: Option<Instant>,
    free: Option<FreeSpace>,
}

/// Free and total bytes, as the disk reported them.
#[derive(Debug, Clone, Copy)]
struct FreeSpace {
    free_bytes: u64,
    total_bytes: u64,
}

impl DiskSpaceWatch {
    pub(crate) fn new(limits: SpaceLimits) -> Self {
        Self {
            limits,
            looked_at: None,
            free: None,
        }
    }

    /// The disk space for a file that has this many bytes now, and the disk's free bytes where known.
    pub(crate) fn look(&mut self, path: &DatabasePath, bytes: u64) -> (DiskSpace, Option<u64>) {
        if self
            .looked_at
            .is_none_or(|at| at.elapsed() >= FREE_SPACE_EVERY)
        {
            self.looked_at = Some(Instant::now());
            // If the disk's size is unknown, there are no thresholds.
            self.free = free_space(path.as_path())
                .ok()
                .map(|(free_bytes, total_bytes)| FreeSpace {
                    free_bytes,
                    total_bytes,
                });
        }
        let by_disk = self
            .free
            .map_or(DiskSpace::Ample, |free| self.by_free(free));
        let free_bytes = self.free.map(|free| free.free_bytes);
        (by_disk.max(self.by_size(bytes)), free_bytes)
    }

    fn by_free(&self, free: FreeSpace) -> DiskSpace {
        let threshold = |set: Option<u64>, bytes: u64, part: u64| {
            set.unwrap_or_else(|| bytes.min(free.total_bytes / part))
        };
        let limits = &self.limits;
        let metadata_only = threshold(
            limits.metadata_only_below_bytes,
            METADATA_ONLY_BELOW_BYTES,
            METADATA_ONLY_BELOW_PART,
        );
        let warn = threshold(limits.warn_below_bytes, WARN_BELOW_BYTES, WARN_BELOW_PART);
        if free.free_bytes < metadata_only {
            DiskSpace::MetadataOnly
        } else if free.free_bytes < warn {
            DiskSpace::Low
        } else {
            DiskSpace::Ample
        }
    }

    fn by_size(&self, bytes: u64) -> DiskSpace {
        let Some(max) = self.limits.size_bytes_max else {
            return DiskSpace::Ample;
        };
        let part = |percent: u64| max / 100 * percent;
        if bytes >= max {
            DiskSpace::Exhausted
        } else if bytes >= part(METADATA_ONLY_FROM_PERCENT) {
            DiskSpace::MetadataOnly
        } else if bytes >= part(WARN_FROM_PERCENT) {
            DiskSpace::Low
        } else {
            DiskSpace::Ample
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(limits: SpaceLimits) -> DiskSpaceWatch {
        DiskSpaceWatch::new(limits)
    }

    #[test]
    fn thresholds_follow_the_disk_where_none_are_set() {
        const MIB: u64 = 1024 * 1024;
        let watch = watch(SpaceLimits::default());
        let space = |free, total| {
            watch.by_free(FreeSpace {
                free_bytes: free * MIB,
                total_bytes: total * MIB,
            })
        };
        assert_eq!(space(300, 100_000), DiskSpace::Ample);
        assert_eq!(space(255, 100_000), DiskSpace::Low);
        assert_eq!(space(31, 100_000), DiskSpace::MetadataOnly);
        // A small disk must not count as short from the beginning.
        assert_eq!(space(90, 100), DiskSpace::Ample);
        assert_eq!(space(9, 100), DiskSpace::Low);
        assert_eq!(space(4, 100), DiskSpace::MetadataOnly);
    }

    #[test]
    fn the_size_warns_leaves_bodies_out_and_ends() {
        let limits = SpaceLimits {
            size_bytes_max: Some(1_000_000),
            ..SpaceLimits::default()
        };
        let watch = watch(limits);
        assert_eq!(watch.by_size(799_999), DiskSpace::Ample);
        assert_eq!(watch.by_size(800_000), DiskSpace::Low);
        assert_eq!(watch.by_size(900_000), DiskSpace::MetadataOnly);
        assert_eq!(watch.by_size(1_000_000), DiskSpace::Exhausted);
    }
}
