//! A session's accounts, held against what the log has of it.

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
    /// the session.
    pub(crate) fn event(&mut self, event: &Event) -> Vec<(u64, String)> {
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
            Fact::StoreClosed(closed) => return self.close(closed),
            _ => {}
        }
        Vec::new()
    }

    fn close(&mut self, closed: &StoreClosed) -> Vec<(u64, String)> {
        let Some(seq) = self.session else {
            return Vec::new();
        };
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
            ..
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
