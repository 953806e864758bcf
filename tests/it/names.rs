//! Names of enums and digests as text, and what is read back as JSON.

use auditlite::{
    ActorKind, BundleSignature, Capture, Digest, Durability, ExportContent, ExportFormat,
    FindingKind, HealthState, PayloadSide, RequestOrder, StatsKey, Status, VerifyStage,
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

/// The command line prints these reports from the same JSON, so that its schemas hold here too.
#[cfg(feature = "serde")]
#[test]
fn reports_serialize_with_the_names_of_the_json_contract() {
    use std::collections::BTreeSet;

    use auditlite::{RequestFilter, StatsFilter, VerifyOptions};
    use serde::Serialize;

    use crate::support::{Folder, PATIENCE, close, record};

    fn names(value: impl Serialize) -> BTreeSet<String> {
        let value = serde_json::to_value(value).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }
    let folder = Folder::new();
    let store = folder.open();
    record(&store, "r-1", "a question", "an answer");
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let reports = [
        ("doctor", names(store.doctor().unwrap())),
        (
            "verify",
            names(store.verify(&VerifyOptions::new()).unwrap()),
        ),
        (
            "stats",
            names(&reader.stats(&StatsFilter::new()).unwrap()[0]),
        ),
        ("list", names(reader.get("r-1").unwrap())),
    ];
    for (name, mut found) in reports {
        let path = format!("{}/docs/schemas/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let schema: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let wanted = names(&schema["properties"]);
        if wanted.contains("path") {
            found.insert("path".to_owned());
        }
        assert_eq!(found, wanted, "{name}");
    }
    // What has no contract of its own serializes too.
    let page = reader
        .list(&RequestFilter::new(), &Default::default())
        .unwrap();
    let page = serde_json::to_value(page).unwrap();
    assert_eq!(page["requests"][0]["status"], "completed");
    let health = serde_json::to_value(store.health()).unwrap();
    assert_eq!(health["state"], "healthy");
    let request = reader.get("r-1").unwrap();
    let info = reader
        .body_info(&request, PayloadSide::Request)
        .unwrap()
        .unwrap();
    let json = serde_json::to_value(info).unwrap();
    assert_eq!(json["sha256"], info.sha256.unwrap().to_string());
    close(store);
}
