//! A session's accounts, held against what the log has of it.

use std::ops::RangeInclusive;

use super::event::{Event, Fact, StoreClosed};

/// Follows the log from its start: submitted = stored + stated as lost, in each session.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// Seq of the session's opening.
    session: Option<u64>,
    stored: u64,
    lost: u64,
    payloads_lost: u64,
}

impl Accounts {
    /// Takes the next event. What is wrong with the accounts that it closes, each with the seq of
    /// the session. `removed` says how many requests were opened by events of a session, first and
    /// last, whose lines were taken out since.
    pub(crate) fn event<E>(
        &mut self,
        event: &Event,
        removed: impl FnOnce(RangeInclusive<u64>) -> Result<u64, E>,
    ) -> Result<Vec<(u64, String)>, E> {
        match &event.fact {
            Fact::StoreOpened(_) => {
                *self = Self {
                    session: Some(event.seq),
                    ..Self::default()
                };
            }
            Fact::Opened(_) => self.stored = self.stored.saturating_add(1),
            Fact::Gap(gap) => {
                self.lost = self.lost.saturating_add(gap.lifecycles);
                self.payloads_lost = self.payloads_lost.saturating_add(gap.payloads);
            }
            Fact::StoreClosed(closed) => {
                if let Some(session) = self.session {
                    self.stored = self.stored.saturating_add(removed(session..=event.seq)?);
                    return Ok(self.close(session, closed));
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
            session: _,
        } = *self;
        let mut findings = Vec::new();
        if submitted != stored.saturating_add(lost) {
            findings.push(format!(
                "store session at seq {seq}: {submitted} lifecycles submitted, but {stored} stored \
                 and {lost} lost"
            ));
        }
        if (found, stated, payloads_stated) != (stored, lost, payloads_lost) {
            findings.push(format!(
                "store session at seq {seq} closed with {stored} lifecycles stored, {lost} lost and \
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

    fn session(requests: u64, gap: &Gap, closed: &StoreClosed) -> Vec<Fact> {
        let opened = StoreOpened {
            log_id: String::new(),
            auditlite_version: String::new(),
            sqlite_version: String::new(),
            durability: String::new(),
            overflow: String::new(),
            capture: String::new(),
            payload_cap_bytes: 0,
            unsigned_removals: None,
        };
        let mut facts = vec![Fact::StoreOpened(opened)];
        facts.extend((0..requests).map(|_| Fact::Opened(Box::<Opened>::default())));
        facts.push(Fact::Gap(gap.clone()));
        facts.push(Fact::StoreClosed(closed.clone()));
        facts
    }

    fn findings(facts: Vec<Fact>) -> Vec<(u64, String)> {
        findings_where_removed(facts, 0)
    }

    fn findings_where_removed(facts: Vec<Fact>, removed: u64) -> Vec<(u64, String)> {
        let mut accounts = Accounts::default();
        let take = |(seq, fact)| {
            let event = Event { seq, at: 0, fact };
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
        let facts = || session(4, &Gap::default(), &closed);
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
        let sessions = |wrong: &StoreClosed| {
            let mut facts = session(4, &gap, &right);
            facts.extend(session(4, &gap, wrong));
            findings(facts)
        };
        assert!(sessions(&right).is_empty());
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
            let found = sessions(&wrong);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found.first().map(|(session, _)| *session), Some(7));
        }
        let uneven = change(|closed| closed.lifecycles_stored = 5);
        assert_eq!(sessions(&uneven).len(), 2);
    }
}
