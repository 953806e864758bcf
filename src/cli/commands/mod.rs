//! The commands, one file or folder each.

pub(super) mod backup;
pub(super) mod bundle;
pub(super) mod completions;
pub(super) mod conversation;
pub(super) mod doctor;
pub(super) mod erase;
pub(super) mod export;
pub(super) mod import;
pub(super) mod keygen;
pub(super) mod list;
pub(super) mod path;
pub(super) mod payload;
pub(super) mod prune;
pub(super) mod record;
pub(super) mod restore;
pub(super) mod search;
pub(super) mod show;
pub(super) mod stats;
pub(super) mod tail;
pub(super) mod tools;
pub(super) mod verify;
