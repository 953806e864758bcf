//! Indexes whose pages are in order but whose entries differ from their table: reads would miss requests, and SQLite's
//! quick check does not see most of them.

use auditlite::{
    Completion, EraseSelector, Failure, Finding, FindingKind, ReadOnlyStore, RequestContext,
    VerifyOptions,
};

use crate::support::{Folder, PATIENCE, close, sqlite};

/// How what SQLite found begins.
const SQLITES: &str = "SQLite's integrity check: ";

fn recorded() -> Folder {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..30 {
        let mut context = RequestContext::new("openai.chat").request_id(format!("r-{number:02}"));
        context = match number % 3 {
            0 => context.conversation_id(format!("c-{}", number % 7)),
            1 => context.context_id(format!("x-{}", number % 4)),
            _ => context,
        };
        if number % 4 != 0 {
            context = context
                .user_id(format!("user-{}", number % 5))
                .session_id(format!("s-{}", number % 6))
                .trace_id(format!("t-{number}"));
        }
        let audit = store.recorder().open(context, "{}").unwrap();
        match number % 5 {
            0 => audit.fail(Failure::new("timeout")).unwrap(),
            _ => audit.complete(Completion::new()).unwrap(),
        };
    }
    close(store);
    folder
}

#[test]
fn an_index_that_does_not_say_what_its_table_says_is_found() {
    let indexes = sqlite(&recorded())
        .prepare("SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'requests' AND sql LIKE 'CREATE INDEX%'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<Vec<(String, String)>, _>>()
        .unwrap();
    assert!(indexes.len() >= 6, "{indexes:?}");
    let folder = recorded();
    let verify = |folder: &Folder| {
        let store = ReadOnlyStore::open(folder.path()).unwrap();
        store.verify(&VerifyOptions::default()).unwrap().findings
    };
    assert_eq!(verify(&folder), []);
    for (name, sql) in &indexes {
        let (head, rest) = sql.split_once("ON requests (").unwrap();
        let (value, condition) = match rest.split_once("WHERE") {
            Some((value, condition)) => (value.trim(), condition),
            None => (rest, "1 = 1"),
        };
        let value = value.strip_suffix(')').unwrap();
        let tricks = [
            // A row is left out, two have each other's place, values are others, all of it is empty.
            format!("{head} ON requests ({value}) WHERE ({condition}) AND opened_seq <> 11"),
            format!("{head} ON requests ({value} || 'x') WHERE {condition}"),
            format!("{head} ON requests (substr({value}, 2)) WHERE {condition}"),
            format!("{head} ON requests (CAST({value} AS BLOB)) WHERE {condition}"),
            format!("{head} ON requests ({value}) WHERE opened_seq < 0"),
            format!("{head} ON requests ({value})"),
            format!("{head} ON requests ({value} DESC) WHERE {condition}"),
        ];
        let mut found = 0;
        for trick in &tricks {
            let connection = sqlite(&folder);
            let change = |sql: &str| {
                connection
                    .execute_batch(&format!("DROP INDEX {name}; {sql}"))
                    .unwrap();
            };
            change(trick);
            connection
                .execute_batch("PRAGMA writable_schema = ON")
                .unwrap();
            connection
                .execute(
                    "UPDATE sqlite_schema SET sql = ?1 WHERE name = ?2",
                    [sql, name],
                )
                .unwrap();
            drop(connection);
            let connection = sqlite(&folder);
            let check = |pragma: &str| -> String {
                connection.query_row(pragma, [], |row| row.get(0)).unwrap()
            };
            let is_subtle = check("PRAGMA quick_check") == "ok";
            let is_sound = check("PRAGMA integrity_check") == "ok";
            drop(connection);
            let findings = verify(&folder);
            // SQLite minds no entries of rows that are not to be in a partial index.
            let has_more = trick.ends_with(&format!("ON requests ({value})"));
            assert!(
                findings.is_empty() == is_sound || has_more && is_sound,
                "{trick}: {findings:?}"
            );
            assert!(
                findings
                    .iter()
                    .all(|finding| finding.kind == FindingKind::Structure),
                "{findings:?}"
            );
            let is_sqlites = |finding: &Finding| finding.what.starts_with(SQLITES);
            assert!(is_sound || findings.iter().any(is_sqlites), "{findings:?}");
            found += usize::from(is_subtle && !is_sound);
            let connection = sqlite(&folder);
            connection
                .execute_batch(&format!("DROP INDEX {name}; {sql}"))
                .unwrap();
            drop(connection);
            assert_eq!(verify(&folder), []);
        }
        assert!(found >= 2, "{name}: {found}");
    }
}

/// A removal relies on it to name what must be packed again.
#[test]
fn a_body_whose_base_does_not_name_it_is_found() {
    let folder = Folder::new();
    let store = folder.open();
    let mut history = "a system prompt that all of them have; ".repeat(50);
    for turn in 0..10 {
        history.push_str(&format!("turn {turn}; ").repeat(20));
        let context = RequestContext::new("openai.chat").conversation_id("c");
        let audit = store.recorder().open(context, history.clone()).unwrap();
        let completion = Completion::new().response_body(format!("{history} answer"));
        audit.complete(completion).unwrap();
    }
    let other = RequestContext::new("openai.chat").request_id("other");
    let audit = store.recorder().open(other, "{}").unwrap();
    audit.complete(Completion::new()).unwrap();
    store.flush(PATIENCE).unwrap();
    let selector = EraseSelector::Request("other".to_owned());
    store.erase(&selector, "test").unwrap();
    close(store);
    let verify = || {
        let store = ReadOnlyStore::open(folder.path()).unwrap();
        store.verify(&VerifyOptions::default()).unwrap().findings
    };
    assert_eq!(verify(), []);
    let deleted = sqlite(&folder)
        .execute(
            "DELETE FROM payload_links WHERE payload_id = (SELECT max(payload_id) FROM payload_links)",
            [],
        )
        .unwrap();
    assert!(deleted > 0);
    let findings = verify();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].kind, FindingKind::Structure);
    assert!(findings[0].what.contains("payload_links"), "{findings:?}");
    sqlite(&folder)
        .execute_batch("DROP TABLE payload_links")
        .unwrap();
    let findings = verify();
    assert!(
        findings
            .iter()
            .all(|finding| finding.what.contains("payload_links")),
        "{findings:?}"
    );
    assert_eq!(findings.len(), 1, "{findings:?}");
}
