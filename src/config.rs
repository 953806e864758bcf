//! The settings of a store, and the limits that hold for every store.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::named;
use crate::redaction::Redaction;

/// Longest identifier or name (request id, user id, model, …) in bytes. A longer one is stored as its beginning
/// and a digest, see [`stored_identifier`](crate::stored_identifier).
pub const IDENTIFIER_BYTES_MAX: usize = 256;
/// Most attributes that one request may carry.
pub const ATTRIBUTES_MAX: usize = 64;
/// Most ranges of HTTP statuses in one filter: enough for a few classes and single statuses. Bounds the length
/// of the query.
pub const FILTER_RANGES_MAX: usize = 16;
/// Longest attribute key in bytes.
pub const ATTRIBUTE_KEY_BYTES_MAX: usize = 128;
/// Longest attribute value in bytes.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 16 * 1024;
/// Longest error message that is kept with an event, in bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Most tool calls that one response may carry.
pub const TOOL_CALLS_MAX: usize = 1024;
/// Longest input of one tool call that is kept, in bytes.
pub const TOOL_INPUT_BYTES_MAX: usize = 64 * 1024;
/// Most finish reasons that one response may carry.
pub const FINISH_REASONS_MAX: usize = 32;
/// Most canonical messages that the gateway may pass with one request.
pub const MESSAGES_MAX: usize = 16 * 1024;
/// Most tokens of a kind that one request can have used: a thousand times today's largest context windows. A
/// larger figure is reduced to this one and flagged; so no sum of honest requests comes near the largest
/// integer that the file can hold.
pub const TOKENS_MAX: u64 = 10_000_000_000;
/// Largest `max_tokens` that a request can ask for: 2^53 - 1, which every reader of JSON reads
/// exactly. It is never summed, and clients send large ones for "no limit".
pub const TOKEN_LIMIT_MAX: u64 = (1 << 53) - 1;
/// Largest cost of one request, in millionths of a US dollar: a million dollars.
pub const COST_MICRODOLLARS_MAX: u64 = 1_000_000_000_000;
/// Longest latency of one request, in microseconds: 30 days. The longest there are, those of batches,
/// take a day.
pub const LATENCY_US_MAX: u64 = 30 * 24 * 60 * 60 * 1_000_000;
/// Largest sampling parameter (temperature, top_p), whatever its sign: they are of the order of 1.
pub const SAMPLING_PARAMETER_MAX: f64 = 1_000_000.0;
/// An HTTP status has three digits.
pub(crate) const HTTP_STATUSES: std::ops::RangeInclusive<u16> = 100..=999;
/// Kept from the start, and again from the end, of a body above the payload cap, in bytes.
pub const EXCERPT_BYTES: usize = 8 * 1024;
/// Largest payload cap that can be configured, in bytes: SQLite holds a value of at most 1 GB.
pub const PAYLOAD_CAP_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long a read may take by default.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Smallest bound of a file's size, in bytes: an empty store and a few commits.
const SIZE_BYTES_MAX_MIN: u64 = 1024 * 1024;

/// When a recorded event is safe.
///
/// Either way a process crash (SIGKILL, panic, out of memory) loses nothing that was committed;
/// the two differ in what a power loss or kernel crash can take.
/// Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Each group commit is synced to the disk before its receipts turn durable
    /// (`synchronous=FULL`). A durable receipt survives power loss. The default.
    #[default]
    Full,
    /// The disk is synced at checkpoints only (`synchronous=NORMAL`). Power loss can take the
    /// commits since the last checkpoint, always a whole tail of the log, never a part in the
    /// middle; receipts say "committed", not "on the disk".
    Buffered,
}

named! {
    Durability;
    Full => "full",
    Buffered => "buffered",
}

/// What happens to a request that finds the store's capacity used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// Never wait. If the byte capacity is used up, the body is left out and flagged; if the event capacity is
    /// used up, the whole lifecycle is left out. Both are counted, and recorded by a `gap` event as soon as
    /// there is capacity. The default.
    #[default]
    Shed,
    /// Wait up to this long for capacity, then shed. Blocks the calling thread.
    Wait(Duration),
    /// Return [`RecordError::Full`](crate::RecordError::Full) at once, so that the gateway can
    /// refuse what it cannot audit.
    Strict,
}

impl Overflow {
    /// The name, as in the log's `store_opened` events, without the duration of [`Wait`](Self::Wait): so there is no
    /// `FromStr`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shed => "shed",
            Self::Wait(_) => "wait",
            Self::Strict => "strict",
        }
    }
}

impl std::fmt::Display for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether request and response bodies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Capture {
    /// Bodies are kept up to the payload cap. The default.
    #[default]
    Full,
    /// Only metadata; lengths and digests of the bodies are recorded all the same.
    MetadataOnly,
    /// Bodies are kept only of requests that do not succeed; of the others, and of requests that a crash
    /// interrupts, as with [`MetadataOnly`](Self::MetadataOnly).
    ///
    /// A request succeeds if it ends as completed, with an HTTP status below 400 or none. How
    /// [`finish`](crate::RequestHandle::finish) and a dropped handle end is read from the response first.
    /// [`RequestHandle::set_capture`](crate::RequestHandle::set_capture) decides otherwise, up to the end.
    ///
    /// Until the end, the request's body and messages stay in memory and count against
    /// [`capacity_bytes`](crate::StoreBuilder::capacity_bytes), as chunks of the response do. Body and
    /// messages take at most seven twelfths of it, so that openings and ends find their place; those beyond are
    /// shed and counted, as any body is. What is kept is stored alone, and no other body as a difference to it. Of a
    /// streamed response nothing is written before the end.
    Deferred,
}

named! {
    Capture;
    Full => "full",
    MetadataOnly => "metadata_only",
    Deferred => "deferred",
}

/// Everything a store is opened with. Built by [`StoreBuilder`](crate::StoreBuilder), which
/// documents each field.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) overflow: Overflow,
    pub(crate) capture: Capture,
    pub(crate) payload_bytes_max: usize,
    pub(crate) capacity_events: usize,
    pub(crate) capacity_bytes: usize,
    pub(crate) conversation_cache_bytes: usize,
    pub(crate) commit_interval: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) readers_max: u32,
    pub(crate) read_timeout: Duration,
    pub(crate) checkpoint_bytes: u64,
    /// Of a new file.
    pub(crate) page_bytes: u32,
    pub(crate) space: SpaceLimits,
    pub(crate) read_bodies: bool,
    /// Ends that are no failures are logged at INFO instead of DEBUG.
    pub(crate) logs_ends_at_info: bool,
    pub(crate) redaction: Option<Redaction>,
    pub(crate) has_search_index: bool,
    /// The id of the only log that may be opened.
    pub(crate) expected_log: Option<String>,
    /// A log with signed checkpoints is refused without a key.
    pub(crate) is_unsigned_refused: bool,
    pub(crate) pieces: PieceSettings,
    /// A file with several names is not refused.
    pub(crate) are_links_allowed: bool,
}

/// When the chunks of a running response are written as a piece that survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PieceSettings {
    /// This long after the piece before.
    pub(crate) interval: Duration,
    /// When this many bytes have come since.
    pub(crate) bytes: usize,
}

impl PieceSettings {
    /// `false` if both bounds have their largest value: then no pieces are written at all, not even of a response
    /// above the payload cap.
    pub(crate) fn are_wanted(self) -> bool {
        self.interval < Duration::MAX || self.bytes < usize::MAX
    }
}

/// Smallest piece that can be configured, in bytes: a row takes 8 KiB beside its content.
const PIECE_BYTES_MIN: usize = 4 * 1024;

/// How long a commit is put off at most for others to join it, by default.
const COMMIT_INTERVAL: Duration = Duration::from_millis(if cfg!(shuttle) { 0 } else { 50 });
/// And at all: what is gathered is lost with the process.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(60);
const CONVERSATION_CACHE_BYTES_MAX: usize = 1 << 32;
/// Bytes of a page of a new file: a commit of a few events writes a page of each table and index whatever its size.
pub(crate) const PAGE_BYTES: u32 = 4096;
/// The same where many requests come all the time: larger pages waste less of their ends.
pub(crate) const PAGE_BYTES_LARGE: u32 = 8192;

/// How much disk space the file may take, and when a shortage has consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SpaceLimits {
    /// Most bytes of the database and its write-ahead log. `None`: no bound.
    pub(crate) size_bytes_max: Option<u64>,
    /// Free bytes below which an alarm is raised. `None`: by the size of the disk.
    pub(crate) warn_below_bytes: Option<u64>,
    /// Free bytes below which bodies are left out. `None`: by the size of the disk.
    pub(crate) metadata_only_below_bytes: Option<u64>,
}

impl Config {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            durability: Durability::default(),
            overflow: Overflow::default(),
            capture: Capture::default(),
            payload_bytes_max: 16 * 1024 * 1024,
            capacity_events: 65_536,
            capacity_bytes: 64 * 1024 * 1024,
            conversation_cache_bytes: 64 * 1024 * 1024,
            commit_interval: COMMIT_INTERVAL,
            close_timeout: Duration::from_secs(10),
            readers_max: 4,
            read_timeout: READ_TIMEOUT,
            checkpoint_bytes: 16 * 1024 * 1024,
            page_bytes: PAGE_BYTES,
            space: SpaceLimits::default(),
            read_bodies: true,
            redaction: None,
            has_search_index: false,
            expected_log: None,
            is_unsigned_refused: false,
            pieces: PieceSettings {
                interval: Duration::from_secs(10),
                bytes: 1024 * 1024,
            },
            are_links_allowed: false,
            logs_ends_at_info: false,
        }
    }

    /// The first setting that is out of its bounds, in words. Checked by `open`, once for all settings, so that no
    /// setter can fail. Values that depend on each other (a body must fit its two excerpts) are checked here too.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.payload_bytes_max < 2 * EXCERPT_BYTES
            || self.payload_bytes_max > PAYLOAD_CAP_BYTES_MAX
        {
            return Some(format!(
                "payload_bytes_max must be between {} and {PAYLOAD_CAP_BYTES_MAX} bytes, not {}",
                2 * EXCERPT_BYTES,
                self.payload_bytes_max
            ));
        }
        if !(16..=1 << 22).contains(&self.capacity_events) {
            return Some(format!(
                "capacity_events must be between 16 and {}, not {}",
                1 << 22,
                self.capacity_events
            ));
        }
        if self.capacity_bytes < 64 * 1024 {
            return Some(format!(
                "capacity_bytes must be at least 65536, not {}",
                self.capacity_bytes
            ));
        }
        if self.conversation_cache_bytes > CONVERSATION_CACHE_BYTES_MAX {
            return Some(format!(
                "conversation_cache_bytes must be at most {CONVERSATION_CACHE_BYTES_MAX}, not {}",
                self.conversation_cache_bytes
            ));
        }
        if self.commit_interval > COMMIT_INTERVAL_MAX {
            return Some(format!(
                "commit_interval must be at most {} s, not {} s",
                COMMIT_INTERVAL_MAX.as_secs(),
                self.commit_interval.as_secs_f64()
            ));
        }
        if !(1..=256).contains(&self.readers_max) {
            return Some(format!(
                "readers must be between 1 and 256, not {}",
                self.readers_max
            ));
        }
        if self.checkpoint_bytes < 64 * 1024 {
            return Some(format!(
                "wal_checkpoint_bytes must be at least 65536 bytes, not {}",
                self.checkpoint_bytes
            ));
        }
        if ![PAGE_BYTES, PAGE_BYTES_LARGE].contains(&self.page_bytes) {
            return Some(format!(
                "page_bytes must be {PAGE_BYTES} or {PAGE_BYTES_LARGE}, not {}",
                self.page_bytes
            ));
        }
        if self.pieces.bytes < PIECE_BYTES_MIN {
            return Some(format!(
                "response_pieces must have at least {PIECE_BYTES_MIN} bytes, not {}",
                self.pieces.bytes
            ));
        }
        if let Some(bytes) = self.space.size_bytes_max
            && bytes < SIZE_BYTES_MAX_MIN
        {
            return Some(format!(
                "size_bytes_max must be at least {SIZE_BYTES_MAX_MIN} bytes, not {bytes}"
            ));
        }
        None
    }
}
