//! What a reader says of messages: of one request, of a conversation, of a tool.

use super::Reader;
use crate::error::ReadError;
use crate::model::RequestRecord;
use crate::read::content::ContentReader;
use crate::read::tool_links::{self, ToolLink};
use crate::read::transcript::{self, Conversation, ConversationOptions, ToolResult, Transcript};

impl Reader {
    /// What the request and its response said: messages in canonical form, read from the bodies
    /// where these are kept whole and their wire protocol is known, else what the gateway handed
    /// over.
    ///
    /// ```no_run
    /// let reader = auditlite::ReadOnlyStore::open("audit.db")?.reader();
    /// let request = reader.get("0199f0a2-6c1e")?;
    /// for message in reader.transcript(&request)?.messages {
    ///     println!("{}: {}", message.role, message.flattened());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], or what the database reported.
    pub fn transcript(&self, request: &RequestRecord) -> Result<Transcript, ReadError> {
        transcript::transcript(&*self.connection()?, &mut ContentReader::default(), request)
    }

    /// A page of the conversation of this id (`conversation_id`, else `context_id`, else `session_id`
    /// of its requests): each message once, with the requests that carried it. A conversation is one
    /// user's. At most 64 MiB of text; [`Conversation::next`] says where it goes on.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotFound`], [`ReadError::AmbiguousConversation`] where several users have one of
    /// this id and none is named, or what the database reported. Damaged bodies are counted.
    pub fn conversation(
        &self,
        id: &str,
        options: &ConversationOptions,
    ) -> Result<Conversation, ReadError> {
        transcript::conversation(&*self.connection()?, id, options)
    }

    /// A page of the conversation of this request, of its user; the request alone where it belongs to
    /// none.
    ///
    /// # Errors
    ///
    /// [`ReadError::InvalidArgument`], or what the database reported. Damaged bodies are counted.
    pub fn conversation_of(
        &self,
        request: &RequestRecord,
        options: &ConversationOptions,
    ) -> Result<Conversation, ReadError> {
        transcript::conversation_of(&*self.connection()?, request, options)
    }

    /// For each of these calls of the request's, by the ids of the calls, the result that a later
    /// request of the conversation carried, if one of the next eight did.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn tool_results(
        &self,
        request: &RequestRecord,
        tool_call_ids: &[&str],
    ) -> Result<Vec<Option<ToolResult>>, ReadError> {
        transcript::tool_results(&*self.connection()?, request, tool_call_ids)
    }

    /// The requests of the Model Context Protocol that executed the request's tool calls; of such a request, the one in
    /// whose response the model asked for the call. They are linked by the call's id and name, or, in one conversation,
    /// session or trace, by its name and input. Looks at up to 256 requests within 20,000 events of the log.
    ///
    /// # Errors
    ///
    /// [`ReadError::Unchecked`], or what the database reported.
    pub fn tool_links(&self, request: &RequestRecord) -> Result<Vec<ToolLink>, ReadError> {
        tool_links::tool_links(&*self.connection()?, request)
    }
}
