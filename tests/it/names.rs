//! Names of enums and digests as text.

use auditlite::{
    ActorKind, BundleSignature, Capture, Digest, Durability, ExportContent, ExportFormat,
    FindingKind, HealthState, Overflow, PayloadSide, RequestOrder, StatsKey, Status, VerifyStage,
    WireProtocol,
};

#[test]
fn every_name_of_an_enum_is_read_back() {
    macro_rules! check {
        ($($kind:ident)*) => {$({
            for one in $kind::ALL {
                assert_eq!(one.as_str().parse(), Ok(one));
                assert_eq!(one.to_string(), one.as_str());
            }
            let error = "nonsense".parse::<$kind>().unwrap_err().to_string();
            for one in $kind::ALL {
                assert!(error.contains(one.as_str()), "{error}");
            }
            assert!(error.contains("nonsense"), "{error}");
        })*};
    }
    check!(
        ActorKind BundleSignature Capture Durability ExportContent ExportFormat FindingKind HealthState
        PayloadSide RequestOrder StatsKey Status VerifyStage
    );
}

#[test]
fn a_digest_is_read_back_from_what_it_prints() {
    let digest = Digest(std::array::from_fn(|at| (at * 37 % 256) as u8));
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!(format!("{digest:?}").parse(), Ok(digest));
    assert_eq!(digest.as_ref(), digest.0);
    let text = digest.to_string();
    let short = text.strip_suffix(char::is_alphanumeric).unwrap();
    let other = text.replace('a', "g");
    let long = format!("{text}00");
    for bad in [short, &other, &long, "", "sha256:"] {
        assert!(bad.parse::<Digest>().is_err(), "{bad}");
    }
}

/// A name that is not listed is kept, so that every text is one.
#[test]
fn every_name_of_a_wire_protocol_is_read_back() {
    let names = [
        "",
        "openai.chat",
        "openai.responses",
        "openai.embeddings",
        "anthropic.messages",
        "gemini.generate",
        "bedrock.converse",
        "ollama.chat",
        "ollama.generate",
        "openai.completions",
        "bedrock.invoke",
        "cohere.chat",
        "mistral.conversations",
        "count_tokens",
        "mcp",
        "openai.media",
        "openai.realtime",
        "gemini.interactions",
        "gemini.live",
        "batches",
        "anthropic.sessions",
        "openai.agents",
        "openai.assistants",
        "house.own",
        "unknown",
    ];
    for (at, name) in names.into_iter().enumerate() {
        let protocol: WireProtocol = name.parse().unwrap();
        let is_listed = !matches!(protocol, WireProtocol::Other(_));
        assert_eq!(is_listed, at < 23, "{name}");
        assert_eq!(protocol == WireProtocol::Unknown, name.is_empty(), "{name}");
        assert_eq!(protocol.as_str(), name);
        assert_eq!(protocol.to_string(), name);
        assert_eq!(WireProtocol::from(name.to_owned()), protocol);
    }
}

#[test]
fn an_overflow_prints_its_name() {
    let wait = Overflow::Wait(std::time::Duration::from_secs(5));
    let named = [
        (Overflow::Shed, "shed"),
        (wait, "wait"),
        (Overflow::Strict, "strict"),
    ];
    for (overflow, name) in named {
        assert_eq!((overflow.as_str(), &*overflow.to_string()), (name, name));
    }
}
