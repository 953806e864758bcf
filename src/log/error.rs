//! Why a line is no event.

/// Why a line is not an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError {
    #[error("the line is not an event: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the line is not an event: {0}")]
    Utf8(#[from] std::str::Utf8Error),
}
