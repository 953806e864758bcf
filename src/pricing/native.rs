//! Our own small format, in JSON or TOML.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::book::Layer;
use super::decimal::{DOLLARS_PER_MILLION_TOKENS, factor, rate, unit};
use super::fees::Fees;
use super::price::{Factors, Price, ServiceTier};
use super::provider::canonical;
use super::rates::{Kind, Rates, Tariff, Tier};
use crate::error::PriceBookError;

/// The one field of the document.
pub(super) const PRICES: &str = "prices";

/// Reads the whole document.
pub(super) fn read(document: &Value) -> Result<Layer, PriceBookError> {
    let fields = document.as_object();
    if let Some(field) = fields.and_then(|fields| fields.keys().find(|field| *field != PRICES)) {
        let problem = format!("it has an unknown field {field:?} beside \"{PRICES}\"");
        return Err(PriceBookError::Shape(problem));
    }
    let Some(list) = document.get(PRICES).and_then(Value::as_array) else {
        let problem = format!("it has no list \"{PRICES}\"");
        return Err(PriceBookError::Shape(problem));
    };
    let mut layer = Layer::default();
    for (index, value) in list.iter().enumerate() {
        read_entry(&mut layer, value).map_err(|problem| {
            let model = value.get("model").and_then(Value::as_str);
            let entry = model.map_or_else(|| format!("{PRICES}[{index}]"), str::to_owned);
            PriceBookError::Entry { entry, problem }
        })?;
    }
    Ok(layer)
}

/// Reads one entry, checks it, and adds it to the layer. First all fields, since tiers inherit the rates of
/// the entry; then what is missing; then the tiers. An error completes the sentence that begins with the
/// number of the entry.
fn read_entry(layer: &mut Layer, value: &Value) -> Result<(), String> {
    let fields = format!(
        "provider, model, {}, tiers, services, fees and factors",
        rate_names()
    );
    let mut provider = None;
    let mut model = None;
    let mut rates = Rates::default();
    let mut tier_list = None;
    let mut services = Vec::new();
    let mut fees = Fees::default();
    let mut factors = Factors::default();
    for (field, value) in fields_of(value)? {
        match field.as_str() {
            "provider" => provider = Some(name(field, value)?),
            "model" => model = Some(name(field, value)?),
            "tiers" => tier_list = Some(list(field, value)?),
            "services" => services = list(field, value)?.iter().collect(),
            "fees" => fees = read_fees(value).map_err(|problem| format!("in fees, {problem}"))?,
            "factors" => {
                factors =
                    read_factors(value).map_err(|problem| format!("in factors, {problem}"))?;
            }
            _ => read_rate(&mut rates, field, value, &fields)?,
        }
    }
    let model = model.ok_or("it has no model")?;
    if fees == Fees::default() {
        if rates.get(Kind::Input).is_none() {
            return Err("it has no input rate".to_owned());
        }
        if rates.get(Kind::Output).is_none() {
            return Err("it has no output rate; give 0 if the model has no output".to_owned());
        }
    }
    let standard = Tariff::new(rates, read_tiers(tier_list.into_iter().flatten(), rates)?);
    let services = services
        .into_iter()
        .map(|value| read_service(value).map_err(|problem| format!("in a service, {problem}")));
    let price = Arc::new(Price {
        standard,
        services: services.collect::<Result<_, _>>()?,
        off_peak: None,
        factors,
        fees,
        provider: provider.map(|provider| Arc::from(canonical(provider).as_ref())),
    });
    let is_new = if model.contains(['*', '?']) {
        layer.insert_pattern(provider, model, &price)
    } else {
        layer.insert_name(provider, model, &price)
    };
    if !is_new {
        return Err(match provider {
            Some(provider) => format!("it is listed twice for provider {provider:?}"),
            None => "it is listed twice without a provider".to_owned(),
        });
    }
    layer.count_entry();
    Ok(())
}

fn read_tiers<'v>(
    values: impl Iterator<Item = &'v Value>,
    base: Rates,
) -> Result<Vec<Tier>, String> {
    let mut tiers: Vec<Tier> = Vec::new();
    for value in values {
        let tier = read_tier(value, base).map_err(|problem| format!("in a tier, {problem}"))?;
        let above = tier.above_input_tokens;
        if tiers.iter().any(|other| other.above_input_tokens == above) {
            return Err(format!("it has two tiers above {above} input tokens"));
        }
        tiers.push(tier);
    }
    Ok(tiers)
}

fn read_tier(value: &Value, base: Rates) -> Result<Tier, String> {
    let known = format!("above_input_tokens, {}", rate_names());
    let mut above = None;
    let mut rates = Rates::default();
    for (field, value) in fields_of(value)? {
        if field == "above_input_tokens" {
            let tokens = value.as_u64().filter(|tokens| *tokens > 0);
            above = Some(tokens.ok_or("above_input_tokens is not a positive integer")?);
        } else {
            read_rate(&mut rates, field, value, &known)?;
        }
    }
    let above_input_tokens = above.ok_or("above_input_tokens is missing")?;
    if rates == Rates::default() {
        return Err("there is no rate".to_owned());
    }
    Ok(Tier {
        above_input_tokens,
        rates: base.overlaid(&rates),
    })
}

/// The rates of a tier of service that differ from the standard ones.
fn read_service(value: &Value) -> Result<(ServiceTier, Tariff), String> {
    let known = format!("name, {} and tiers", rate_names());
    let mut service = None;
    let mut rates = Rates::default();
    let mut tier_list = None;
    for (field, value) in fields_of(value)? {
        match field.as_str() {
            "name" => {
                let word = name(field, value)?;
                let tier = ServiceTier::of(word).ok().flatten();
                service = Some(tier.ok_or_else(|| {
                    format!("{word:?} is not flex, priority, batch, balanced or ultrafast")
                })?);
            }
            "tiers" => tier_list = Some(list(field, value)?),
            _ => read_rate(&mut rates, field, value, &known)?,
        }
    }
    let service = service.ok_or("name is missing")?;
    let tiers = read_tiers(tier_list.into_iter().flatten(), rates)?;
    Ok((service, Tariff::new(rates, tiers)))
}

/// Prices of what is not a token, in dollars each.
fn read_fees(value: &Value) -> Result<Fees, String> {
    let mut fees = Fees::default();
    for (field, value) in fields_of(value)? {
        let slot = match field.as_str() {
            "web_search" => &mut fees.web_search,
            "google_maps" => &mut fees.maps_search,
            "file_search" => &mut fees.file_search,
            "code_interpreter" => &mut fees.code_session,
            "request" => &mut fees.request,
            "query" => &mut fees.query,
            "image" => &mut fees.output_image,
            "input_image" => &mut fees.input_image,
            "audio_second" => &mut fees.audio_second,
            "video_second" => &mut fees.output_video_second,
            "input_video_second" => &mut fees.input_video_second,
            "character" => &mut fees.character,
            "page" => &mut fees.page,
            _ => {
                return Err(format!(
                    "unknown field {field:?}; the fields are web_search, google_maps, file_search, \
                     code_interpreter, request, query, image, input_image, audio_second, \
                     video_second, input_video_second, character and page"
                ));
            }
        };
        *slot = Some(unit(value).map_err(|problem| format!("{field} {problem}"))?);
    }
    Ok(fees)
}

/// What all rates are multiplied by: `fast` for the speed of that name, everything else is a region.
fn read_factors(value: &Value) -> Result<Factors, String> {
    let mut factors = Factors::default();
    for (field, value) in fields_of(value)? {
        let factor = factor(value).map_err(|problem| format!("{field} {problem}"))?;
        match field.as_str() {
            "fast" => factors.fast = Some(factor),
            "other_region" => factors.other_region = Some(factor),
            region => factors.regions.push((region.to_ascii_lowercase(), factor)),
        }
    }
    Ok(factors)
}

fn fields_of(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| "it is not a table of fields".to_owned())
}

fn list<'a>(field: &str, value: &'a Value) -> Result<&'a Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("{field} is not a list"))
}

fn name<'a>(field: &str, value: &'a Value) -> Result<&'a str, String> {
    value
        .as_str()
        .filter(|name| !name.trim().is_empty())
        .ok_or_else(|| format!("{field} is not a string with something in it"))
}

fn rate_names() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

/// Sets the rate with this name. `known`: the list of valid fields, for the error.
fn read_rate(rates: &mut Rates, field: &str, value: &Value, known: &str) -> Result<(), String> {
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == field) else {
        return Err(format!("unknown field {field:?}; the fields are {known}"));
    };
    let rate = rate(value, DOLLARS_PER_MILLION_TOKENS);
    rates.set(
        kind,
        Some(rate.map_err(|problem| format!("{field} {problem}"))?),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::error::PriceBookError;
    use crate::model::Usage;
    use crate::pricing::PriceBook;

    const JSON: &str = r#"{"prices": [
        {"provider": "anthropic", "model": "claude-sonnet-4-5*", "input": 3, "output": 15.0,
         "cache_read": 0.3, "cache_write": "3.75",
         "tiers": [{"above_input_tokens": 200000, "input": 6, "output": 22.5,
                    "cache_read": 0.6, "cache_write": 7.5}]},
        {"model": "house-model", "input": 0.15, "output": 0.6, "reasoning": 1.2}
    ]}"#;

    const TOML: &str = r#"
        [[prices]]
        provider = "anthropic"
        model = "claude-sonnet-4-5*"
        input = 3
        output = 15.0
        cache_read = 0.3
        cache_write = "3.75"

        [[prices.tiers]]
        above_input_tokens = 200_000
        input = 6
        output = 22.5
        cache_read = 0.6
        cache_write = 7.5

        [[prices]]
        model = "house-model"
        input = 0.15
        output = 0.6
        reasoning = 1.2
    "#;

    #[test]
    fn both_syntaxes_say_the_same() {
        for book in [
            PriceBook::from_json(JSON).unwrap(),
            PriceBook::from_toml(TOML).unwrap(),
        ] {
            assert_eq!(book.len(), 2);
            let claude = &["claude-sonnet-4-5-20250929"];
            let cost = |usage| book.cost_microdollars(Some("anthropic"), claude, &usage);
            let parts = |usage: Usage| {
                usage
                    .cache_read_input_tokens(100_000)
                    .cache_write_input_tokens(50_000)
            };
            // 50,000 × 3 + 100,000 × 0.3 + 50,000 × 3.75 + 1,000 × 15
            assert_eq!(cost(parts(Usage::new(200_000, 1_000))), Some(382_500));
            // 50,001 × 6 + 100,000 × 0.6 + 50,000 × 7.5 + 1,000 × 22.5
            assert_eq!(cost(parts(Usage::new(200_001, 1_000))), Some(757_506));
            let usage = Usage::new(1_000, 100).reasoning_output_tokens(50);
            assert_eq!(
                book.cost_microdollars(Some("any provider"), &["house-model"], &usage),
                Some(150 + 30 + 60)
            );
            assert!(!book.knows(Some("groq"), claude));
        }
    }

    #[test]
    fn a_tier_takes_from_the_base_what_it_leaves_out() {
        let book = PriceBook::from_json(
            r#"{"prices": [{"model": "m", "input": 1, "output": 2, "cache_read": 0.5,
                "tiers": [{"above_input_tokens": 10, "input": 3}]}]}"#,
        )
        .unwrap();
        let usage = Usage::new(20, 10).cache_read_input_tokens(10);
        assert_eq!(
            book.cost_microdollars(None, &["m"], &usage),
            Some(30 + 5 + 20)
        );
    }

    /// The entry and the problem of a list with this one entry.
    fn refused(fields: &str) -> (String, String) {
        match PriceBook::from_json(&format!(r#"{{"prices": [{fields}]}}"#)) {
            Err(PriceBookError::Entry { entry, problem }) => (entry, problem),
            other => panic!("{fields}: {other:?}"),
        }
    }

    #[test]
    fn mistakes_name_the_entry_and_the_field() {
        for (fields, expected_entry, expected_problem) in [
            (
                r#"{"model": "m", "input": 1, "output": 1, "cache-read": 1}"#,
                "m",
                "unknown field \"cache-read\"",
            ),
            (
                r#"{"modle": "m", "input": 1, "output": 1}"#,
                "prices[0]",
                "unknown field \"modle\"",
            ),
            (
                r#"{"input": 1, "output": 1}"#,
                "prices[0]",
                "it has no model",
            ),
            (
                r#"{"model": "m", "output": 1}"#,
                "m",
                "it has no input rate",
            ),
            (
                r#"{"model": "m", "input": 1}"#,
                "m",
                "it has no output rate",
            ),
            (
                r#"{"model": " ", "input": 1, "output": 1}"#,
                " ",
                "model is not a string with",
            ),
            (
                r#"{"model": "m", "provider": 1, "input": 1, "output": 1}"#,
                "m",
                "provider is not a string",
            ),
            (
                r#"{"model": "m", "input": -1, "output": 1}"#,
                "m",
                "input is negative",
            ),
            (
                r#"{"model": "m", "input": 1, "output": 1000000.1}"#,
                "m",
                "output is more than one dollar",
            ),
            (
                r#"{"model": "m", "input": 1, "output": 1, "reasoning": null}"#,
                "m",
                "reasoning is not a number",
            ),
            (
                r#"{"model": "m", "input": 1, "output": 1, "tiers": 3}"#,
                "m",
                "tiers is not a list",
            ),
            (
                r#"{"model": "m", "input": 1, "output": 1, "tiers": [{"above": 3, "input": 1}]}"#,
                "m",
                "in a tier, unknown field \"above\"",
            ),
            (
                r#"{"model": "m", "input": 1, "output": 1, "tiers": [{"input": 1}]}"#,
                "m",
                "in a tier, above_input_tokens is missing",
            ),
            (
                r#"{"model": "m", "input": 1, "output": 1, "tiers": [{"above_input_tokens": 3}]}"#,
                "m",
                "in a tier, there is no rate",
            ),
            (r#"3"#, "prices[0]", "it is not a table of fields"),
        ] {
            let (entry, problem) = refused(fields);
            assert_eq!(entry, expected_entry, "{fields}");
            assert!(problem.starts_with(expected_problem), "{fields}: {problem}");
        }
    }

    #[test]
    fn the_same_model_twice_is_a_mistake() {
        let twice = |provider: &str| {
            let entry = format!(r#"{{"model": "m*", {provider} "input": 1, "output": 1}}"#);
            refused(&format!("{entry}, {entry}")).1
        };
        assert_eq!(twice(""), "it is listed twice without a provider");
        assert_eq!(
            twice(r#""provider": "openai","#),
            "it is listed twice for provider \"openai\""
        );
        let (_, problem) = refused(
            r#"{"provider": "azure", "model": "m", "input": 1, "output": 1},
               {"provider": "azure.ai.openai", "model": "m", "input": 1, "output": 1}"#,
        );
        assert!(problem.starts_with("it is listed twice"), "{problem}");
    }

    #[test]
    fn toml_numbers_that_are_none_are_refused() {
        for number in ["nan", "inf", "-inf", "-0.5"] {
            let text = format!("[[prices]]\nmodel = \"m\"\ninput = {number}\noutput = 1");
            let error = PriceBook::from_toml(&text).unwrap_err();
            assert!(
                matches!(error, PriceBookError::Entry { .. }),
                "{number}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_list_of_prices_is_refused() {
        for text in [
            "{}",
            "[]",
            "3",
            r#"{"prices": {}}"#,
            r#"{"prices": [], "currency": "EUR"}"#,
        ] {
            let error = PriceBook::from_json(text).unwrap_err();
            assert!(matches!(error, PriceBookError::Shape(_)), "{text}: {error}");
        }
        assert!(matches!(
            PriceBook::from_toml("[[price]]\nmodel = \"m\"").unwrap_err(),
            PriceBookError::Shape(_)
        ));
        assert!(matches!(
            PriceBook::from_toml("prices = [").unwrap_err(),
            PriceBookError::Syntax { format: "TOML", .. }
        ));
        assert!(
            PriceBook::from_json(r#"{"prices": []}"#)
                .unwrap()
                .is_empty()
        );
    }
}
