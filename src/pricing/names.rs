//! Other names of a model: what clouds, routers and fine-tuning add to the name that a price list has.

use std::borrow::Cow;

/// A name to look for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name<'m> {
    pub(super) model: Cow<'m, str>,
    /// The provider that the name itself tells, as it is written.
    pub(super) provider: Option<&'m str>,
}

/// Limit of names that one model may have: a hostile name must not cost a search without end.
const NAMES_MAX: usize = 16;
/// How Bedrock's profiles name the regions that they spread requests over.
const GEOGRAPHIES: [&str; 9] = [
    "us", "eu", "apac", "ap", "au", "ca", "jp", "global", "us-gov",
];
/// Paths before a model's name, as APIs and routers write them.
const PATHS: [&str; 6] = [
    "models/",
    "converse/",
    "invoke/",
    "responses/",
    "foundation-model/",
    "inference-profile/",
];

/// The names of a model other than the given one, the nearest first.
///
/// - `arn:aws:bedrock:eu-west-1:…:inference-profile/eu.anthropic.claude-…`: what is listed for the region, then the
///   profile or the model that the ARN ends in, then the model without the profile's geography;
/// - `models/gemini-…`, `projects/…/publishers/google/models/gemini-…`: without the path;
/// - `bedrock/us.anthropic.…`, `openai/gpt-…`: without the provider, which is looked for under its own name too;
/// - `ft:gpt-4o-mini-2024-07-18:org::id`: `ft:gpt-4o-mini-2024-07-18`.
pub(super) fn other_names(model: &str) -> Vec<Name<'_>> {
    let mut names = Vec::new();
    if let Some(arn) = model.strip_prefix("arn:") {
        let mut parts = arn.splitn(5, ':');
        let region = parts.by_ref().nth(2).unwrap_or_default();
        let resource = parts.nth(1).unwrap_or_default();
        if let Some((_, id)) = resource.split_once('/') {
            add(&mut names, Cow::Owned(format!("{region}/{id}")), None);
            add_with_shorter(&mut names, id, None);
        }
        return names;
    }
    add_shorter(&mut names, model, None);
    names
}

fn add_with_shorter<'m>(names: &mut Vec<Name<'m>>, model: &'m str, provider: Option<&'m str>) {
    if add(names, Cow::Borrowed(model), provider) {
        add_shorter(names, model, provider);
    }
}

fn add_shorter<'m>(names: &mut Vec<Name<'m>>, model: &'m str, provider: Option<&'m str>) {
    if names.len() >= NAMES_MAX {
        return;
    }
    if let Some((_, tail)) = model.rsplit_once("/models/") {
        add_with_shorter(names, tail, provider);
    }
    for path in PATHS {
        if let Some(tail) = model.strip_prefix(path) {
            add_with_shorter(names, tail, provider);
        }
    }
    if let Some(base) = fine_tuned(model) {
        add(names, Cow::Borrowed(base), provider);
    }
    if let Some((head, tail)) = model.split_once('.')
        && GEOGRAPHIES.contains(&head)
        && tail.contains('.')
    {
        add(names, Cow::Borrowed(tail), provider);
    }
    if let Some((head, tail)) = model.split_once('/')
        && !head.is_empty()
        && !PATHS
            .iter()
            .any(|path| path.strip_suffix('/') == Some(head))
    {
        add_with_shorter(names, tail, Some(provider.unwrap_or(head)));
    }
}

/// The tuned model of a fine-tuned one, as the list has it: `ft:` and the base, without the owner and the number.
fn fine_tuned(model: &str) -> Option<&str> {
    let base = model.strip_prefix("ft:")?;
    let length = base.find(':')?;
    model.get(..length.checked_add("ft:".len())?)
}

/// Whether the name is new.
fn add<'m>(names: &mut Vec<Name<'m>>, model: Cow<'m, str>, provider: Option<&'m str>) -> bool {
    let name = Name { model, provider };
    let is_new = !name.model.is_empty() && names.len() < NAMES_MAX && !names.contains(&name);
    if is_new {
        names.push(name);
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(model: &str) -> Vec<String> {
        let names = other_names(model).into_iter();
        let text = |name: Name<'_>| match name.provider {
            Some(provider) => format!("{} of {provider}", name.model),
            None => name.model.into_owned(),
        };
        names.map(text).collect()
    }

    #[test]
    fn names_lose_what_clouds_and_routers_add() {
        for (model, expected) in [
            ("gpt-4o", vec![]),
            ("models/gemini-2.5-pro", vec!["gemini-2.5-pro"]),
            (
                "ft:gpt-4o-mini-2024-07-18:acme::A1b2",
                vec!["ft:gpt-4o-mini-2024-07-18"],
            ),
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                vec!["anthropic.claude-sonnet-4-5-20250929-v1:0"],
            ),
            ("gemini-2.5-pro", vec![]),
            ("openai/gpt-4o", vec!["gpt-4o of openai"]),
            (
                "bedrock/converse/us.amazon.nova-pro-v1:0",
                vec![
                    "converse/us.amazon.nova-pro-v1:0 of bedrock",
                    "us.amazon.nova-pro-v1:0 of bedrock",
                    "amazon.nova-pro-v1:0 of bedrock",
                ],
            ),
            (
                "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-pro-v1:0",
                vec![
                    "us-east-1/us.amazon.nova-pro-v1:0",
                    "us.amazon.nova-pro-v1:0",
                    "amazon.nova-pro-v1:0",
                ],
            ),
            (
                "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-v2:1",
                vec!["eu-west-1/anthropic.claude-v2:1", "anthropic.claude-v2:1"],
            ),
            ("arn:aws:bedrock", vec![]),
        ] {
            assert_eq!(names(model), expected, "{model}");
        }
        let path = "projects/p/locations/us/publishers/google/models/gemini-2.5-pro";
        assert_eq!(
            names(path).first().map(String::as_str),
            Some("gemini-2.5-pro")
        );
        assert!(names(&"a/".repeat(100_000)).len() <= NAMES_MAX);
        assert!(names(&"models/".repeat(100_000)).len() <= NAMES_MAX);
    }
}
