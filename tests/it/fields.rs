//! The table of request fields: rows, schemas and documents agree with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use auditlite::{ExportFormat, ExportOptions, RequestRecord};

use crate::support::{Folder, record};

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn recorded() -> (Folder, auditlite::Store) {
    let folder = Folder::new();
    let store = folder.open();
    record(&store, "r-1", "{}", "{}");
    store.flush(crate::support::PATIENCE).unwrap();
    (folder, store)
}

#[test]
fn json_has_the_fields_of_the_table_in_its_order() {
    let (_folder, store) = recorded();
    let json = serde_json::to_string(&store.reader().get("r-1").unwrap()).unwrap();
    let places = RequestRecord::FIELD_NAMES.map(|name| json.find(&format!("\"{name}\":")));
    assert!(places.iter().all(Option::is_some), "{json}");
    assert!(places.is_sorted(), "{json}");
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(object.len(), RequestRecord::FIELD_NAMES.len());
}

#[test]
fn documents_and_schemas_have_every_field() {
    let page = file("docs/cli.md");
    for name in RequestRecord::FIELD_NAMES {
        assert!(
            page.contains(&format!("| `{name}` |")),
            "docs/cli.md: {name}"
        );
        for schema in ["list", "show", "export"] {
            let schema: serde_json::Value =
                serde_json::from_str(&file(&format!("docs/schemas/{schema}.json"))).unwrap();
            assert!(schema["properties"][name].is_object(), "{name}");
            let required = schema["required"].as_array().unwrap();
            assert!(required.iter().any(|other| other == name), "{name}");
        }
    }
}

#[test]
fn tables_and_exports_have_every_field() {
    let (folder, store) = recorded();
    let columns = |path: &Path| -> BTreeSet<String> {
        let connection = rusqlite::Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("SELECT name FROM pragma_table_info('requests')")
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    };
    let export = |format: ExportFormat, name: &str| {
        let path = folder.join(name);
        let options = ExportOptions::new().format(format);
        store.reader().export_to_file(&options, &path).unwrap();
        path
    };
    let fields: BTreeSet<String> = RequestRecord::FIELD_NAMES.map(str::to_owned).into();
    let mut exported = fields.clone();
    exported.extend(["opened_at_iso", "cost_dollars"].map(str::to_owned));
    assert_eq!(columns(&export(ExportFormat::Sqlite, "e.db")), exported);
    let csv = fs::read_to_string(export(ExportFormat::Csv, "e.csv")).unwrap();
    let heading = csv.lines().next().unwrap().split(',').map(str::to_owned);
    let heading: BTreeSet<String> = heading.collect();
    assert!(heading.is_superset(&exported), "{heading:?}");
    // What a reader derives is no column.
    let derived = ["is_erased", "is_id_shared"];
    let stored = fields
        .into_iter()
        .filter(|name| !derived.contains(&name.as_str()));
    assert_eq!(columns(&folder.path()), stored.collect());
}
