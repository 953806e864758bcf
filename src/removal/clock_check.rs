//! Checks whether the clock can be trusted before something is removed because of its age: a clock that is
//! ahead for a moment would make everything too old.

use std::time::Duration;

use crate::clock::{duration_micros, now_micros};
use crate::db::{self, Connection};
use crate::error::ReadError;

/// How far the clock may be ahead of what is known. A machine that is off for a week is nothing unusual,
/// and no retention is so short that another week matters.
const AHEAD_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Times are trusted once a clock has continued from them for this long. A clock that is corrected soon
/// after the start (no battery, or a late network) is wrong for minutes only.
const BELIEVED_AFTER: Duration = Duration::from_secs(60 * 60);
/// A clock that was never set shows a time before this one (2020), which says nothing.
const UNSET_BEFORE: i64 = 1_577_836_800_000_000;

/// How far the wall clock is ahead of what the log and a monotonic clock know, if that is more than a week.
/// `since_opening`: how long the store has been open; its own events say nothing then. `None`: no store has
/// it open.
pub(super) fn clock_ahead(
    connection: &Connection,
    since_opening: Option<Duration>,
) -> Result<Option<Duration>, ReadError> {
    let mut newest = Newest::default();
    db::visit_times(connection, since_opening.is_some(), |at| newest.visit(at))?;
    let Some(newest) = newest.believed else {
        return Ok(None);
    };
    let known = newest.saturating_add(duration_micros(since_opening.unwrap_or_default()));
    let ahead = u64::try_from(now_micros().saturating_sub(known)).unwrap_or(0);
    let ahead = Duration::from_micros(ahead);
    Ok((ahead > AHEAD_MAX).then_some(ahead))
}

/// Finds the newest trustworthy time, among times that come from the newest in the log to the oldest. Times
/// form spells in which no two neighbours are far apart. A short spell may come from a wrong clock, so the
/// spell before it decides if it is older.
#[derive(Debug, Default)]
struct Newest {
    believed: Option<i64>,
    /// The newest time and the last seen time of the spell.
    spell: Option<(i64, i64)>,
}

impl Newest {
    /// `false`: nothing older can change the result.
    fn visit(&mut self, at: i64) -> bool {
        if at < UNSET_BEFORE {
            return true;
        }
        let is_near = |last: i64| last.abs_diff(at) <= micros(AHEAD_MAX);
        let newest = match self.spell {
            Some((newest, last)) if is_near(last) => newest,
            _ => at,
        };
        self.spell = Some((newest, at));
        self.believed = Some(
            self.believed
                .map_or(newest, |believed| believed.min(newest)),
        );
        newest.abs_diff(at) < micros(BELIEVED_AFTER)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const DAY: i64 = 24 * 60 * MINUTE;
    /// A day in 2026.
    const NOW: i64 = 1_795_000_000_000_000;
    const FAR: i64 = NOW + 4000 * DAY;

    /// For times from the oldest to the newest.
    fn believed(times: &[i64]) -> Option<i64> {
        let mut newest = Newest::default();
        times.iter().rev().all(|at| newest.visit(*at));
        newest.believed
    }

    #[test]
    fn a_spell_of_a_wrong_clock_is_not_believed() {
        let long = [NOW - 3 * DAY, NOW - DAY, NOW];
        assert_eq!(believed(&long), Some(NOW));
        for ahead in [
            &[FAR][..],
            &[FAR, FAR + MINUTE],
            // A program that starts and dies repeatedly.
            &[FAR, FAR + MINUTE, FAR + 2 * MINUTE, FAR + 59 * MINUTE],
            // It was right in between, or wrong in another way.
            &[FAR, NOW + MINUTE],
            &[FAR, FAR + 4000 * DAY],
        ] {
            let found = believed(&[&long[..], ahead].concat());
            assert!(found <= Some(NOW + MINUTE), "{ahead:?}: {found:?}");
        }
    }

    #[test]
    fn a_pause_of_months_is_believed_once_the_clock_has_gone_on() {
        let long = [NOW - DAY, NOW];
        let after = NOW + 200 * DAY;
        let times = [&long[..], &[after, after + 60 * MINUTE]].concat();
        assert_eq!(believed(&times), Some(after + 60 * MINUTE));
    }

    #[test]
    fn a_clock_that_was_not_set_yet_says_nothing() {
        assert_eq!(believed(&[]), None);
        assert_eq!(believed(&[0, MINUTE]), None);
        let times = [NOW - DAY, NOW, 0, MINUTE, NOW + DAY];
        assert_eq!(believed(&times), Some(NOW + DAY));
    }
}
