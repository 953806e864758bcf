//! Random completions and failures.

use auditlite::{Completion, ModelUsage, ToolCall, Usage, UsageDetails, stored_identifier};
use fastrand::Rng;

use crate::expected::{Call, Request, cut, identifier, note};
use crate::words::{body, name, odd};

pub fn usage(rng: &mut Rng) -> (Usage, [Option<u64>; 5]) {
    let numbers = std::array::from_fn(|_| rng.bool().then(|| rng.u64(..1 << 30)));
    let mut usage = Usage::default();
    usage.input_tokens = numbers[0];
    usage.output_tokens = numbers[1];
    usage.cache_read_input_tokens = numbers[2];
    usage.cache_write_input_tokens = numbers[3];
    usage.reasoning_output_tokens = numbers[4];
    (usage, numbers)
}

/// What completions and failures say of the model's answer.
pub fn end_of_model(
    rng: &mut Rng,
    completion: &mut Completion,
    request: &mut Request,
    adjusted: &mut Vec<String>,
    cap: usize,
) {
    if rng.bool() {
        let (usage, numbers) = usage(rng);
        completion.usage = Some(usage);
        request.usage = numbers;
    }
    if rng.u8(..4) == 0 {
        let mut details = UsageDetails::default();
        for _ in 0..rng.usize(..4) {
            let mut other = ModelUsage::default();
            other.model = format!("request_model-{}", rng.u8(..4));
            let (tokens, numbers) = usage(rng);
            other.usage = tokens;
            request.others.push((other.model.clone(), numbers));
            details.other_models.push(other);
        }
        completion.usage_details = Some(Box::new(details));
    }
    for _ in 0..rng.usize(..3) {
        let reason = odd(rng);
        let recorded = stored_identifier(&reason).into_owned();
        note(recorded != reason, "finish_reasons", adjusted);
        completion.finish_reasons.push(reason);
        request.finish_reasons.push(recorded);
    }
    let calls: Vec<_> = (0..rng.usize(..3))
        .map(|_| (odd(rng), odd(rng), body(rng)))
        .collect();
    let share = cap / 16;
    let input_max = (64 * 1024).min(share / calls.len().max(1));
    for (id, name, input) in &calls {
        let input = String::from_utf8_lossy(input).into_owned();
        let [short_id, short_name] = [id, name].map(|text| stored_identifier(text).into_owned());
        note(
            short_id != *id || short_name != *name,
            "tool_calls",
            adjusted,
        );
        request.calls.push(Call {
            id: short_id,
            name: short_name,
            input: cut(&input, input_max).to_owned(),
            input_bytes: input.len() as u64,
        });
        completion.tool_calls.push(ToolCall::new(id, name, input));
    }
    let response_id = name(rng, "response_id");
    request.response_id = identifier(response_id.as_deref(), "response_id", adjusted);
    completion.response_id = response_id;
    if rng.bool() {
        let model = name(rng, "response_model");
        // Noted here, recorded by the caller, who knows what was said before.
        identifier(model.as_deref(), "response_model", adjusted);
        completion.response_model = model;
        let recorded = completion.response_model.as_deref();
        if let Some(recorded) = identifier(recorded, "response_model", &mut Vec::new()) {
            request.response_model = Some(recorded);
        }
    }
    if rng.bool() {
        let text = String::from_utf8_lossy(&body(rng)).into_owned();
        let kept = cut(&text, share);
        request.text = Some(kept.to_owned());
        note(kept.len() < text.len(), "assistant_text", adjusted);
        completion.assistant_text = Some(text);
    }
    // Inputs are cut after the texts.
    for call in &request.calls {
        note(
            (call.input.len() as u64) < call.input_bytes,
            "tool_calls",
            adjusted,
        );
    }
}
