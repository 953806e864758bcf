//! Opens files and connections, and decides who may use them.
//!
//! `files` checks paths and locks the writer's place; `open` opens for writing with `settings`, `migrate` and `schema`
//! (compared word for word; `mend` recreates what may be recreated). `pool` has the readers' connections, `aside` a copy
//! for a file that cannot be read in place. `watch` tells whether the file at the path is still the one that is open:
//! by `identity`, and by `alone`, the file without its write-ahead log. `held` and `raw_io` go past SQLite.

pub(super) mod alone;
pub(super) mod aside;
pub(super) mod files;
pub(super) mod held;
pub(super) mod identity;
pub(super) mod index_state;
pub(super) mod log_pages;
pub(super) mod mend;
pub(super) mod migrate;
pub(super) mod mount;
pub(super) mod open;
pub(super) mod pool;
pub(super) mod raw_io;
pub(super) mod replace;
pub(super) mod schema;
pub(super) mod settings;
pub(super) mod watch;
