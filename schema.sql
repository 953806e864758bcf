-- The file format of auditlite, version 2.
--
-- One SQLite file holds everything. The log (log_segments) is the only authority; payloads hold the
-- content that the log commits to; every other table is a projection that can be rebuilt from the log.
-- Times are microseconds since the Unix epoch, UTC, unless a comment says otherwise.
-- `PRAGMA application_id` is 0x4155444C ("AUDL"); `PRAGMA user_version` is the file version.

PRAGMA application_id = 0x4155444C;

-- The event log: one row for each group commit. Events are JSON lines, in order of `seq`, which is
-- gapless from 0. The bytes stored are the bytes that are hashed.
CREATE TABLE log_segments (
    first_seq INTEGER PRIMARY KEY,  -- seq of the first event in the segment
    count     INTEGER NOT NULL,     -- events in the segment
    length    INTEGER NOT NULL,     -- bytes of the lines, each with its newline, before compression
    encoding  INTEGER NOT NULL,     -- 0 as is, 1 zstd in frames of 512 lines, 3 zstd with built-in dictionary 2
    data      BLOB NOT NULL,
    -- The RFC 6962 tree over all lines up to the end of the segment, as the hashes of the perfect
    -- subtrees that cover it, from the left, 32 bytes each; of these, only the ones that end within
    -- this segment (the others lie beside earlier ones). A leaf is a line without its newline.
    tree      BLOB NOT NULL
) STRICT;

-- Checkpoints (signed tree heads): the log's size and root at one time. One at least every 10,000 events
-- (and the rest of a group commit), after a minute with events, and with every store_closed, erased and
-- pruned event.
CREATE TABLE checkpoints (
    checkpoint_id INTEGER PRIMARY KEY, -- ascending
    size INTEGER NOT NULL,             -- events
    at   INTEGER NOT NULL,             -- when it was made
    note TEXT NOT NULL                 -- C2SP tlog-checkpoint, a signed note; unsigned where the store has no key
) STRICT;

-- Content, stored apart from the events so that it can be erased. The event holds the commitment
-- SHA-256(salt || sha256); without the salt nobody can confirm a guessed body from the log.
-- A body has no row if its event says that it was shed for lack of capacity, or an erased or pruned event
-- that it was removed; readers look that up.
CREATE TABLE payloads (
    payload_id INTEGER PRIMARY KEY, -- seq of the committing event * 4 + part
                                    -- part 0: the body (request of an opening, response of an end)
                                    -- part 1: other content handed over with the event, as JSON
                                    -- part 2: the body forwarded upstream; digest only
                                    -- part 3: of an end, the request's body, which the opening deferred
    length     INTEGER NOT NULL,    -- bytes of the full content, whatever is kept
    sha256     BLOB NOT NULL,       -- of the full content, 32 bytes
    salt       BLOB NOT NULL,       -- random, 32 bytes
    kept       INTEGER NOT NULL,    -- bytes that decoding `data` gives
    head       INTEGER,             -- content above the cap: bytes of the head, the rest of `kept` is its tail
    encoding   INTEGER NOT NULL,    -- 0 as is, 1 zstd, 2 delta against base_id and second_base_id,
                                    -- 3 one of these, with media left out
    base_id    INTEGER,             -- delta: the payload whose start this one repeats; always an earlier one
    second_base_id INTEGER,         -- delta: a payload that the rest is packed against too
    data       BLOB                 -- NULL where only the digest is kept
) STRICT;

-- Media: base64 texts of 16 KiB and more inside bodies (images, audio, documents), each stored once however many
-- bodies have it. It goes with the last payload that refers to it, in the same transaction.
CREATE TABLE media (
    media_id INTEGER PRIMARY KEY,
    digest   BLOB NOT NULL,     -- SHA-256(key || 0 as 4 bytes || the medium), 32 bytes; key: media_key
    length   INTEGER NOT NULL,  -- bytes of the medium, as it is in the bodies
    encoding INTEGER NOT NULL,  -- 0 as is, 1 zstd
    data     BLOB NOT NULL
) STRICT;
-- recording: is it known already?
CREATE INDEX media_by_digest ON media (digest);

-- Which media payloads refer to, exactly as the payloads' own headers say.
CREATE TABLE media_links (
    payload_id INTEGER NOT NULL,
    media_id   INTEGER NOT NULL,
    PRIMARY KEY (payload_id, media_id)
) STRICT, WITHOUT ROWID;
-- removing: does anything refer to it still?
CREATE INDEX media_links_by_medium ON media_links (media_id, payload_id);

-- One row: the key of the digests. It is random, so that a digest that is left somewhere confirms no guess.
CREATE TABLE media_key (
    key BLOB NOT NULL           -- 32 bytes
) STRICT;
INSERT INTO media_key (key) VALUES (randomblob(32));

-- Projection: one row for each request, as it stands.
CREATE TABLE requests (
    opened_seq                INTEGER PRIMARY KEY, -- seq of the opening event; order of lists
    ended_seq                 INTEGER,             -- seq of the ending event
    status                    TEXT NOT NULL,       -- pending, completed, failed, rejected, abandoned, interrupted
    request_id                TEXT NOT NULL,
    opened_at                 INTEGER NOT NULL,    -- when the request arrived
    latency_us                INTEGER,             -- whole request, microseconds
    upstream_latency_us       INTEGER,             -- upstream's share of it, microseconds
    time_to_first_chunk_us    INTEGER,             -- microseconds from the arrival
    conversation_id           TEXT,
    context_id                TEXT,
    session_id                TEXT,
    user_id                   TEXT,
    trace_id                  TEXT,
    actor_type                TEXT,                -- user, job, mcp
    actor_id                  TEXT,
    operation_name            TEXT,
    url_path                  TEXT,                -- without its query
    provider_name             TEXT,                -- routed to
    response_provider_name    TEXT,                -- served, where another one
    client_model              TEXT,                -- asked for by the client
    request_model             TEXT,                -- routed to
    response_model            TEXT,                -- served
    wire_protocol             TEXT,
    is_streaming              INTEGER NOT NULL,    -- 0 or 1
    max_tokens                INTEGER,
    temperature               REAL,
    top_p                     REAL,
    attributes                TEXT,                -- JSON object of strings
    input_tokens              INTEGER,             -- cached ones included
    output_tokens             INTEGER,             -- reasoning included
    cache_read_input_tokens   INTEGER,
    cache_write_input_tokens  INTEGER,
    reasoning_output_tokens   INTEGER,
    cost_microdollars         INTEGER,             -- millionths of a US dollar; NULL: price not known
    finish_reasons            TEXT,                -- JSON array of strings
    tool_call_count           INTEGER NOT NULL,
    response_id               TEXT,                -- the provider's own
    http_status               INTEGER,
    error_type                TEXT,
    error_message             TEXT,
    request_bytes             INTEGER NOT NULL,    -- length of the full request body
    response_bytes            INTEGER,             -- length of the full response body
    adjusted_fields           TEXT,                -- names, separated by commas: fields brought into their bounds
    body_flags                TEXT,                -- flags, separated by commas: bodies not parsed, withheld or left out
    usage_source              TEXT,                -- where the counts come from: reported, partial, told, absent
    cost_source               TEXT,                -- computed, stated, told, partial, incomplete, unknown
    price_book_seq            INTEGER,             -- seq of the price_book event whose prices the cost was computed from
    usage_details             TEXT                 -- JSON object: what the response says beyond the counts
) STRICT;

-- Each index costs write throughput; the query that needs it is named.
-- get: by id or prefix
CREATE INDEX requests_by_request_id ON requests (request_id);
-- get, list: by trace
CREATE INDEX requests_by_trace_id ON requests (trace_id) WHERE trace_id IS NOT NULL;
-- list: by conversation
CREATE INDEX requests_by_conversation ON requests (coalesce(conversation_id, context_id, session_id))
    WHERE coalesce(conversation_id, context_id, session_id) IS NOT NULL;
-- list: by session (where it is not what names the conversation already)
CREATE INDEX requests_by_session_id ON requests (session_id)
    WHERE session_id IS NOT NULL;
-- list: by user
CREATE INDEX requests_by_user_id ON requests (user_id) WHERE user_id IS NOT NULL;
-- list: by status; open: what a crash left pending. Completed requests, the bulk, are not in it.
CREATE INDEX requests_by_status ON requests (status) WHERE status <> 'completed';

-- Projection: tools that models asked to have called. Their inputs are content (payloads, part 1).
CREATE TABLE tool_calls (
    ended_seq    INTEGER NOT NULL,  -- the request's ending event
    position     INTEGER NOT NULL,  -- from 0
    tool_call_id TEXT NOT NULL,
    tool_name    TEXT NOT NULL,
    input_bytes  INTEGER NOT NULL,  -- length of the full input
    PRIMARY KEY (ended_seq, position)
) STRICT, WITHOUT ROWID;

-- Projection: sums over ended requests, for statistics that never scan requests. A sum that would be
-- above 2^63 - 1 is 2^63 - 1. A request counts to the model that served; tokens that another model used
-- (an adviser, one that declined) and their cost are in that model's row, of the same hour, provider and user.
CREATE TABLE usage_hourly (
    hour                     INTEGER NOT NULL,  -- hours since the Unix epoch, of the arrival
    provider_name            TEXT NOT NULL,     -- served, else routed to, else ''
    model                    TEXT NOT NULL,     -- served, else routed to, else asked for, else ''
    user_id                  TEXT NOT NULL,     -- '' where there is none
    completed                INTEGER NOT NULL,  -- requests by how they ended
    failed                   INTEGER NOT NULL,
    rejected                 INTEGER NOT NULL,
    abandoned                INTEGER NOT NULL,
    interrupted              INTEGER NOT NULL,
    input_tokens             INTEGER NOT NULL,
    output_tokens            INTEGER NOT NULL,
    cache_read_input_tokens  INTEGER NOT NULL,
    cache_write_input_tokens INTEGER NOT NULL,
    reasoning_output_tokens  INTEGER NOT NULL,
    without_usage            INTEGER NOT NULL,  -- requests that may have used tokens and say nothing of it
    cost_microdollars        INTEGER NOT NULL,
    unpriced                 INTEGER NOT NULL,  -- requests with usage and no price
    latency_us_sum           INTEGER NOT NULL,
    latency_count            INTEGER NOT NULL,  -- requests with a latency
    partial_usage            INTEGER NOT NULL DEFAULT 0, -- requests with counts of a response that broke off
    told_usage               INTEGER NOT NULL DEFAULT 0, -- whose counts the gateway told
    partial_cost             INTEGER NOT NULL DEFAULT 0, -- whose cost was computed from partial counts
    told_cost                INTEGER NOT NULL DEFAULT 0, -- whose cost was told or stated
    incomplete_cost          INTEGER NOT NULL DEFAULT 0, -- whose cost lacks something that has no price
    credited_requests        INTEGER NOT NULL DEFAULT 0, -- requests of others that used its tokens; of these:
    credited_partial_usage   INTEGER NOT NULL DEFAULT 0, -- with partial counts
    credited_told_usage      INTEGER NOT NULL DEFAULT 0, -- with told ones
    credited_unpriced        INTEGER NOT NULL DEFAULT 0, -- without a cost of the tokens
    PRIMARY KEY (hour, provider_name, model, user_id)
) STRICT, WITHOUT ROWID;

-- Projection: the same sums by day over all users, so that statistics of all time stay quick: it grows
-- with days and models, not with users. One row write for each day and model of a group commit.
CREATE TABLE usage_daily (
    day                      INTEGER NOT NULL,  -- days since the Unix epoch, of the arrival
    provider_name            TEXT NOT NULL,     -- served, else routed to, else ''
    model                    TEXT NOT NULL,     -- served, else routed to, else asked for, else ''
    completed                INTEGER NOT NULL,  -- requests by how they ended
    failed                   INTEGER NOT NULL,
    rejected                 INTEGER NOT NULL,
    abandoned                INTEGER NOT NULL,
    interrupted              INTEGER NOT NULL,
    input_tokens             INTEGER NOT NULL,
    output_tokens            INTEGER NOT NULL,
    cache_read_input_tokens  INTEGER NOT NULL,
    cache_write_input_tokens INTEGER NOT NULL,
    reasoning_output_tokens  INTEGER NOT NULL,
    without_usage            INTEGER NOT NULL,  -- requests that may have used tokens and say nothing of it
    cost_microdollars        INTEGER NOT NULL,
    unpriced                 INTEGER NOT NULL,  -- requests with usage and no price
    latency_us_sum           INTEGER NOT NULL,
    latency_count            INTEGER NOT NULL,  -- requests with a latency
    partial_usage            INTEGER NOT NULL DEFAULT 0, -- requests with counts of a response that broke off
    told_usage               INTEGER NOT NULL DEFAULT 0, -- whose counts the gateway told
    partial_cost             INTEGER NOT NULL DEFAULT 0, -- whose cost was computed from partial counts
    told_cost                INTEGER NOT NULL DEFAULT 0, -- whose cost was told or stated
    incomplete_cost          INTEGER NOT NULL DEFAULT 0, -- whose cost lacks something that has no price
    credited_requests        INTEGER NOT NULL DEFAULT 0, -- requests of others that used its tokens; of these:
    credited_partial_usage   INTEGER NOT NULL DEFAULT 0, -- with partial counts
    credited_told_usage      INTEGER NOT NULL DEFAULT 0, -- with told ones
    credited_unpriced        INTEGER NOT NULL DEFAULT 0, -- without a cost of the tokens
    PRIMARY KEY (day, provider_name, model)
) STRICT, WITHOUT ROWID;

-- Projection: which part of the log holds the requests that arrived in a minute. Answers time ranges
-- without an index entry for each request, and stays right when the clock jumps.
CREATE TABLE opened_minutes (
    minute    INTEGER PRIMARY KEY,  -- minutes since the Unix epoch
    first_seq INTEGER NOT NULL,     -- smallest opened_seq of the minute
    last_seq  INTEGER NOT NULL      -- largest opened_seq of the minute. Its last 10 bits say nothing and are
                                    -- read as set, so that the row changes with every 1,024th event only
) STRICT;

-- Projection: openings of the store, from an open to its close; without an end, the process died.
CREATE TABLE store_openings (
    opened_seq INTEGER PRIMARY KEY,  -- seq of the store_opened event
    opened_at  INTEGER NOT NULL,
    closed_seq INTEGER,              -- seq of the store_closed event
    closed_at  INTEGER,
    lifecycles_submitted INTEGER,    -- the opening's own accounts, recorded at its close:
    lifecycles_stored    INTEGER,    -- submitted = stored + lost
    lifecycles_lost      INTEGER,
    payloads_lost        INTEGER
) STRICT;

-- Projection: what was removed from the log or from payloads on purpose.
CREATE TABLE removals (
    kind      TEXT NOT NULL,     -- erased: an event's line and content; content, metadata: pruned
    first_seq INTEGER NOT NULL,  -- events whose content, or whose lines too, are gone
    last_seq  INTEGER NOT NULL,
    seq       INTEGER NOT NULL,  -- seq of the erased or pruned event
    requests  INTEGER NOT NULL,  -- metadata: requests whose rows are gone
    PRIMARY KEY (kind, first_seq, seq)
) STRICT, WITHOUT ROWID;

-- Which payloads are packed against which: what erasing and pruning have to repack. Filled when
-- they need it, so that recording pays nothing for it. May be out of date; the payload's own row
-- counts.
CREATE TABLE payload_links (
    base_id    INTEGER NOT NULL,
    payload_id INTEGER NOT NULL,
    PRIMARY KEY (base_id, payload_id)
) STRICT, WITHOUT ROWID;

-- One row, once payload_links is used: up to which payload it is filled.
CREATE TABLE payload_links_filled (
    through INTEGER PRIMARY KEY -- payload_id
) STRICT;

-- Scratch, outside of the log: what came so far of long responses whose requests have not ended. The
-- transaction that writes a request's end deletes its pieces. What a crash leaves becomes the response of
-- the `interrupted` event at the next opening, and is deleted likewise. Two forms: contiguous pieces from
-- position 0 on, or, once the response is above the payload cap, one row at position 0 with its beginning
-- and its end, which has a sha256.
CREATE TABLE response_pieces (
    piece_id     INTEGER PRIMARY KEY, -- opened_seq * 4096 + position
    length       INTEGER NOT NULL,    -- bytes that came: of this piece; of the whole response so far
    kept         INTEGER NOT NULL,    -- bytes that decoding `data` gives
    head         INTEGER,             -- beginning and end: bytes of the beginning
    sha256       BLOB,                -- beginning and end: of the whole response so far, 32 bytes
    redaction_id TEXT,                -- the redaction that was applied
    encoding     INTEGER NOT NULL,    -- 0 as is, 1 zstd
    padding      BLOB NOT NULL,       -- 8 KiB of zeros: they fill the space that a row has in a page of the
                                      -- table, so that content is on overflow pages, which SQLite
                                      -- overwrites when they are freed and never rebalances
    data         BLOB NOT NULL
) STRICT;

-- Projection: what was shed for lack of capacity.
CREATE TABLE gaps (
    seq        INTEGER PRIMARY KEY,  -- seq of the gap event
    first_at   INTEGER NOT NULL,     -- first and last loss
    last_at    INTEGER NOT NULL,
    lifecycles INTEGER NOT NULL,     -- lifecycles of which nothing is recorded
    payloads   INTEGER NOT NULL,     -- bodies left out of recorded lifecycles
    updates    INTEGER NOT NULL      -- updates of the served model or upstream body left out
) STRICT;

-- Full text search. No projection: made from payloads, it holds content, may lag behind the log, and
-- can be emptied and rebuilt. It is empty until the first search, unless the store is to maintain it.

-- Each message once: in the request in which it first appeared.
CREATE TABLE search_messages (
    message_id  INTEGER PRIMARY KEY, -- its row in search_index
    request_seq INTEGER NOT NULL,    -- opened_seq of the request
    is_reply    INTEGER NOT NULL,    -- 1: said by the model, in the response
    position    INTEGER NOT NULL,    -- its place in the request's messages, or in the replies
    role        TEXT NOT NULL,
    message_key BLOB NOT NULL,       -- 16 bytes of a digest of user, conversation and message
    text        BLOB NOT NULL        -- what is searched, at most 256 KiB, zstd
) STRICT;
-- building: is it known already?
CREATE UNIQUE INDEX search_messages_by_key ON search_messages (message_key);
-- erasing: the messages of a request
CREATE INDEX search_messages_by_request ON search_messages (request_seq);

-- The words, without the texts. Chinese, Japanese and Korean text is split into pairs of characters before.
-- 'secure-delete' overwrites what is deleted from it. 'hashsize' is the memory, in bytes, of words that are not written
-- yet; an index without it is of a build that did not split, and is built again.
CREATE VIRTUAL TABLE search_index USING fts5 (
    text, content = '', tokenize = "unicode61 remove_diacritics 2"
);
INSERT INTO search_index (search_index, rank) VALUES ('secure-delete', 1);
INSERT INTO search_index (search_index, rank) VALUES ('hashsize', 4194304);

-- How far the index is; no row: there is no index.
CREATE TABLE search_state (
    id         INTEGER PRIMARY KEY CHECK (id = 0),
    next_seq   INTEGER NOT NULL, -- requests opened from this seq on are not in it
    is_dropped INTEGER NOT NULL, -- 1: the rest of it is being deleted in steps; nothing is searched until then
    damaged_at INTEGER           -- when it was found damaged; NULL again once it is rebuilt
) STRICT;

-- Requests before next_seq that are still to be indexed once they have ended, or could not be read.
CREATE TABLE search_pending (
    opened_seq INTEGER PRIMARY KEY,
    state      INTEGER NOT NULL  -- 0: it has not ended; 1: a message before it was removed, which it or
                                 -- later requests of its conversation (else of its user) may have
                                 -- repeated; 2: it cannot be read, and its messages are not found
) STRICT;
