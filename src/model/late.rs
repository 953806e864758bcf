//! What becomes known about a request after its opening.

use super::{Adjustments, Normaliser, RequestContext, add_names};
use crate::config::ATTRIBUTES_MAX;

/// User, conversation and attributes that became known after the opening. Together with those of the opening they
/// stay within its bounds.
#[derive(Debug, Default)]
pub(crate) struct LateContext {
    pub(crate) user_id: Option<String>,
    pub(crate) conversation_id: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    /// What the opening already has, which takes precedence.
    is_user_known: bool,
    is_conversation_known: bool,
    attributes_of_opening: usize,
}

impl LateContext {
    /// Nothing yet, after an opening with this context.
    pub(crate) fn after(context: &RequestContext) -> Self {
        Self {
            is_user_known: context.user_id.is_some(),
            is_conversation_known: context.conversation_id.is_some(),
            attributes_of_opening: context.attributes.len(),
            ..Self::default()
        }
    }

    /// Takes over the fields that the opening does not have. Returns by how many bytes they grew, and what was
    /// adjusted.
    pub(crate) fn add(&mut self, mut told: RequestContext) -> (usize, Adjustments) {
        let before = self.bytes();
        let mut normaliser = Normaliser::default();
        normaliser.context(&mut told);
        let mut adjustments = normaliser.into_adjustments();
        if !self.is_user_known {
            self.user_id = told.user_id.or(self.user_id.take());
        }
        if !self.is_conversation_known {
            self.conversation_id = told.conversation_id.or(self.conversation_id.take());
        }
        let attributes_max = ATTRIBUTES_MAX.saturating_sub(self.attributes_of_opening);
        for (key, value) in told.attributes {
            if let Some((_, known)) = self.attributes.iter_mut().find(|(known, _)| *known == key) {
                *known = value;
            } else if self.attributes.len() < attributes_max {
                self.attributes.push((key, value));
            } else {
                add_names(&mut adjustments.fields, ["attributes".to_owned()]);
            }
        }
        (self.bytes().saturating_sub(before), adjustments)
    }

    /// Bytes on the heap, roughly.
    fn bytes(&self) -> usize {
        let ids = [&self.user_id, &self.conversation_id];
        let ids: usize = ids.into_iter().flatten().map(String::len).sum();
        let attribute = |(key, value): &(String, String)| key.len() + value.len() + 48;
        ids + self.attributes.iter().map(attribute).sum::<usize>()
    }
}
