//! Names of providers: OpenTelemetry's, and other common ones.

use std::borrow::Cow;

/// The name in ASCII lower case. Borrowed if it is that already.
pub(super) fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// OpenTelemetry's name of a provider, if it has one; otherwise the given name in lower case.
///
/// Source of the names: `gen_ai.provider.name` of the GenAI conventions,
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>.
pub(super) fn canonical(name: &str) -> Cow<'_, str> {
    let folded = fold(name);
    let known = match folded.as_ref() {
        "text-completion-openai" => "openai",
        "azure" | "azure_text" | "azure_openai" | "az.ai.openai" => "azure.ai.openai",
        "azure_ai" | "az.ai.inference" => "azure.ai.inference",
        "bedrock" | "bedrock_converse" | "bedrock_mantle" | "aws_bedrock" | "amazon_bedrock" => {
            "aws.bedrock"
        }
        "gemini" | "google" | "google_ai_studio" | "gcp.gen_ai" => "gcp.gemini",
        "vertex_ai" | "vertex_ai_beta" => "gcp.vertex_ai",
        // LiteLLM splits Vertex AI by family: `vertex_ai-anthropic_models` and a dozen others.
        family if family.starts_with("vertex_ai-") => "gcp.vertex_ai",
        "mistral" | "mistralai" => "mistral_ai",
        "xai" | "x-ai" => "x_ai",
        "fireworks" => "fireworks_ai",
        "together" => "together_ai",
        "moonshotai" => "moonshot",
        "cohere_chat" => "cohere",
        "watsonx" => "ibm.watsonx.ai",
        "fireworks_ai-embedding-models" => "fireworks_ai",
        _ => return folded,
    };
    Cow::Borrowed(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_provider_become_opentelemetrys() {
        for (given, expected) in [
            ("openai", "openai"),
            ("OpenAI", "openai"),
            ("text-completion-openai", "openai"),
            ("Azure", "azure.ai.openai"),
            ("azure.ai.openai", "azure.ai.openai"),
            ("bedrock_converse", "aws.bedrock"),
            ("aws.bedrock", "aws.bedrock"),
            ("gemini", "gcp.gemini"),
            ("vertex_ai-anthropic_models", "gcp.vertex_ai"),
            ("mistral", "mistral_ai"),
            ("xai", "x_ai"),
            ("groq", "groq"),
            ("My-Gateway", "my-gateway"),
        ] {
            assert_eq!(canonical(given), expected, "{given}");
        }
    }
}
