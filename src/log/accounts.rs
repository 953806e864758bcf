//! Compares the accounts of each opening with its events in the log.

use std::ops::RangeInclusive;

use super::event::{Event, EventKind, StoreClosed};

/// Follows the log from its start and checks for each opening: submitted = stored + recorded as lost.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// Seq of the event that began the opening.
    opening: Option<u64>,
    stored: u64,
    lost: u64,
    payloads_lost: u64,
}

impl Accounts {
    /// Reads the next event. Returns what is wrong with the accounts that it closes, each with the seq of
    /// the opening. `removed` tells how many requests were opened within a range of events (first and last)
    /// whose lines have been removed since.
    pub(crate) fn event<E>(
        &mut self,
        event: &Event,
        removed: impl FnOnce(RangeInclusive<u64>) -> Result<u64, E>,
    ) -> Result<Vec<(u64, String)>, E> {
        match &event.kind {
            EventKind::StoreOpened(_) => {
                *self = Self {
                    opening: Some(event.seq),
                    ..Self::default()
                };
            }
            EventKind::Opened(_) => self.stored = self.stored.saturating_add(1),
            EventKind::Gap(gap) => {
                self.lost = self.lost.saturating_add(gap.lifecycles);
                self.payloads_lost = self.payloads_lost.saturating_add(gap.payloads);
            }
            EventKind::StoreClosed(closed) => {
                if let Some(opening) = self.opening {
                    self.stored = self.stored.saturating_add(removed(opening..=event.seq)?);
                    return Ok(self.close(opening, closed));
                }
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    fn close(&self, seq: u64, closed: &StoreClosed) -> Vec<(u64, String)> {
        let StoreClosed {
            lifecycles_submitted: submitted,
            lifecycles_stored: stored,
            lifecycles_lost: lost,
            payloads_lost,
        } = *closed;
        let Self {
            stored: found,
            lost: stated,
            payloads_lost: payloads_stated,
            opening: _,
        } = *self;
        let mut findings = Vec::new();
        if submitted != stored.saturating_add(lost) {
            findings.push(format!(
                "store opening at seq {seq}: {submitted} lifecycles submitted, but {stored} stored \
                 and {lost} lost"
            ));
        }
        if (found, stated, payloads_stated) != (stored, lost, payloads_lost) {
            findings.push(format!(
                "store opening at seq {seq} closed with {stored} lifecycles stored, {lost} lost and \
                 {payloads_lost} payloads lost, but {found} are there and gaps state {stated} and \
                 {payloads_stated}"
            ));
        }
        findings.into_iter().map(|finding| (seq, finding)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Gap, Opened, StoreOpened};

    fn opening(requests: u64, gap: &Gap, closed: &StoreClosed) -> Vec<EventKind> {
        let opened = StoreOpened {
            log_id: String::new(),
            auditlite_version: String::new(),
            sqlite_version: String::new(),
            durability: String::new(),
            overflow: String::new(),
            capture: String::new(),
            payload_bytes_max: 0,
            unsigned_removals: None,
        };
        let mut facts = vec![EventKind::StoreOpened(Box::new(opened))];
        facts.extend((0..requests).map(|_| EventKind::Opened(Box::<Opened>::default())));
        facts.push(EventKind::Gap(gap.clone()));
        facts.push(EventKind::StoreClosed(closed.clone()));
        facts
    }

    fn findings(facts: Vec<EventKind>) -> Vec<(u64, String)> {
        findings_where_removed(facts, 0)
    }

    fn findings_where_removed(facts: Vec<EventKind>, removed: u64) -> Vec<(u64, String)> {
        let mut accounts = Accounts::default();
        let take = |(seq, kind)| {
            let event = Event { seq, at: 0, kind };
            let found = accounts.event(&event, |_| Ok::<_, ()>(removed));
            found.unwrap()
        };
        (0..).zip(facts).flat_map(take).collect()
    }

    #[test]
    fn what_was_taken_out_counts_as_stored() {
        let closed = StoreClosed {
            lifecycles_submitted: 6,
            lifecycles_stored: 6,
            lifecycles_lost: 0,
            payloads_lost: 0,
        };
        let facts = || opening(4, &Gap::default(), &closed);
        assert!(findings_where_removed(facts(), 2).is_empty());
        for wrong in [0, 1, 3] {
            assert_eq!(findings_where_removed(facts(), wrong).len(), 1);
        }
    }

    #[test]
    fn each_session_must_state_what_the_log_has_of_it() {
        let gap = Gap {
            lifecycles: 2,
            payloads: 5,
            ..Gap::default()
        };
        let right = StoreClosed {
            lifecycles_submitted: 6,
            lifecycles_stored: 4,
            lifecycles_lost: 2,
            payloads_lost: 5,
        };
        let openings = |wrong: &StoreClosed| {
            let mut facts = opening(4, &gap, &right);
            facts.extend(opening(4, &gap, wrong));
            findings(facts)
        };
        assert!(openings(&right).is_empty());
        let change = |edit: fn(&mut StoreClosed)| {
            let mut wrong = right.clone();
            edit(&mut wrong);
            wrong
        };
        for wrong in [
            change(|closed| closed.lifecycles_submitted = 7),
            change(|closed| closed.payloads_lost = 4),
            change(|closed| (closed.lifecycles_stored, closed.lifecycles_lost) = (3, 3)),
        ] {
            let found = openings(&wrong);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found.first().map(|(opening, _)| *opening), Some(7));
        }
        let uneven = change(|closed| closed.lifecycles_stored = 5);
        assert_eq!(openings(&uneven).len(), 2);
    }
}
