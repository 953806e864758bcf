//! What a sequence is made of. Each operation carries a seed of its own for its details, so that
//! any part of a sequence is a sequence again: that is what makes a failing one short.

use fastrand::Rng;

/// One step. Steps that need something that is not there (an open request, say) do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Open a request and keep it open.
    Open,
    /// Tell an open request something: served model, chunk, usage …
    Touch,
    /// End an open request, or drop it.
    End,
    /// Open and complete one more turn of a conversation.
    Turn,
    /// Open and reject at once.
    Reject,
    Flush,
    /// Close, try what must fail now, open again with other settings.
    Reopen,
    /// Go on with a copy of the files as they are now, as after a kill.
    Crash,
    /// Erase a request, a user or a conversation.
    Erase,
    /// Prune what is more than the file may take.
    Prune,
    Get,
    Find,
    List,
    Stats,
    Bodies,
    Doctor,
}

/// A step and the seed of its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub kind: Kind,
    pub seed: u64,
}

/// How a whole sequence leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bit of everything.
    Mixed,
    /// Long conversations that resend their history.
    Conversations,
    /// Little capacity: things are shed.
    Tight,
}

impl Style {
    pub fn of(seed: u64) -> Self {
        match seed % 4 {
            0 => Self::Conversations,
            1 => Self::Tight,
            _ => Self::Mixed,
        }
    }

    fn weights(self) -> &'static [(Kind, u32)] {
        match self {
            Self::Mixed => &[
                (Kind::Open, 20),
                (Kind::Touch, 26),
                (Kind::End, 18),
                (Kind::Turn, 12),
                (Kind::Reject, 3),
                (Kind::Flush, 3),
                (Kind::Reopen, 2),
                (Kind::Crash, 1),
                (Kind::Erase, 2),
                (Kind::Prune, 1),
                (Kind::Get, 4),
                (Kind::Find, 3),
                (Kind::List, 5),
                (Kind::Stats, 4),
                (Kind::Bodies, 5),
                (Kind::Doctor, 1),
            ],
            Self::Conversations => &[
                (Kind::Turn, 80),
                (Kind::Open, 3),
                (Kind::Touch, 3),
                (Kind::End, 3),
                (Kind::Reopen, 1),
                (Kind::Erase, 3),
                (Kind::Prune, 1),
                (Kind::Bodies, 8),
                (Kind::List, 2),
            ],
            Self::Tight => &[
                (Kind::Open, 30),
                (Kind::Touch, 30),
                (Kind::End, 24),
                (Kind::Turn, 10),
                (Kind::Reject, 3),
                (Kind::Flush, 3),
                (Kind::Reopen, 2),
                (Kind::Bodies, 2),
                (Kind::Doctor, 1),
            ],
        }
    }
}

/// The sequence of a seed.
pub fn sequence(seed: u64, length: usize) -> Vec<Operation> {
    let mut rng = Rng::with_seed(seed);
    let weights = Style::of(seed).weights();
    let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
    (0..length)
        .map(|_| {
            let mut at = rng.u32(..total);
            let kind = weights
                .iter()
                .find(|(_, weight)| {
                    let is_it = at < *weight;
                    at = at.saturating_sub(*weight);
                    is_it
                })
                .map(|(kind, _)| *kind)
                .unwrap();
            Operation {
                kind,
                seed: rng.u64(..),
            }
        })
        .collect()
}
