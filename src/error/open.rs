//! Why a store could not be opened.

use std::path::PathBuf;

use super::Cause;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting of the builder is out of its bounds.
    #[error("the store's settings are not usable: {0}")]
    Config(String),
    /// The path is a `file:` URI.
    #[error("{path:?} is a URI; give the plain path of the database file")]
    UriPath {
        /// The path as given.
        path: PathBuf,
    },
    /// The path names a directory.
    #[error("{path:?} is a directory; give the path of a file in it, for example audit.db")]
    IsDirectory {
        /// The absolute path.
        path: PathBuf,
    },
    /// The path names a symbolic link, which could be pointed elsewhere between two opens.
    #[error("{path:?} is a symbolic link; give the path of the database file itself")]
    SymbolicLink {
        /// The absolute path.
        path: PathBuf,
    },
    /// The path names something that is neither a file nor a directory.
    #[error("{path:?} is not a regular file; give the path of a database file")]
    NotAFile {
        /// The absolute path.
        path: PathBuf,
    },
    /// The folder does not exist.
    #[error("the folder of {path:?} does not exist; create it first")]
    NoDirectory {
        /// The absolute path.
        path: PathBuf,
    },
    /// There is no database to read.
    #[error("{path:?} does not exist; give the path of an auditlite database")]
    NotFound {
        /// The absolute path.
        path: PathBuf,
    },
    /// The file or its folder cannot be read or written.
    #[error("{path:?} cannot be opened for {purpose}; check that its folder exists and permits it")]
    NotAccessible {
        /// The absolute path.
        path: PathBuf,
        /// `reading` or `writing`.
        purpose: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A killed writer left a write-ahead log, nothing can be written beside it, and no copy could be made
    /// to read from.
    #[error(
        "{path:?} cannot be read where it lies: a writer that was killed left a write-ahead log, and nothing can be written beside it. A copy of {bytes} bytes to read from could not be made in {temporary:?}: {why}. Copy the file and its -wal to a writable folder with enough free space, and read them there, or have TMPDIR name such a folder"
    )]
    LogNotReadable {
        /// The absolute path.
        path: PathBuf,
        /// Size of the file and its write-ahead log.
        bytes: u64,
        /// The folder for temporary files.
        temporary: PathBuf,
        /// Why no copy could be made.
        why: String,
    },
    /// Another store, in this process or another, writes to the file.
    #[error(
        "{path:?} is open for writing elsewhere (lock file {lock:?}); close that store, or read with ReadOnlyStore"
    )]
    Locked {
        /// The absolute path.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// Another store writes to the file, and not under this name: by a hard link, from a container that
    /// mounts it elsewhere, or the lock file beside it was deleted. Its write-ahead log may lie beside
    /// the other name.
    #[error(
        "{path:?} is open for writing elsewhere, under another name (a hard link, a mount), or its lock file was deleted; close that store, and give the file one name"
    )]
    WrittenElsewhere {
        /// The absolute path.
        path: PathBuf,
    },
    /// The file has several names, and a write-ahead log belongs to one of them: what is recorded under
    /// one is not seen, and may be lost, under another.
    #[error(
        "{path:?} has {links} names (hard links): what is written under one is lost under another. Copy it (`auditlite backup`) instead of linking it; if the other names are never opened, set allow_links (--allow-links)"
    )]
    Linked {
        /// The absolute path.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },
    /// The file alone is mounted, as a container's `-v ./audit.db:/data/audit.db` does: its write-ahead
    /// log would lie in the container, and be lost with it.
    #[error(
        "{path:?} is mounted as a single file: its write-ahead log would lie outside of the mount and be lost with the container. Mount the folder that holds the database instead"
    )]
    MountedAlone {
        /// The absolute path.
        path: PathBuf,
    },
    /// The lock file beside the database cannot be opened, mostly because another user created it.
    #[error(
        "the lock file {lock:?}{} cannot be opened for writing; give it to the user who writes the database (chown), or delete it while no store has the file open",
        owner.map_or(String::new(), |owner| format!(", of user id {owner},"))
    )]
    LockFile {
        /// The lock file.
        lock: PathBuf,
        /// The user id of its owner, where the operating system has such.
        owner: Option<u32>,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file is not an SQLite database.
    #[error("{path:?} is not an SQLite database; it was left as it is")]
    NotADatabase {
        /// The absolute path.
        path: PathBuf,
    },
    /// The file is empty or has no tables, and was opened for reading.
    #[error(
        "{path:?} {}",
        match bytes {
            0 => "is empty (0 bytes): nothing was recorded to it yet, or it was truncated; put a backup in its place where there should be something",
            _ => "has no tables: what was recorded is in the write-ahead log beside the original (-wal), which was not copied with it; copy both while no store has the file open, or use `auditlite backup`",
        }
    )]
    Empty {
        /// The absolute path.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// The write-ahead log beside the file is another database's, or of another state of this one. SQLite
    /// would write its pages over those of the file.
    #[error(
        "{log:?} is not the write-ahead log of {path:?}: a backup seems to have been copied over a database whose log stayed. Both were left as they are. Move that log away (keep it until nothing is missed), and the -shm file beside it, and open again"
    )]
    StaleLog {
        /// The absolute path.
        path: PathBuf,
        /// The write-ahead log.
        log: PathBuf,
    },
    /// The file system does not let processes share memory.
    #[error(
        "the file system of {path:?} has no shared memory maps, which SQLite's write-ahead log needs (network, 9p and some FUSE mounts); put the database on a local disk"
    )]
    NoSharedMemory {
        /// The absolute path.
        path: PathBuf,
        /// What the database reported.
        source: Cause,
    },
    /// The file is an SQLite database of another application.
    #[error(
        "{path:?} is an SQLite database of another application (application_id {application_id:#010x}); it was left as it is"
    )]
    ForeignDatabase {
        /// The absolute path.
        path: PathBuf,
        /// The application id found.
        application_id: u32,
    },
    /// The file was written by a newer auditlite.
    #[error(
        "{path:?} has file version {found}, this auditlite knows up to {supported}; use a newer auditlite"
    )]
    NewerVersion {
        /// The absolute path.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// The newest version that this library reads.
        supported: i64,
    },
    /// The file was written by a build before the first release.
    #[error(
        "{path:?} has file version {found}, this auditlite reads from version {oldest} on, and left it as it is; export it with the build that wrote it, and import that"
    )]
    UnsupportedVersion {
        /// The absolute path.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// The oldest version that this library reads.
        oldest: i64,
    },
    /// The file was written by an older auditlite and is opened for reading only.
    #[error(
        "{path:?} has file version {found}, this auditlite reads {supported}; open it once for writing to upgrade it"
    )]
    OlderVersion {
        /// The absolute path.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// The version that this library reads.
        supported: i64,
    },
    /// The SQLite library in use can corrupt a WAL-mode file.
    #[error(
        "SQLite {found} is older than {required} and can corrupt a WAL-mode database (https://sqlite.org/wal.html#walresetbug); link a newer one"
    )]
    SqliteTooOld {
        /// The version found.
        found: String,
        /// The oldest one that is accepted.
        required: &'static str,
    },
    /// The anchor file states more events of this log, or other ones, than the database has: its end was cut off, its
    /// write-ahead log was deleted, or an older copy was put in its place.
    #[error(
        "{path:?} is not what the anchor file {anchor:?} states: {what}. Put the newer database back. Where it is lost, move the anchor file away, keep it as the proof of what is missing (`auditlite verify --anchor`), and open again: a new one is begun"
    )]
    BehindAnchor {
        /// The absolute path.
        path: PathBuf,
        /// The anchor file.
        anchor: PathBuf,
        /// Number of events that the anchor states.
        anchored_events: u64,
        /// Events in the database.
        events: u64,
        /// What does not fit.
        what: String,
    },
    /// The database holds another log than the expected one, or none yet.
    #[error(
        "{path:?} {}, and the log {expected:?} is expected; it was left as it is. Find out where that log is: a new or another one must not take its place",
        found.as_ref().map_or("holds no log yet".to_owned(), |found| format!("holds the log {found:?}"))
    )]
    OtherLog {
        /// The absolute path.
        path: PathBuf,
        /// The id of the log that is expected.
        expected: String,
        /// The id of the log in the database.
        found: Option<String>,
    },
    /// The log has signed checkpoints, and no key is set to continue signing them.
    #[error(
        "the checkpoints of {path:?} are signed, and no signing key is set: what would be written now could not be told from a forgery. Set the key"
    )]
    KeyMissing {
        /// The absolute path.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error("{path:?} is damaged ({what}); keep the file and run `auditlite doctor` on it")]
    Damaged {
        /// The absolute path.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Anything else that the database reported.
    #[error("{path:?} could not be opened")]
    Database {
        /// The absolute path.
        path: PathBuf,
        /// What the database reported.
        source: Cause,
    },
    /// The writer's thread could not be started.
    #[error("the writer's thread could not be started")]
    Thread(#[source] std::io::Error),
}
