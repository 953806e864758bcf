//! Reports the writer's health in words, once for each change.

use std::time::{Duration, Instant};

use auditlite::{Alarm, Health, HealthState};

use crate::cli::support::format;

/// How long no commit may succeed before a warning: a busy disk takes less.
const STALL: Duration = Duration::from_millis(1500);
/// The same after a commit has failed: another program's lock lasts less.
const STALL_FAILING: Duration = Duration::from_millis(500);

/// The state that was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Fine,
    Stalled,
    DiskSpaceShort,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// To be said once.
    Say(String),
    /// Waiting longer is in vain; why.
    GiveUp(String),
}

pub(super) struct Watch {
    give_up_after: Duration,
    told: Told,
    recorded: u64,
    progress_at: Instant,
}

impl Watch {
    pub(super) fn new(give_up_after: Duration, now: Instant) -> Self {
        Self {
            give_up_after,
            told: Told::Fine,
            recorded: 0,
            progress_at: now,
        }
    }

    /// Called several times a second, with the number of requests that wait for their commit and of those that are
    /// committed.
    ///
    /// Progress is a new commit, or nothing to commit. Without progress it warns after a while, sooner if a commit
    /// has failed, and gives up after `give_up_after`. Each state is reported once, when it begins.
    pub(super) fn look(
        &mut self,
        health: &Health,
        waiting: u64,
        recorded: u64,
        now: Instant,
    ) -> News {
        if health.state == HealthState::Failed {
            return News::GiveUp(health.problem.clone().unwrap_or_default());
        }
        if waiting == 0 || recorded != self.recorded {
            self.recorded = recorded;
            self.progress_at = now;
        }
        let stalled_for = now.saturating_duration_since(self.progress_at);
        let is_disk_space_short = health
            .alarms
            .iter()
            .any(|alarm| matches!(alarm, Alarm::MetadataOnly { .. } | Alarm::SizeReached));
        let is_failing = health.state == HealthState::Degraded && !is_disk_space_short;
        let stall = if is_failing { STALL_FAILING } else { STALL };
        let state = match is_disk_space_short {
            _ if stalled_for >= stall => Told::Stalled,
            true => Told::DiskSpaceShort,
            false => Told::Fine,
        };
        let problem = health.problem.clone().unwrap_or_else(|| {
            "the disk is slow, or another program holds a lock on the database".to_owned()
        });
        if state == Told::Stalled && stalled_for >= self.give_up_after {
            return News::GiveUp(problem);
        }
        if state == self.told {
            return News::Nothing;
        }
        self.told = state;
        News::Say(match state {
            Told::Fine => "commits succeed again".to_owned(),
            Told::Stalled => format!(
                "warning: nothing can be committed: {problem}; {} in memory. Fix that (a full disk: \
                 free space) and recording continues; it gives up after {} without a commit",
                format::counted(waiting, "request waits", "requests wait"),
                seconds(self.give_up_after),
            ),
            Told::DiskSpaceShort => format!(
                "warning: {problem}; what is left out is stated in the log. Free space on the disk"
            ),
        })
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", format::count(duration.as_secs()))
}
