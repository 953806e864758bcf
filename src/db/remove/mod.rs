//! Removes content: rows and lines (`content`), then old bytes in unused space of pages (`slack`).

pub(super) mod content;
pub(super) mod slack;
