//! What each thing that a response says does to its cost.

use crate::model::{BilledUnit, ModelUsage, ServerToolUsage, Timestamp, Usage, UsageDetails};
use crate::pricing::{CostQuery, PriceBook};

const LIST: &str = r#"{
    "m": {"litellm_provider": "p", "mode": "chat",
        "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1e-07,
        "cache_creation_input_token_cost": 2e-06, "cache_creation_input_token_cost_above_1hr": 4e-06,
        "input_cost_per_token_above_100k_tokens": 2e-06, "output_cost_per_token_above_100k_tokens": 2e-05,
        "input_cost_per_token_priority": 3e-06, "output_cost_per_token_priority": 3e-05,
        "input_cost_per_token_above_100k_tokens_priority": 6e-06,
        "input_cost_per_token_batches": 5e-07, "output_cost_per_token_batches": 5e-06,
        "input_cost_per_audio_token": 7e-06, "output_cost_per_audio_token": 7e-05,
        "provider_specific_entry": {"fast": 2.0, "us": 1.1, "first_frame": 9},
        "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_medium": 0.01}},
    "plain": {"litellm_provider": "p", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-05},
    "cheap": {"litellm_provider": "p", "input_cost_per_token": 1e-07, "output_cost_per_token": 1e-06},
    "night": {"litellm_provider": "p", "input_cost_per_token": 4e-06, "output_cost_per_token": 4e-06,
        "off_peak_pricing": {"hours_utc": "20:00-06:00", "input_cost_per_token": 1e-06}},
    "image": {"litellm_provider": "p", "mode": "image_generation", "output_cost_per_image": 0.04},
    "ocr": {"litellm_provider": "p", "mode": "ocr", "ocr_cost_per_page": 0.001, "ocr_cost_per_page_batches": 0.0005},
    "ears": {"litellm_provider": "p", "mode": "audio_transcription", "input_cost_per_second": 0.0001},
    "fireworks_ai/half": {"litellm_provider": "fireworks_ai", "input_cost_per_token": 1e-06,
        "output_cost_per_token": 1e-06},
    "latest": {"alias_of": "newest"},
    "newest": {"alias_of": "m"},
    "other/m": {"litellm_provider": "other", "input_cost_per_token": 9e-06, "output_cost_per_token": 9e-06},
    "other/gone": {"alias_of": "nowhere"}
}"#;

fn book() -> PriceBook {
    PriceBook::from_litellm_json(LIST).unwrap()
}

/// Microdollars, and what has no price.
fn cost_at(
    model: &str,
    usage: Usage,
    details: &UsageDetails,
    at: Option<&str>,
) -> Option<(u64, Vec<String>)> {
    let candidates = [model];
    let mut query = CostQuery::new(Some("p"), &candidates, &usage).details(details);
    if let Some(at) = at {
        query = query.at(at.parse::<Timestamp>().unwrap());
    }
    let cost = book().cost(&query)?;
    Some((cost.microdollars, cost.unpriced))
}

fn details(set: impl FnOnce(&mut UsageDetails)) -> UsageDetails {
    let mut details = UsageDetails::default();
    set(&mut details);
    details
}

/// The cost of a complete one.
fn cost(model: &str, usage: Usage, set: impl FnOnce(&mut UsageDetails)) -> u64 {
    let (cost, unpriced) = cost_at(model, usage, &details(set), None).unwrap();
    assert_eq!(unpriced, Vec::<String>::new());
    cost
}

/// The cost of one that lacks something, and what.
fn lacking(model: &str, usage: Usage, set: impl FnOnce(&mut UsageDetails)) -> (u64, String) {
    let (cost, unpriced) = cost_at(model, usage, &details(set), None).unwrap();
    (cost, unpriced.join(", "))
}

fn tier(word: &str) -> impl FnOnce(&mut UsageDetails) {
    let word = word.to_owned();
    move |details| details.service_tier = Some(word)
}

#[test]
fn cache_writes_cost_by_their_lifetime() {
    let usage = || Usage::new(1_000, 0).cache_write_input_tokens(900);
    assert_eq!(cost("m", usage(), |_| {}), 100 + 1_800);
    let for_1h = |details: &mut UsageDetails| details.cache_write.for_1h_tokens = Some(600);
    assert_eq!(cost("m", usage(), for_1h), 100 + 300 * 2 + 600 * 4);
    let for_12h = |details: &mut UsageDetails| details.cache_write.for_12h_tokens = Some(600);
    let expected = (100 + 1_800, "cache_write_12h".to_owned());
    assert_eq!(lacking("m", usage(), for_12h), expected);
}

#[test]
fn a_tier_of_service_has_rates_of_its_own_by_length_too() {
    let usage = Usage::new(100, 10);
    for word in ["", "default", "standard", "auto", "ON_DEMAND"] {
        assert_eq!(cost("m", usage, tier(word)), 200, "{word}");
    }
    for word in ["priority", "Priority", "fast", "ON_DEMAND_PRIORITY"] {
        assert_eq!(cost("m", usage, tier(word)), 600, "{word}");
    }
    assert_eq!(cost("m", usage, tier("batch")), 100);
    // Above the threshold the tier has a rate of input only: its output costs what the standard one does.
    let long = Usage::new(200_000, 10);
    let expected = (1_200_000 + 200, "output".to_owned());
    assert_eq!(lacking("m", long, tier("priority")), expected);
    // A batch has its rates at any length, but the list does not say so.
    let expected = (100_000 + 50, "input, output".to_owned());
    assert_eq!(lacking("m", long, tier("batch")), expected);
    for word in ["flex", "scale", "provisioned_throughput"] {
        assert_eq!(
            lacking("m", usage, tier(word)),
            (200, format!("tier {word}"))
        );
    }
    assert_eq!(lacking("plain", usage, tier("batch")).1, "tier batch");
}

#[test]
fn media_cost_their_rates_and_cached_ones_are_not_billed_twice() {
    let audio = |details: &mut UsageDetails| details.input.audio_tokens = Some(600);
    assert_eq!(cost("m", Usage::new(1_000, 0), audio), 400 + 600 * 7);
    assert_eq!(cost("plain", Usage::new(1_000, 0), audio), 1_000);
    let cached = Usage::new(1_000, 0).cache_read_input_tokens(500);
    let audio_cached = |details: &mut UsageDetails| {
        details.input.audio_tokens = Some(600);
        details.cache_read.audio_tokens = Some(500);
    };
    assert_eq!(cost("m", cached, audio_cached), 50 + 400 + 100 * 7);
    // Where nothing says which tokens were cached, what the cache leaves is audio at most.
    assert_eq!(cost("m", cached, audio), 50 + 500 * 7);
    let made = |details: &mut UsageDetails| details.output.audio_tokens = Some(60);
    assert_eq!(cost("m", Usage::new(0, 100), made), 400 + 60 * 70);
    let expected = (1_000, "output_audio".to_owned());
    assert_eq!(lacking("plain", Usage::new(0, 100), made), expected);
}

#[test]
fn speeds_and_regions_are_factors_of_tokens_only() {
    let usage = Usage::new(1_000, 0);
    let fast = |details: &mut UsageDetails| details.speed = Some("fast".to_owned());
    assert_eq!(cost("m", usage, fast), 2_000);
    assert_eq!(
        lacking("plain", usage, fast),
        (1_000, "speed fast".to_owned())
    );
    let both = |details: &mut UsageDetails| {
        details.speed = Some("fast".to_owned());
        details.region = Some("us".to_owned());
        details.server_tools = vec![searches(2)];
    };
    assert_eq!(cost("m", usage, both), 2_200 + 20_000);
    let region = |name: &'static str| {
        move |details: &mut UsageDetails| details.region = Some(name.to_owned())
    };
    assert_eq!(cost("m", usage, region("global")), 1_000);
    assert_eq!(lacking("m", usage, region("eu")).1, "region eu");
}

fn searches(count: u64) -> ServerToolUsage {
    ServerToolUsage {
        tool_name: "web_search".to_owned(),
        request_count: Some(count),
        ..ServerToolUsage::default()
    }
}

#[test]
fn tools_of_the_provider_have_fees_and_a_fee_that_is_not_listed_is_said() {
    let usage = Usage::new(1_000, 0);
    let search = |details: &mut UsageDetails| details.server_tools = vec![searches(3)];
    assert_eq!(cost("m", usage, search), 31_000);
    assert_eq!(
        lacking("plain", usage, search),
        (1_000, "web_search".to_owned())
    );
    let code = |details: &mut UsageDetails| {
        let mut tool = searches(1);
        tool.tool_name = "code_execution".to_owned();
        details.server_tools = vec![tool];
    };
    assert_eq!(lacking("m", usage, code).1, "code_execution");
}

#[test]
fn other_models_cost_their_own_price() {
    let usage = Usage::new(1_100, 0);
    let other = |model: &str| {
        let model = model.to_owned();
        move |details: &mut UsageDetails| {
            details.other_models = vec![ModelUsage {
                model,
                usage: Usage::new(1_000, 0),
                ..ModelUsage::default()
            }];
        }
    };
    assert_eq!(cost("m", usage, other("cheap")), 100 + 100);
    let expected = (1_100, "model unheard-of".to_owned());
    assert_eq!(lacking("m", usage, other("unheard-of")), expected);
    let tool = |details: &mut UsageDetails| {
        let mut tool = searches(1);
        tool.model = Some("cheap".to_owned());
        tool.usage = Some(Usage::new(500, 0));
        details.server_tools = vec![tool];
    };
    assert_eq!(cost("m", usage, tool), 1_100 + 50);
}

#[test]
fn off_peak_rates_hold_in_their_hours() {
    let none = UsageDetails::default();
    let usage = Usage::new(100, 100);
    let at = |time| cost_at("night", usage, &none, time).unwrap();
    assert_eq!(at(Some("2026-11-22T12:00:00Z")), (800, vec![]));
    assert_eq!(at(Some("2026-11-22T21:00:00Z")), (500, vec![]));
    assert_eq!(at(None), (800, vec!["hour".to_owned()]));
}

fn bill_units(details: &mut UsageDetails, unit: &str, count: u64) {
    let unit = unit.to_owned();
    details.billed_units.push(BilledUnit { unit, count });
}

#[test]
fn units_have_prices_where_no_tokens_pay_for_them() {
    let none = Usage::default();
    assert_eq!(
        cost("image", none, |details| bill_units(details, "images", 3)),
        120_000
    );
    assert_eq!(
        cost("ocr", none, |details| bill_units(details, "pages", 5)),
        5_000
    );
    let batch = |details: &mut UsageDetails| {
        bill_units(details, "pages", 5);
        details.service_tier = Some("batch".to_owned());
    };
    let (cost_in_batch, _) = lacking("ocr", none, batch);
    assert_eq!(cost_in_batch, 2_500);
    assert_eq!(
        cost("ears", none, |details| bill_units(
            details, "audio_ms", 2_500
        )),
        250
    );
    let unpriced = details(|details| bill_units(details, "characters", 5));
    assert_eq!(cost_at("ears", none, &unpriced, None), None);
    let nothing = UsageDetails::default();
    assert_eq!(cost_at("ears", none, &nothing, None), None);
}

#[test]
fn fireworks_bills_cached_input_at_half() {
    let usage = Usage::new(1_000, 0).cache_read_input_tokens(600);
    let cost = book().cost_microdollars(Some("fireworks_ai"), &["half"], &usage);
    assert_eq!(cost, Some(400 + 300));
}

#[test]
fn aliases_lead_to_a_price_and_a_price_of_another_provider_is_said() {
    assert_eq!(cost("latest", Usage::new(100, 0), |_| {}), 100);
    assert!(!book().knows(None, &["other/gone"]));
    let query = |provider, candidates: &[&str]| {
        let usage = Usage::new(100, 0);
        let cost = book()
            .cost(&CostQuery::new(provider, candidates, &usage))
            .unwrap();
        (cost.microdollars, cost.unpriced.join(", "))
    };
    // The served name is known of another provider only, the routed one of this.
    assert_eq!(query(Some("other"), &["plain", "m"]), (900, String::new()));
    assert_eq!(
        query(Some("other"), &["plain"]),
        (100, "provider".to_owned())
    );
    assert_eq!(query(Some("a gateway"), &["plain"]), (100, String::new()));
    assert_eq!(query(None, &["other/m"]), (900, String::new()));
    assert_eq!(query(None, &["bedrock/p/m"]), (100, String::new()));
}

#[test]
fn an_own_book_can_price_the_same() {
    let own = PriceBook::from_toml(
        r#"
        [[prices]]
        model = "m"
        input = 1
        output = 10
        cache_write_1h = 2
        output_audio = 70
        factors = { fast = 2, us = "1.1" }
        fees = { web_search = 0.01, image = 0.04 }

        [[prices.services]]
        name = "priority"
        input = 3
        output = 30
        "#,
    )
    .unwrap();
    let usage = Usage::new(100, 10);
    let priced = details(|details| {
        details.service_tier = Some("priority".to_owned());
        details.speed = Some("fast".to_owned());
        details.server_tools = vec![searches(1)];
    });
    let cost = own.cost(&CostQuery::new(None, &["m"], &usage).details(&priced));
    assert_eq!(cost.unwrap().microdollars, 2 * 600 + 10_000);
    for (text, expected) in [
        ("fees = { seach = 1 }", "in fees, unknown field \"seach\""),
        ("fees = { image = -1 }", "in fees, image is negative"),
        (
            "factors = { us = 101 }",
            "in factors, us is more than a hundred",
        ),
        (
            "services = [{ name = \"slow\" }]",
            "in a service, \"slow\" is not flex",
        ),
        (
            "services = [{ input = 1 }]",
            "in a service, name is missing",
        ),
    ] {
        let text = format!("[[prices]]\nmodel = \"m\"\ninput = 1\noutput = 1\n{text}");
        let error = PriceBook::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_cost_is_rounded_once_and_huge_usage_saturates() {
    let own = |rate: &str| {
        let text =
            format!(r#"{{"prices": [{{"model": "m", "input": {rate}, "output": {rate}}}]}}"#);
        PriceBook::from_json(&text).unwrap()
    };
    let cost = |rate: &str, usage: Usage| own(rate).cost_microdollars(None, &["m"], &usage);
    assert_eq!(cost("0.5", Usage::new(1, 0)), Some(1));
    assert_eq!(cost("0.499999", Usage::new(1, 0)), Some(0));
    // Two kinds of 0.3 microdollars each: rounding each one would give 0.
    assert_eq!(cost("0.3", Usage::new(1, 1)), Some(1));
    let all = Usage::new(u64::MAX, u64::MAX)
        .cache_read_input_tokens(u64::MAX)
        .cache_write_input_tokens(u64::MAX)
        .reasoning_output_tokens(u64::MAX);
    assert_eq!(cost("1000000", all), Some(u64::MAX));
    assert_eq!(cost("1", Usage::default()), None);
    assert_eq!(cost("1", Usage::default().cache_read_input_tokens(5)), None);
    assert_eq!(cost("1", Usage::new(0, 0)), Some(0));
    assert_eq!(cost("1", Usage::default().output_tokens(7)), Some(7));
}

#[test]
fn parts_larger_than_their_total_never_give_a_negative() {
    let usage = Usage::new(10, 10)
        .cache_read_input_tokens(20)
        .cache_write_input_tokens(30)
        .reasoning_output_tokens(40);
    assert_eq!(cost("plain", usage, |_| {}), 20 + 30 + 400);
}
