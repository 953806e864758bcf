//! Joins the pieces of a response, for all protocols.

use std::collections::BTreeMap;

use super::calls::{self, CallPiece};
use super::error::ResponseError;
use super::inputs::{PartedInput, Value};
use super::parsed_response::ParsedResponse;
use super::usage::{Counts, Details};
use crate::config::FINISH_REASONS_MAX;
use crate::model::{CanonicalMessage, MessagePart, MessageToolCall, MessageToolResult, Usage};

/// Limit of choices of one response: OpenAI's own limit of `n`.
pub(super) const CHOICES_MAX: usize = 128;
/// Limit of the parts of all choices together. Tool calls are parts, so this is not less than
/// [`TOOL_CALLS_MAX`](crate::TOOL_CALLS_MAX).
pub(super) const RESPONSE_PARTS_MAX: usize = 4096;

/// Identifies a part while its pieces arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Text(u64, u64),
    Thinking(u64, u64),
    Refusal(u64, u64),
    Call(u64),
    Result(u64),
    Other(u64),
    /// A part without a name, by the number of parts before it.
    Whole(usize),
}

#[derive(Debug, Default)]
pub(super) struct Joiner {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) error: Option<ResponseError>,
    pub(super) unparsed: u64,
    counts: Counts,
    details: Details,
    /// Whether the counts are the final ones, where the protocol says so. Elsewhere those of a response that has ended
    /// are.
    has_final_counts: Option<bool>,
    /// Inputs that come in parts, by the slot of their call.
    inputs: BTreeMap<(u64, Slot), PartedInput>,
    /// Whether calls with the same id are the same call.
    has_unique_call_ids: bool,
    /// Numbers of what has ids only.
    numbers: BTreeMap<String, u64>,
    /// Texts, thinking and refusals are skipped: the caller wants only the rest.
    pub(super) skips_texts: bool,
    /// In order of their index. A vector, since most responses have one choice.
    choices: Vec<(u64, Choice)>,
    /// The number of parts of all choices.
    parts: usize,
    has_ended: bool,
    /// The last document said itself that another one follows.
    pub(super) is_unfinished: bool,
}

#[derive(Debug, Default)]
struct Choice {
    role: Option<String>,
    finish_reason: Option<String>,
    parts: Vec<MessagePart>,
    /// Sorted by slot. New slots mostly come in this order too.
    places: Vec<(Slot, usize)>,
    /// The part of the previous piece, to which the next one usually belongs too.
    last: Option<(Slot, usize)>,
    /// The call that a number refers to now.
    current_calls: BTreeMap<u64, Slot>,
    /// The call that the next piece without a name belongs to.
    open_call: Option<Slot>,
}

impl Joiner {
    /// The first id and the first model win.
    pub(super) fn identify(&mut self, id: Option<&str>, model: Option<&str>) {
        let known = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        if self.id.is_none() {
            self.id = known(id);
        }
        if self.model.is_none() {
            self.model = known(model);
        }
    }

    /// Another model took over.
    pub(super) fn serve(&mut self, model: &str) {
        self.model = Some(model.to_owned());
    }

    /// Usage of which each event has all counts, and the last one counts.
    pub(super) fn replace_usage(&mut self, counts: Counts, details: Details) {
        self.counts.replace(counts);
        self.details.merge(details);
    }

    /// Usage of which each event has only what is new.
    pub(super) fn update_usage(&mut self, counts: &Counts, details: Details) {
        self.counts.update(counts);
        self.details.merge(details);
    }

    /// Says whether the counts so far are the final ones.
    pub(super) fn counts_are_final(&mut self, is_final: bool) {
        self.has_final_counts = Some(is_final);
    }

    /// What the response says of its usage outside of it.
    pub(super) fn details(&mut self) -> &mut Details {
        &mut self.details
    }

    /// The first error wins; later ones are its consequences.
    pub(super) fn fail(&mut self, error: ResponseError) {
        self.error.get_or_insert(error);
    }

    /// The protocol's own mark of a complete response.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// The end of the stream that carries the response, which follows an error too: then the counts before it stay those
    /// of a response that broke off.
    pub(super) fn end_of_stream(&mut self) {
        self.has_ended |= self.error.is_none();
    }

    /// A session goes on after a complete turn.
    pub(super) fn go_on(&mut self) {
        self.has_ended = false;
        for (_, choice) in &mut self.choices {
            choice.finish_reason = None;
        }
    }

    /// Whether something with this id has a number.
    pub(super) fn has_number(&self, id: &str) -> bool {
        self.numbers.contains_key(id)
    }

    /// The number of what has this id, for protocols that give no numbers, and whether it is a new one. Beyond the limit
    /// of parts, all have the same.
    pub(super) fn number(&mut self, id: &str) -> (u64, bool) {
        let next = u64::try_from(self.numbers.len()).unwrap_or(u64::MAX);
        match self.numbers.get(id) {
            Some(number) => (*number, false),
            None if self.numbers.len() >= RESPONSE_PARTS_MAX => (u64::MAX, true),
            None => {
                self.numbers.insert(id.to_owned(), next);
                (next, true)
            }
        }
    }

    /// Adds the usage of one more answer to the counts so far.
    pub(super) fn add_usage(&mut self, usage: &Usage) {
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            *sum = match (*sum, more) {
                (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
                (sum, more) => sum.or(more),
            };
        };
        add(&mut self.counts.input, usage.input_tokens);
        add(&mut self.counts.output, usage.output_tokens);
        add(&mut self.counts.cache_read, usage.cache_read_input_tokens);
        add(&mut self.counts.cache_write, usage.cache_write_input_tokens);
        add(&mut self.counts.reasoning, usage.reasoning_output_tokens);
        self.counts.is_odd |= usage.is_unparsed;
    }

    /// Whether there are counts so far.
    pub(super) fn has_counts(&self) -> bool {
        self.counts.usage().is_some()
    }

    /// Whether nothing was read so far.
    pub(super) fn is_empty(&self) -> bool {
        self.id.is_none()
            && self.model.is_none()
            && self.error.is_none()
            && !self.has_counts()
            && self.choices.is_empty()
    }

    /// Whether nothing was read of a reply or of an error.
    pub(super) fn is_bare(&self) -> bool {
        self.choices.is_empty() && self.error.is_none()
    }

    /// Whether the response says that it is complete: as a whole, or each choice for itself.
    pub(super) fn has_ended(&self) -> bool {
        let mut choices = self.choices.iter();
        self.has_ended
            || (!self.choices.is_empty()
                && choices.all(|(_, choice)| choice.finish_reason.is_some()))
    }

    pub(super) fn role(&mut self, choice: u64, role: Option<&str>) {
        if let Some(role) = role.filter(|role| !role.is_empty())
            && let Some(choice) = self.choice(choice)
            && choice.role.is_none()
        {
            choice.role = Some(role.to_owned());
        }
    }

    pub(super) fn finish_reason(&mut self, choice: u64, reason: Option<&str>) {
        if let Some(reason) = reason.filter(|reason| !reason.is_empty())
            && let Some(choice) = self.choice(choice)
        {
            choice.finish_reason = Some(reason.to_owned());
        }
    }

    /// Adds a piece of text.
    pub(super) fn text(&mut self, choice: u64, slot: Slot, piece: &str) {
        self.write(choice, slot, MessagePart::Text, piece, false);
    }

    pub(super) fn thinking(&mut self, choice: u64, slot: Slot, piece: &str) {
        self.write(choice, slot, MessagePart::Thinking, piece, false);
    }

    pub(super) fn refusal(&mut self, choice: u64, slot: Slot, piece: &str) {
        self.write(choice, slot, MessagePart::Refusal, piece, false);
    }

    /// Replaces the pieces so far by a whole text.
    pub(super) fn set_text(&mut self, choice: u64, slot: Slot, text: &str) {
        self.write(choice, slot, MessagePart::Text, text, true);
    }

    pub(super) fn set_thinking(&mut self, choice: u64, slot: Slot, text: &str) {
        self.write(choice, slot, MessagePart::Thinking, text, true);
    }

    pub(super) fn set_refusal(&mut self, choice: u64, slot: Slot, text: &str) {
        self.write(choice, slot, MessagePart::Refusal, text, true);
    }

    fn write(
        &mut self,
        choice: u64,
        slot: Slot,
        new: fn(String) -> MessagePart,
        piece: &str,
        is_whole: bool,
    ) {
        if piece.is_empty() || self.skips_texts {
            return;
        }
        if let Some(
            MessagePart::Text(text) | MessagePart::Thinking(text) | MessagePart::Refusal(text),
        ) = self.part(choice, slot, || new(String::new()))
        {
            if is_whole {
                text.clear();
            }
            text.push_str(piece);
        }
    }

    pub(super) fn call(&mut self, choice: u64, slot: Slot) -> Option<&mut MessageToolCall> {
        let new = || MessagePart::ToolCall(MessageToolCall::default());
        match self.part(choice, slot, new) {
            Some(MessagePart::ToolCall(call)) => Some(call),
            _ => None,
        }
    }

    /// Whether there is a call with this id.
    pub(super) fn has_call(&self, choice: u64, id: &str) -> bool {
        let choice = self.known_choice(choice);
        let mut parts = choice.into_iter().flat_map(|choice| &choice.parts);
        parts.any(|part| matches!(part, MessagePart::ToolCall(call) if call.tool_call_id == id))
    }

    /// The call that this piece belongs to, by its number, id and name. The first piece of a call names it; what
    /// follows may repeat the name, omit the id, or have another one. Some servers give all their calls the number 0:
    /// then a name begins another call where the one before is whole, or has another id and name.
    pub(super) fn numbered_call(
        &mut self,
        choice: u64,
        number: u64,
        piece: &CallPiece<'_>,
    ) -> Option<&mut MessageToolCall> {
        self.has_unique_call_ids = true;
        // `null` is Mistral's id of a call without one.
        let id = piece.id.filter(|id| !matches!(*id, "" | "null" | "None"));
        let mut slot = Slot::Call(number);
        if let Some(known) = self.known_choice(choice) {
            slot = known.current_calls.get(&number).copied().unwrap_or(slot);
            let before = known.place(slot).and_then(|at| known.parts.get(at));
            if let Some(MessagePart::ToolCall(before)) = before
                && piece.begins_after(before, id)
            {
                slot = Slot::Whole(self.parts);
            }
        }
        // Kept only together with a part, so that the limit of parts bounds these too.
        self.call(choice, slot)?;
        if slot != Slot::Call(number)
            && let Some(choice) = self.choice(choice)
        {
            choice.current_calls.insert(number, slot);
        }
        let call = self.call(choice, slot)?;
        if let Some(id) = id.filter(|_| call.tool_call_id.is_empty()) {
            id.clone_into(&mut call.tool_call_id);
        }
        Some(call)
    }

    /// The call that the next piece without a name belongs to.
    pub(super) fn open_call(&self, choice: u64) -> Option<Slot> {
        self.known_choice(choice)?.open_call
    }

    pub(super) fn set_open_call(&mut self, choice: u64, slot: Option<Slot>) {
        if let Some(choice) = self.choice(choice) {
            choice.open_call = slot;
        }
    }

    /// The command of a call with this number.
    pub(super) fn command(&mut self, choice: u64, slot: Slot, number: u64) -> Option<&mut String> {
        self.call(choice, slot)?;
        let input = self.inputs.entry((choice, slot));
        input
            .or_insert_with(|| PartedInput::Commands(Vec::new()))
            .command(number)
    }

    /// The value at this path of a call's input.
    pub(super) fn input_value(
        &mut self,
        choice: u64,
        slot: Slot,
        path: &str,
    ) -> Option<&mut Value> {
        self.call(choice, slot)?;
        let input = self.inputs.entry((choice, slot));
        input
            .or_insert_with(|| PartedInput::Document(Value::default()))
            .value(path)
    }

    /// The whole input of a call is there: parts of it count no more.
    pub(super) fn drop_parts(&mut self, choice: u64, slot: Slot) {
        self.inputs.remove(&(choice, slot));
    }

    pub(super) fn result(&mut self, choice: u64, slot: Slot, result: MessageToolResult) {
        self.part(choice, slot, || MessagePart::ToolResult(result));
    }

    pub(super) fn other(&mut self, choice: u64, slot: Slot, kind: &str) {
        self.part(choice, slot, || MessagePart::Other(kind.to_owned()));
    }

    /// A whole part without a name. Later pieces may refer to the slot that it gets.
    pub(super) fn push(&mut self, choice: u64, part: MessagePart) -> Slot {
        let slot = Slot::Whole(self.parts);
        self.part(choice, slot, || part);
        slot
    }

    /// The last part of a choice, for protocols that continue a part without naming it.
    pub(super) fn last_part(&mut self, choice: u64) -> Option<&mut MessagePart> {
        let at = self
            .choices
            .binary_search_by_key(&choice, |(index, _)| *index);
        self.choices.get_mut(at.ok()?)?.1.parts.last_mut()
    }

    /// Drops the parts, because the whole parts follow.
    pub(super) fn start_over(&mut self) {
        self.choices.clear();
        self.inputs.clear();
        self.parts = 0;
    }

    pub(super) fn into_response(
        mut self,
        is_streamed: bool,
        is_broken_off: bool,
    ) -> ParsedResponse {
        for ((choice, slot), input) in std::mem::take(&mut self.inputs) {
            if let Some(call) = self.call(choice, slot) {
                call.input = input.to_json();
            }
        }
        let usage = self.counts.usage();
        let is_final = self.has_final_counts;
        let is_final = is_final.unwrap_or_else(|| !is_streamed || self.has_ended());
        let mut response = ParsedResponse {
            is_usage_partial: usage.is_some() && !is_final,
            usage_details: self.details.into_details(self.model.as_deref()),
            response_id: self.id,
            response_model: self.model,
            usage,
            error: self.error,
            is_streamed,
            is_broken_off,
            unparsed: self.unparsed,
            ..ParsedResponse::default()
        };
        for (position, (_, mut choice)) in (0..).zip(self.choices) {
            if self.has_unique_call_ids {
                calls::join_repeated(&mut choice.parts);
            }
            if let Some(reason) = choice.finish_reason
                && response.finish_reasons.len() < FINISH_REASONS_MAX
            {
                response.finish_reasons.push(reason);
            }
            if choice.role.is_some() || !choice.parts.is_empty() {
                response.messages.push(CanonicalMessage {
                    position,
                    role: choice.role.unwrap_or_else(|| "assistant".to_owned()),
                    parts: choice.parts,
                });
            }
        }
        response
    }

    fn known_choice(&self, index: u64) -> Option<&Choice> {
        let at = self
            .choices
            .binary_search_by_key(&index, |(index, _)| *index);
        self.choices.get(at.ok()?).map(|(_, choice)| choice)
    }

    fn choice(&mut self, index: u64) -> Option<&mut Choice> {
        find_choice(&mut self.choices, &mut self.unparsed, index)
    }

    fn part(
        &mut self,
        choice: u64,
        slot: Slot,
        new: impl FnOnce() -> MessagePart,
    ) -> Option<&mut MessagePart> {
        let choice = find_choice(&mut self.choices, &mut self.unparsed, choice)?;
        let at = match choice.last {
            Some((last, at)) if last == slot => at,
            _ => match choice.places.binary_search_by_key(&slot, |(slot, _)| *slot) {
                Ok(place) => choice.places.get(place)?.1,
                Err(_) if self.parts >= RESPONSE_PARTS_MAX => {
                    self.unparsed = self.unparsed.saturating_add(1);
                    return None;
                }
                Err(place) => {
                    let at = choice.parts.len();
                    choice.parts.push(new());
                    choice.places.insert(place, (slot, at));
                    self.parts += 1;
                    at
                }
            },
        };
        choice.last = Some((slot, at));
        choice.parts.get_mut(at)
    }
}

impl Choice {
    fn place(&self, slot: Slot) -> Option<usize> {
        let at = self.places.binary_search_by_key(&slot, |(slot, _)| *slot);
        self.places.get(at.ok()?).map(|(_, at)| *at)
    }
}

/// The choice with this index, unless there are too many.
fn find_choice<'a>(
    choices: &'a mut Vec<(u64, Choice)>,
    unparsed: &mut u64,
    index: u64,
) -> Option<&'a mut Choice> {
    let at = match choices.binary_search_by_key(&index, |(index, _)| *index) {
        Ok(at) => at,
        Err(_) if choices.len() >= CHOICES_MAX => {
            *unparsed = unparsed.saturating_add(1);
            return None;
        }
        Err(at) => {
            choices.insert(at, (index, Choice::default()));
            at
        }
    };
    choices.get_mut(at).map(|(_, choice)| choice)
}
