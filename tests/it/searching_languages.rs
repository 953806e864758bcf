//! Searches of Chinese, Japanese and Korean text: words inside longer ones, in any width, and what a search shows.

use auditlite::{
    Completion, EraseSelector, ReadOnlyStore, Reader, RequestContext, SearchOptions, SnippetPart,
    Store, Timestamp, VerifyOptions, update_search_index,
};

use crate::support::{Folder, close};

const TEXTS: &[(&str, &str)] = &[
    ("tokyo", "来月、東京都庁へ行きます。"),
    ("kyoto", "京都の寺はGPT-4oで調べた。"),
    ("beijing", "我们在北京大学学习人工智能。"),
    ("seoul", "서울에서 인공지능을 공부했습니다."),
    ("narrow", "ﾊﾟｿｺﾝとＧＰＵを買う"),
    ("parts", "か\u{3099}くせい"),
    ("rare", "𠮷野家の牛丼𪚥"),
    ("latin", "nothing but words"),
    ("one", "A猫B"),
];

fn record(folder: &Folder) {
    let store = Store::builder(folder.path()).open().unwrap();
    for (id, text) in TEXTS {
        let body = serde_json::json!({"messages": [{"role": "user", "content": text}]});
        let context = RequestContext::new("openai.chat")
            .request_id(*id)
            .user_id(*id)
            .started_at(Timestamp::from_micros(1_700_000_000_000_000));
        let handle = store.recorder().open(context, body.to_string()).unwrap();
        handle.complete(Completion::new()).unwrap();
    }
    close(store);
}

fn find(reader: &Reader, query: &str) -> Vec<String> {
    let found = reader.search(query, &SearchOptions::default()).unwrap();
    assert!(found.lag.is_none(), "{:?}", found.lag);
    let mut ids: Vec<String> = found
        .hits
        .iter()
        .map(|hit| hit.request.request_id.clone())
        .collect();
    ids.sort();
    ids
}

fn matches(snippet: &[SnippetPart]) -> String {
    let parts = snippet.iter().filter(|part| part.is_match);
    parts.map(|part| part.text.as_str()).collect()
}

fn verified(folder: &Folder) {
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let options = VerifyOptions::new().compare_search(true);
    assert_eq!(store.verify(&options).unwrap().findings, []);
    assert_eq!(store.doctor().unwrap().findings, Vec::<String>::new());
}

#[test]
fn words_inside_chinese_japanese_and_korean_text_are_found() {
    let folder = Folder::new();
    record(&folder);
    update_search_index(folder.path(), |_| true).unwrap();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    for (query, expected) in [
        ("東京", &["tokyo"][..]),
        ("京都", &["kyoto", "tokyo"]),
        ("京", &["beijing", "kyoto", "tokyo"]),
        ("都", &["kyoto", "tokyo"]),
        ("東京都庁", &["tokyo"]),
        ("東京都庁へ行", &["tokyo"]),
        ("京東", &[]),
        ("東都", &[]),
        ("東京 -都庁", &[]),
        ("京都 -東京", &["kyoto"]),
        ("東京*", &["tokyo"]),
        ("庁*", &["tokyo"]),
        ("\"来月、東京\"", &["tokyo"]),
        ("寺 OR 大学", &["beijing", "kyoto"]),
        ("寺はGPT", &["kyoto"]),
        ("はGP*", &["kyoto"]),
        ("gpt", &["kyoto"]),
        ("4oで", &["kyoto"]),
        ("北京大学", &["beijing"]),
        ("人工智能", &["beijing"]),
        ("工智", &["beijing"]),
        ("서울", &["seoul"]),
        ("지능", &["seoul"]),
        ("\"서울에서 인공\"", &["seoul"]),
        ("パソコン", &["narrow"]),
        ("ﾊﾟｿ", &["narrow"]),
        ("ソコンと", &["narrow"]),
        ("gpu", &["narrow"]),
        ("ｇｐｕ", &["narrow"]),
        ("がく", &["parts"]),
        ("か\u{3099}", &["parts"]),
        ("がく\u{3099}", &[]),
        ("𠮷野", &["rare"]),
        ("𠮷", &["rare"]),
        ("牛丼𪚥", &["rare"]),
        ("𪚥", &["rare"]),
        ("words", &["latin"]),
        ("猫", &["one"]),
        ("a猫b", &["one"]),
        ("a", &["one"]),
    ] {
        assert_eq!(find(&reader, query), expected, "{query}");
    }
    verified(&folder);
}

#[test]
fn a_match_is_shown_as_the_message_has_it() {
    let folder = Folder::new();
    record(&folder);
    update_search_index(folder.path(), |_| true).unwrap();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    for (query, expected) in [
        ("東京", "来月、[東京]都庁へ行きます。"),
        ("東京都庁", "来月、[東京都庁]へ行きます。"),
        ("寺はGPT", "京都の[寺はGPT]-4oで調べた。"),
        ("서울", "[서울]에서 인공지능을 공부했습니다."),
        ("パソコン gpu", "[ﾊﾟｿｺﾝ]と[ＧＰＵ]を買う"),
        ("がく", "[か\u{3099}く]せい"),
        ("𠮷野", "[𠮷野]家の牛丼𪚥"),
        ("words", "nothing but [words]"),
    ] {
        let found = reader.search(query, &SearchOptions::default()).unwrap();
        let parts = found.hits[0].snippet.iter();
        let shown: String = parts
            .map(|part| match part.is_match {
                true => format!("[{}]", part.text),
                false => part.text.clone(),
            })
            .collect();
        assert_eq!(shown, expected, "{query}");
    }
}

/// As an earlier build made it: no text was split, and SQLite's index has one setting less.
fn made_by_an_earlier_build(folder: &Folder) {
    let plain = rusqlite::Connection::open(folder.path()).unwrap();
    plain
        .execute_batch(
            "INSERT INTO search_index (search_index) VALUES ('delete-all'); \
             DELETE FROM search_index_config WHERE k = 'hashsize'",
        )
        .unwrap();
    let mut ids = plain
        .prepare("SELECT message_id, opened_seq FROM search_messages JOIN requests ON opened_seq = request_seq ORDER BY 1")
        .unwrap();
    let ids: Vec<i64> = ids
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (id, (_, text)) in ids.iter().zip(TEXTS) {
        plain
            .execute(
                "INSERT INTO search_index (rowid, text) VALUES (?1, ?2)",
                (id, text),
            )
            .unwrap();
    }
}

#[test]
fn an_index_of_an_earlier_build_is_built_again() {
    let folder = Folder::new();
    record(&folder);
    update_search_index(folder.path(), |_| true).unwrap();
    made_by_an_earlier_build(&folder);
    verified(&folder);
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let lag = reader.search_lag().unwrap();
    assert!(lag.is_built && lag.is_outdated && !lag.is_none(), "{lag:?}");
    // It is searched as it is.
    let found = reader.search("来月", &SearchOptions::default()).unwrap();
    assert_eq!(found.hits.len(), 1);
    assert_eq!(matches(&found.hits[0].snippet), "来月");
    let found = reader.search("京都", &SearchOptions::default()).unwrap();
    assert_eq!(found.hits.len(), 0);
    let lag = update_search_index(folder.path(), |_| true).unwrap();
    assert!(
        lag.is_none() && !lag.is_damaged && !lag.is_outdated,
        "{lag:?}"
    );
    assert_eq!(find(&reader, "京都"), ["kyoto", "tokyo"]);
    verified(&folder);
}

/// An earlier build made the file, and no index in it yet.
#[test]
fn an_index_begun_in_a_file_of_an_earlier_build_finds_words_inside_others() {
    let folder = Folder::new();
    record(&folder);
    let plain = rusqlite::Connection::open(folder.path()).unwrap();
    plain
        .execute_batch("DELETE FROM search_index_config WHERE k = 'hashsize'")
        .unwrap();
    drop(plain);
    let lag = update_search_index(folder.path(), |_| true).unwrap();
    assert!(lag.is_none() && !lag.is_outdated, "{lag:?}");
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert_eq!(find(&reader, "京都"), ["kyoto", "tokyo"]);
    verified(&folder);
}

#[test]
fn what_is_erased_leaves_an_index_of_an_earlier_build_too() {
    let folder = Folder::new();
    record(&folder);
    update_search_index(folder.path(), |_| true).unwrap();
    made_by_an_earlier_build(&folder);
    let store = Store::builder(folder.path()).open().unwrap();
    let report = store
        .erase(&EraseSelector::User("tokyo".to_owned()), "asked for")
        .unwrap();
    assert!(report.is_fully_erased, "{report:?}");
    assert_eq!(store.health().search_index_drops, 0);
    close(store);
    let bytes = std::fs::read(folder.path()).unwrap();
    let word = "来月".as_bytes();
    assert!(!bytes.windows(word.len()).any(|window| window == word));
    update_search_index(folder.path(), |_| true).unwrap();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert_eq!(find(&reader, "京都"), ["kyoto"]);
    assert_eq!(find(&reader, "東京"), Vec::<String>::new());
    verified(&folder);
}
