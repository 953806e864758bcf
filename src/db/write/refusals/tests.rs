//! A file that refuses a row costs that row: the log and everything else is written.

use crate::config::{Durability, PAGE_BYTES};
use crate::db::{Appender, Batch, DatabasePath, Segment, compare_projections, rebuild_projections};
use crate::log::{
    BodyFact, EndKind, Ended, Event, EventKind, Gap, Opened, SegmentEncoder, ToolCallFact,
};
use crate::model::{Digest, StatsFilter};
use crate::payload::{EncodedPayload, Encoding};

/// A batch of requests that were opened and ended, each by its user.
fn batch(first_seq: u64, users: &[&str]) -> Batch {
    let mut events = Vec::new();
    let mut payloads = Vec::new();
    let mut seq = first_seq;
    let mut push = |kind| {
        events.push(Event { seq, at: 7, kind });
        seq += 1;
        seq - 1
    };
    if first_seq == 0 {
        push(EventKind::Gap(Gap::default()));
    }
    for user in users {
        let request_id = format!("of {user}");
        let opened_seq = push(EventKind::Opened(Box::new(Opened {
            request_id: request_id.clone(),
            user_id: Some((*user).to_owned()),
            request_model: Some("m".to_owned()),
            request_body: BodyFact {
                length: user.len() as u64,
                ..BodyFact::default()
            },
            ..Opened::default()
        })));
        payloads.push((
            crate::db::payload_id(opened_seq, crate::db::Part::Body),
            EncodedPayload {
                length: user.len() as u64,
                sha256: Digest([1; 32]),
                salt: [2; 32],
                kept: user.len() as u64,
                head: None,
                encoding: Encoding::AsIs,
                bases: None,
                data: Some(user.as_bytes().to_vec()),
                media: None,
            },
        ));
        push(EventKind::Ended(Box::new(Ended {
            kind: EndKind::Completed,
            request_id,
            opened_seq,
            input_tokens: Some(1),
            tool_calls: vec![ToolCallFact {
                tool_call_id: format!("call of {user}"),
                tool_name: "t".to_owned(),
                input_bytes: 3,
            }],
            ..Ended::default()
        })));
    }
    let mut lines = Vec::new();
    for event in &events {
        event.write_line(&mut lines).unwrap();
    }
    let (encoding, data) = SegmentEncoder::new().unwrap().encode(&lines);
    Batch {
        segment: Segment {
            first_seq,
            count: events.len() as u64,
            length: lines.len() as u64,
            encoding,
            data,
            ..Segment::default()
        },
        events,
        payloads,
        checkpoint: None,
        removal: None,
        ended_pieces: Vec::new(),
    }
}

struct File {
    _folder: tempfile::TempDir,
    path: DatabasePath,
    appender: Appender,
}

fn file() -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = DatabasePath::new(&folder.path().join("audit.db")).unwrap();
    let mut appender = Appender::open(&path, Durability::Buffered, PAGE_BYTES).unwrap();
    assert_eq!(appender.append(&batch(0, &["early"])).unwrap().rows, 0);
    File {
        _folder: folder,
        path,
        appender,
    }
}

impl File {
    fn plant(&self, sql: &str) {
        self.appender.connection().execute_batch(sql).unwrap();
    }

    fn texts(&self, sql: &str) -> Vec<String> {
        let mut statement = self.appender.connection().prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn differences(&self) -> usize {
        let compared = compare_projections(self.path.as_path()).unwrap();
        assert_eq!(compared.scan.findings, Vec::<String>::new());
        compared.differences.len()
    }
}

#[test]
fn rows_that_stand_in_the_way_are_taken_out() {
    let mut file = file();
    file.plant(
        "CREATE TEMP TABLE planted AS SELECT * FROM requests;
         UPDATE planted SET opened_seq = 5, request_id = 'planted', user_id = 'mallory';
         INSERT INTO requests SELECT * FROM planted;
         INSERT INTO tool_calls VALUES (4, 0, 'planted', 'planted', 1);
         INSERT INTO gaps VALUES (6, 1, 1, 1, 1, 1);
         INSERT INTO payloads VALUES (20, 1, x'', x'', 0, NULL, 0, NULL, NULL, NULL);",
    );
    let refusals = file.appender.append(&batch(3, &["a", "b"])).unwrap();
    assert_eq!(
        (refusals.rows, refusals.listed.len()),
        (4, 4),
        "{refusals:?}"
    );
    assert_eq!(
        file.texts("SELECT user_id FROM requests ORDER BY 1"),
        ["a", "b", "early"]
    );
    assert_eq!(file.texts("SELECT 'x' FROM payloads").len(), 3);
    assert_eq!(file.differences(), 0);
    assert_eq!(file.appender.append(&batch(7, &["c"])).unwrap().rows, 0);
}

#[test]
fn a_request_that_is_refused_is_written_in_its_barest_form_and_all_others_in_full() {
    let mut file = file();
    file.plant(
        "CREATE UNIQUE INDEX planted ON requests (user_id) WHERE user_id = 'twin';
         CREATE UNIQUE INDEX planted_2 ON payloads (length) WHERE length = 4;",
    );
    let users = ["a", "twin", "b", "twin", "c"];
    let refusals = file.appender.append(&batch(3, &users)).unwrap();
    // Its row, and its body.
    assert_eq!(refusals.rows, 2, "{refusals:?}");
    assert_eq!(
        file.texts(
            "SELECT coalesce(user_id, '-') || ' ' || status || ' ' || coalesce(body_flags, '') \
             FROM requests ORDER BY opened_seq"
        ),
        [
            "early completed ",
            "a completed ",
            "twin completed ",
            "b completed ",
            "- completed row_refused",
            "c completed ",
        ]
    );
    assert_eq!(
        file.texts("SELECT tool_call_id FROM tool_calls ORDER BY ended_seq"),
        ["early", "a", "twin", "b", "c"].map(|user| format!("call of {user}"))
    );
    assert_eq!(file.texts("SELECT 'x' FROM payloads").len(), 5);
    // What is summed is what the log says.
    let all = crate::db::stats(file.appender.connection(), &StatsFilter::default()).unwrap();
    assert_eq!((all[0].completed, all[0].input_tokens), (6, 6));
    assert_eq!(file.appender.append(&batch(13, &["d"])).unwrap().rows, 0);
    // The row's beginning and its end, and its call.
    assert_eq!(file.differences(), 3);
    file.plant("DROP INDEX IF EXISTS planted; DROP INDEX IF EXISTS planted_2");
    let File {
        _folder,
        path,
        appender,
    } = file;
    drop(appender);
    rebuild_projections(&path.existing()).unwrap();
    let compared = compare_projections(path.as_path()).unwrap();
    assert_eq!(compared.differences, []);
}

#[test]
fn what_not_even_the_barest_form_can_be_written_of_stays_in_the_log() {
    let mut file = file();
    file.plant("CREATE UNIQUE INDEX planted ON requests (opened_at)");
    for (first_seq, users) in [(3, &["a"]), (5, &["b"])] {
        let refusals = file.appender.append(&batch(first_seq, users)).unwrap();
        // Its row, and the barest one.
        assert_eq!(refusals.rows, 2, "{refusals:?}");
    }
    assert_eq!(file.appender.next_seq().unwrap(), 7);
    assert_eq!(file.texts("SELECT user_id FROM requests"), ["early"]);
    file.plant("DROP INDEX IF EXISTS planted; DROP INDEX IF EXISTS planted_2");
    assert_eq!(file.appender.append(&batch(7, &["c"])).unwrap().rows, 0);
}

#[test]
fn a_constraint_is_not_damage() {
    let file = file();
    let error = file
        .appender
        .connection()
        .execute("UPDATE usage_hourly SET input_tokens = 1e300", [])
        .unwrap_err();
    let error = super::DbError::new("testing", error);
    assert_eq!(error.kind, super::DbErrorKind::Refused);
    assert!(!matches!(
        crate::error::ReadError::from(error),
        crate::error::ReadError::Damaged(_)
    ));
}
