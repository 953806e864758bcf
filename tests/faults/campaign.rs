//! Every call × every fault × every span, over a file that is new, one that was closed, and one
//! that a crash left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use auditlite::{HealthState, OpenError, Overflow, Store};

use crate::oracle::{Accounts, Ledger, Promises, examine, recover};
use crate::random::Random;
use crate::scene::{builder, folder, run_cases, work};
use crate::seeds::number;
use crate::vfs::{Rule, rule};
use crate::world::{CallKind, Fault, Plan, Span, copy_database};

const BATCHES: u64 = 9;
/// Any call of the library returns within its own deadline and this much.
const SLACK: Duration = Duration::from_secs(3);

/// What is done to which calls.
fn faults() -> Vec<(CallKind, Fault, Span)> {
    let mut faults = Vec::new();
    for kind in CallKind::ALL {
        let mut of_kind = vec![Fault::Error];
        match kind {
            CallKind::Read => of_kind.push(Fault::Garble),
            CallKind::Write => of_kind.extend([Fault::NoSpace, Fault::Short]),
            _ => {}
        }
        for fault in of_kind {
            for span in [Span::Once, Span::Times(4), Span::UntilCured] {
                faults.push((kind, fault, span));
            }
        }
        for fault in [Fault::Kill, Fault::PowerCut { seed: 0 }] {
            faults.push((kind, fault, Span::Once));
        }
    }
    faults
}

/// The file that a case begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Beginning {
    New,
    Closed,
    Crashed,
}

/// Files to begin with, and how many calls of each kind a scene on them makes.
struct Template {
    folder: tempfile::TempDir,
    promises: Promises,
    calls: BTreeMap<CallKind, u64>,
}

fn templates() -> &'static BTreeMap<Beginning, Template> {
    static TEMPLATES: OnceLock<BTreeMap<Beginning, Template>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        [Beginning::New, Beginning::Closed, Beginning::Crashed]
            .into_iter()
            .map(|beginning| (beginning, Template::new(beginning)))
            .collect()
    })
}

impl Template {
    fn new(beginning: Beginning) -> Self {
        let template = folder();
        let mut promises = Promises::default();
        if beginning != Beginning::New {
            let origin = folder();
            let ledger = Ledger::default();
            let path = origin.path().join("audit.db");
            let store = builder(&path, Overflow::Wait(SLACK)).open().unwrap();
            assert!(work(&store, &ledger, "before", 6, SLACK));
            if beginning == Beginning::Crashed {
                // As a process that dies here leaves it, with one request open.
                let _open = ledger.open(&store.recorder(), "before-900").unwrap();
                store.flush(SLACK).unwrap();
                promises = ledger.promises();
                copy_database(origin.path(), template.path());
            } else {
                assert!(store.close(SLACK).is_complete);
                promises = ledger.promises();
                copy_database(origin.path(), template.path());
            }
        }
        let mut template = Self {
            folder: template,
            promises,
            calls: BTreeMap::new(),
        };
        // Counts the calls of a scene without a fault.
        let place = folder();
        copy_database(template.folder.path(), place.path());
        let rule = rule(place.path());
        rule.world.begin(None);
        let path = place.path().join("audit.db");
        let store = builder(&path, Overflow::Wait(SLACK)).open().unwrap();
        assert!(work(&store, &Ledger::default(), "dry", BATCHES, SLACK));
        assert!(store.close(SLACK).is_complete);
        let kinds = CallKind::ALL.into_iter();
        template.calls = kinds.map(|kind| (kind, rule.world.count(kind))).collect();
        template
    }
}

/// One scene under one plan.
struct Run<'r> {
    place: &'r Path,
    before: &'r Promises,
    name: &'r str,
    plan: Plan,
    overflow: Overflow,
    /// Whether a lasting fault is cured while the store is open, or only after it gave up.
    is_cured_while_open: bool,
    power_seed: u64,
}

/// What is left of a scene.
struct Left {
    /// The files to look at, and what was promised of them.
    promises: Promises,
    accounts: Accounts,
    /// Of the files as they would be had the power gone at the end.
    after_power_loss: Option<tempfile::TempDir>,
    died: bool,
    fired: u64,
    examine_first: bool,
}

impl Run<'_> {
    /// Plays the scene; afterwards the files lie in `image` if it died, else in its place.
    fn play(&self, image: &Path, violations: &mut Vec<String>) -> Left {
        let rule = rule(self.place);
        let world = Arc::clone(&rule.world);
        world.keep_journal();
        let ledger = Arc::new(Ledger::default());
        let at_death = Arc::new(Mutex::new(Promises::default()));
        {
            let (ledger, at_death) = (Arc::clone(&ledger), Arc::clone(&at_death));
            world.expect_death(image, move || {
                *at_death.lock().unwrap() = ledger.promises();
            });
        }
        world.begin(Some(self.plan));
        let path = self.place.join("audit.db");
        let mut is_settled = false;
        match self.open(&path, &rule, violations) {
            None => {}
            Some(store) => is_settled = self.use_store(store, &ledger, &rule, violations),
        }
        wait_for_lock(&path);
        let died = world.is_dead();
        let fired = world.fired();
        let mut promises = if died {
            at_death.lock().unwrap().clone()
        } else {
            ledger.promises()
        };
        promises.extend(self.before);
        let after_power_loss = (!died && !self.garbles()).then(|| {
            let after = folder();
            let snapshot = world.snapshot().unwrap();
            snapshot.image(self.power_seed, after.path());
            after
        });
        Left {
            promises,
            accounts: if is_settled && !died {
                Accounts::Settled
            } else {
                Accounts::Open
            },
            after_power_loss,
            died,
            fired,
            examine_first: self.power_seed.is_multiple_of(2),
        }
    }

    fn garbles(&self) -> bool {
        self.plan.fault == Fault::Garble
    }

    /// Opens the store. A fault may refuse it; once it is over, nothing may.
    fn open(&self, path: &Path, rule: &Rule, violations: &mut Vec<String>) -> Option<Store> {
        let mut last = String::new();
        for _ in 0..8 {
            match builder(path, self.overflow).open() {
                Ok(store) => return Some(store),
                Err(_) if rule.world.is_dead() => return None,
                Err(OpenError::Damaged { .. } | OpenError::NotADatabase { .. })
                    if !self.garbles() =>
                {
                    violations.push("an I/O error was taken for damage".to_owned());
                    return None;
                }
                // What was read wrongly may have been written wrongly: it is refused, and kept.
                Err(OpenError::Damaged { .. } | OpenError::NotADatabase { .. }) => return None,
                Err(error) if rule.world.fired() > 0 => {
                    last = format!("{error:?}");
                    if self.plan.span == Span::UntilCured {
                        rule.world.cure();
                    }
                }
                Err(error) => {
                    violations.push(format!("does not open without a fault: {error}"));
                    return None;
                }
            }
        }
        violations.push(format!("does not open though the fault is over: {last}"));
        None
    }

    /// Records and closes. Returns whether the store claimed that everything is committed.
    fn use_store(
        &self,
        store: Store,
        ledger: &Ledger,
        rule: &Rule,
        violations: &mut Vec<String>,
    ) -> bool {
        let world = &rule.world;
        let lasts = self.plan.span == Span::UntilCured;
        let is_final = matches!(
            self.plan.fault,
            Fault::Kill | Fault::PowerCut { .. } | Fault::Garble
        );
        let patience = if lasts || is_final {
            Duration::from_millis(40)
        } else {
            Duration::from_secs(20)
        };
        let begun = Instant::now();
        let flushed = work(&store, ledger, self.name, BATCHES, patience);
        let is_dead = world.is_dead();
        let may_fail = is_dead || self.garbles() && world.fired() > 0;
        if lasts && begun.elapsed() > patience + SLACK {
            violations.push(format!("recording took {:?}", begun.elapsed()));
        }
        if !flushed && lasts && !may_fail && !says_so(&store) {
            violations.push(format!("does not commit, and says {:?}", store.health()));
        }
        let mut must_settle = !lasts;
        if lasts && self.is_cured_while_open {
            world.cure();
            must_settle = true;
        }
        if must_settle && !may_fail && !is_final {
            if store.flush(Duration::from_secs(20)).is_err() {
                violations.push(format!("does not recover: {:?}", store.health()));
            } else if store.health().state != HealthState::Healthy {
                violations.push(format!("recovered, and says {:?}", store.health()));
            }
        }
        // A disk that dies in the middle of the close is not waited for.
        must_settle &= !may_fail && !is_final;
        let patience = if must_settle {
            Duration::from_secs(20)
        } else if is_final && !may_fail {
            Duration::from_millis(300)
        } else {
            Duration::from_millis(60)
        };
        let begun = Instant::now();
        let report = store.close(patience);
        if begun.elapsed() > patience + SLACK {
            violations.push(format!("closing took {:?}", begun.elapsed()));
        }
        let was_dead = is_dead || world.is_dead();
        if must_settle && !was_dead && !report.is_complete {
            violations.push(format!("does not close in order: {report:?}"));
        }
        if report.is_complete && report.lost_events > 0 {
            violations.push(format!("complete, and lost: {report:?}"));
        }
        if !was_dead && report.is_complete && !ledger.promises().all_ended() {
            violations.push(format!(
                "complete, and not every receipt is durable: {report:?}"
            ));
        }
        if !report.is_complete && report.lost_events == 0 && !ledger.promises().all_ended() {
            violations.push(format!(
                "receipts are not durable, and nothing is lost: {report:?}"
            ));
        }
        report.is_complete
    }
}

/// Whether a store that did not commit in time says that something is wrong, or was only slow.
fn says_so(store: &Store) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if store.health().state == HealthState::Degraded
            || store.flush(Duration::from_millis(5)).is_ok()
        {
            return true;
        }
    }
    false
}

/// An abandoned writer may hold the file for a moment: until its call returns.
pub fn wait_for_lock(path: &Path) {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let begun = Instant::now();
    if let Ok(file) = std::fs::File::open(PathBuf::from(lock)) {
        while file.try_lock().is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the writer's thread does not end"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Looks at files that a scene left. A file that was read wrongly may have been written wrongly:
/// there only what the library does about it counts.
fn judge(place: &Path, left: &Left, what: &str, violations: &mut Vec<String>) {
    let path = place.join("audit.db");
    // After recovery it is examined too; before it, half of the time.
    let mut found = Vec::new();
    if left.examine_first {
        found = examine(&path, &left.promises, left.accounts);
    }
    if found.is_empty() {
        found = recover(&path, &left.promises, left.accounts, "probe-1");
    }
    violations.extend(
        found
            .into_iter()
            .map(|violation| format!("{what}: {violation}")),
    );
}

fn plan(random: &mut Random, template: &Template, what: (CallKind, Fault, Span)) -> Plan {
    let (kind, fault, span) = what;
    let calls = template.calls.get(&kind).copied().unwrap_or(0);
    let fault = match fault {
        Fault::PowerCut { .. } => Fault::PowerCut {
            seed: random.next(),
        },
        other => other,
    };
    Plan {
        kind,
        number: random.below(calls),
        fault,
        span,
    }
}

fn overflow(random: &mut Random) -> Overflow {
    match random.below(3) {
        0 => Overflow::Shed,
        1 => Overflow::Strict,
        _ => Overflow::Wait(Duration::from_millis(2)),
    }
}

static FIRED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

fn case(number: u64) -> Vec<String> {
    let mut violations = Vec::new();
    let mut random = Random(number);
    let faults = faults();
    let what = faults[(number % faults.len() as u64) as usize];
    let beginnings = [Beginning::New, Beginning::Closed, Beginning::Crashed];
    let beginning = beginnings[(number / faults.len() as u64 % 3) as usize];
    let template = &templates()[&beginning];
    let (place, image) = (folder(), folder());
    copy_database(template.folder.path(), place.path());
    let run = Run {
        place: place.path(),
        before: &template.promises,
        name: "r",
        plan: plan(&mut random, template, what),
        overflow: overflow(&mut random),
        is_cured_while_open: random.coin(),
        power_seed: random.next(),
    };
    let left = run.play(image.path(), &mut violations);
    FIRED.fetch_add(
        u64::from(left.fired > 0),
        std::sync::atomic::Ordering::Relaxed,
    );
    let described = format!("{beginning:?} {:?} {:?}", run.plan, run.overflow);
    if left.died {
        judge(image.path(), &left, "after death", &mut violations);
    } else if !run.garbles() {
        judge(place.path(), &left, "afterwards", &mut violations);
        if let Some(after) = &left.after_power_loss {
            judge(after.path(), &left, "after power loss", &mut violations);
        }
    } else if !place.path().join("audit.db").exists() {
        violations.push("the file was deleted".to_owned());
    }
    if !violations.is_empty() {
        violations.insert(0, described);
    }
    violations
}

#[test]
fn every_call_fails_in_every_way() {
    let count = number("AUDITLITE_FAULT_CASES", 150);
    run_cases("faults", "AUDITLITE_FAULT_CASE", count, case);
    let fired = FIRED.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("in {fired} of {count} cases the fault struck");
    assert!(
        std::env::var_os("AUDITLITE_FAULT_CASE").is_some() || fired * 10 >= count * 8,
        "only {fired} of {count} faults struck"
    );
}

/// The first fault kills a scene; the second strikes while what it left is recovered.
fn second_case(number: u64) -> Vec<String> {
    let mut violations = Vec::new();
    let mut random = Random(number ^ 0x5ec0_4d00);
    let template = &templates()[&Beginning::Closed];
    let (place, image, second_image) = (folder(), folder(), folder());
    copy_database(template.folder.path(), place.path());
    let kinds = [
        CallKind::Write,
        CallKind::Sync,
        CallKind::Truncate,
        CallKind::Delete,
    ];
    let deadly = if random.coin() {
        Fault::Kill
    } else {
        Fault::PowerCut { seed: 0 }
    };
    let kind = kinds[random.below(4) as usize];
    let first = Run {
        place: place.path(),
        before: &template.promises,
        name: "a",
        plan: plan(&mut random, template, (kind, deadly, Span::Once)),
        overflow: overflow(&mut random),
        is_cured_while_open: true,
        power_seed: random.next(),
    };
    let left = first.play(image.path(), &mut violations);
    let (begin, died) = if left.died {
        (image.path(), true)
    } else {
        (place.path(), false)
    };
    let faults = faults();
    let mut what = faults[(number % faults.len() as u64) as usize];
    if what.1 == Fault::Garble {
        what.1 = Fault::Error;
    }
    // Recovery is at the beginning of the scene.
    let mut plan = plan(&mut random, &templates()[&Beginning::Crashed], what);
    plan.number = random.below(plan.number / 4 + 3);
    let second = Run {
        place: begin,
        before: &left.promises,
        name: "b",
        plan,
        overflow: overflow(&mut random),
        is_cured_while_open: random.coin(),
        power_seed: random.next(),
    };
    let mut after = second.play(second_image.path(), &mut violations);
    if died || left.accounts == Accounts::Open {
        after.accounts = Accounts::Open;
    }
    let place = if after.died {
        second_image.path()
    } else {
        begin
    };
    judge(place, &after, "after the second fault", &mut violations);
    if !violations.is_empty() {
        violations.insert(0, format!("{:?}, then {:?}", first.plan, second.plan));
    }
    violations
}

#[test]
fn a_second_fault_strikes_the_recovery() {
    let count = number("AUDITLITE_SECOND_FAULT_CASES", 30);
    run_cases(
        "second faults",
        "AUDITLITE_SECOND_FAULT_CASE",
        count,
        second_case,
    );
}

#[test]
fn the_templates_promise_something() {
    let templates = templates();
    assert!(templates[&Beginning::Closed].promises.durable() >= 24);
    assert!(templates[&Beginning::Crashed].promises.durable() >= 24);
    for (beginning, template) in templates {
        eprintln!("{beginning:?}: {:?}", template.calls);
        for kind in CallKind::ALL {
            let none_to_expect = kind == CallKind::FileSize || kind == CallKind::Delete;
            assert!(
                none_to_expect || template.calls[&kind] > 0,
                "{beginning:?} {kind:?}"
            );
        }
    }
}
