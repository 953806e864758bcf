//! Every way in which a gateway can end a request.

use auditlite::{Completion, Failure, Rejection, RequestHandle};

/// A way to end, and its name.
pub(crate) type End = (&'static str, fn(RequestHandle));

pub(crate) const ENDS: [End; 6] = [
    ("finished", |audit| drop(audit.finish(200).unwrap())),
    ("completed", |audit| {
        drop(audit.complete(Completion::new()).unwrap());
    }),
    ("failed", |audit| {
        drop(audit.fail(Failure::new("timeout")).unwrap());
    }),
    ("rejected", |audit| {
        drop(audit.reject(Rejection::new("quota")).unwrap());
    }),
    ("abandoned", |audit| drop(audit.abandon().unwrap())),
    ("dropped", drop),
];
