//! Faults of the disk: every call that SQLite makes fails once, for good, and until it is cured;
//! the process dies or the power goes in the middle of it; a second fault strikes the recovery;
//! the disk fills up; the file goes away.
//!
//! A binary of its own: its file layer takes the place of SQLite's for the whole process. Sizes and
//! replay: `AUDITLITE_FAULT_CASES`, `AUDITLITE_FAULT_CASE=NUMBER`; `AUDITLITE_SECOND_FAULT_CASES`,
//! `AUDITLITE_SECOND_FAULT_CASE`; `AUDITLITE_DISK_FULL_CASES`, `AUDITLITE_DISK_FULL_CASE`.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/oracle.rs"]
mod oracle;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/seeds.rs"]
mod seeds;
#[path = "../support/vfs.rs"]
mod vfs;
#[path = "../support/world.rs"]
mod world;

mod campaign;
mod disk_full;
mod file;
