//! From the channel to a batch: `intake` drains and numbers, `prepare` turns commands into events and payload
//! plans (`prepare_open`, `prepare_end`), `pack` compresses, encodes and extends the tree, `complete` parses
//! responses, `other_models` prices the models that took part. `resume` reads conversations back from the file, `media` knows
//! which media the file has, `prices` states price books. A command whose preparation panics is recorded in its `barest` form by `guard`.

pub(super) mod barest;
pub(super) mod batch;
pub(super) mod bodies;
pub(super) mod complete;
pub(super) mod guard;
pub(super) mod intake;
pub(super) mod media;
mod other_models;
pub(super) mod pack;
pub(super) mod pieces;
pub(super) mod prepare;
pub(super) mod prepare_end;
pub(super) mod prepare_open;
pub(super) mod prices;
pub(super) mod request_note;
pub(super) mod resume;
pub(super) mod routes;
