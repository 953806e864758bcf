//! Opens files and connections, and keeps who uses them.

pub(super) mod alone;
pub(super) mod aside;
pub(super) mod files;
pub(super) mod held;
pub(super) mod identity;
pub(super) mod index_state;
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
