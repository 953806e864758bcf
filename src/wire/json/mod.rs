//! JSON as providers really send it.

pub(super) mod lenient;
pub(super) mod repair;
