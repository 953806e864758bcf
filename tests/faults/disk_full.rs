//! A disk that becomes full during the work, and gets free space again or stays full.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auditlite::{HealthState, Overflow, Store};

use crate::oracle::{Accounts, Ledger, examine, recover};
use crate::random::Random;
use crate::scene::{builder, folder, run_cases};
use crate::seeds::number;
use crate::vfs::rule;

const PATIENCE: Duration = Duration::from_secs(30);
/// Lifecycles after which any of the disks here is full.
const LIFECYCLES_MAX: u64 = 6000;

/// What the disk is made of.
enum Disk {
    /// The shim counts bytes.
    Counted(crate::vfs::Rule),
    /// A file system of its own.
    Mounted,
}

/// A small file system in memory, unmounted when dropped. Needs the right to mount.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(kilobytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kilobytes}k");
        let is_mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        is_mounted.then_some(Self(folder))
    }

    fn grow(path: &Path) {
        let status = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Records until commits fail for want of space.
fn fill(store: &Store, ledger: &Ledger, begin: u64) -> u64 {
    let recorder = store.recorder();
    for number in begin..LIFECYCLES_MAX {
        ledger.lifecycle(&recorder, &format!("f-{number}"));
        if number % 8 == 0 {
            let _ = store.flush(Duration::from_millis(50));
            if store.health().commit_retries > 0 {
                return number + 1;
            }
        }
    }
    LIFECYCLES_MAX
}

fn case(number: u64) -> Vec<String> {
    let mut random = Random(number ^ 0xd15c);
    let kilobytes = 400 + random.below(700);
    let mount = (number % 10 == 9).then(|| Mount::new(kilobytes)).flatten();
    if number == 9 && mount.is_none() {
        eprintln!("no right to mount: all disks are counted by the shim");
    }
    let unmounted = folder();
    let place = mount
        .as_ref()
        .map_or(unmounted.path(), |mount| mount.0.path());
    let overflow = match random.below(3) {
        0 => Overflow::Shed,
        1 => Overflow::Strict,
        _ => Overflow::Wait(Duration::from_millis(1)),
    };
    let mut violations = Vec::new();
    let disk = match &mount {
        Some(_) => Disk::Mounted,
        None => {
            let rule = rule(place);
            rule.world.limit_space(Some(kilobytes * 1024));
            Disk::Counted(rule)
        }
    };
    let path = place.join("audit.db");
    // On the mounted disk bodies are left out before it is full; here it must become full.
    let store = builder(&path, overflow)
        .free_space_metadata_only_bytes(0)
        .open()
        .unwrap();
    let ledger = Arc::new(Ledger::default());
    let mut next = fill(&store, &ledger, 0);
    if store.health().commit_retries == 0 {
        violations.push(format!("the disk does not get full: {:?}", store.health()));
    }
    // Beyond the capacity, while it is full: nobody waits, and what is left out is counted.
    let recorder = store.recorder();
    let begun = Instant::now();
    for _ in 0..300 {
        ledger.lifecycle(&recorder, &format!("f-{next}"));
        next += 1;
    }
    if begun.elapsed() > Duration::from_secs(10) {
        violations.push(format!("300 lifecycles took {:?}", begun.elapsed()));
    }
    if store.health().state != HealthState::Degraded {
        violations.push(format!(
            "the disk is full, and it says {:?}",
            store.health()
        ));
    }
    let has_room_again = random.below(4) > 0;
    let give_room = || match &disk {
        Disk::Counted(rule) => rule.world.limit_space(None),
        Disk::Mounted => Mount::grow(place),
    };
    let mut accounts = Accounts::Open;
    if has_room_again {
        give_room();
        if store.flush(PATIENCE).is_err() || store.health().state != HealthState::Healthy {
            violations.push(format!("does not recover: {:?}", store.health()));
        }
        for _ in 0..20 {
            ledger.lifecycle(&recorder, &format!("f-{next}"));
            next += 1;
        }
        let report = store.close(PATIENCE);
        if !report.is_complete || report.lost_events > 0 {
            violations.push(format!("does not close in order: {report:?}"));
        }
        if overflow != Overflow::Strict && report.shed_lifecycles == 0 {
            violations.push(format!("nothing was shed: {report:?}"));
        }
        accounts = Accounts::Settled;
    } else {
        let begun = Instant::now();
        let report = store.close(Duration::from_millis(100));
        if begun.elapsed() > Duration::from_secs(3) {
            violations.push(format!("closing took {:?}", begun.elapsed()));
        }
        if report.is_complete || report.lost_events == 0 {
            violations.push(format!("claims to have closed a full disk: {report:?}"));
        }
        super::campaign::wait_for_lock(&path);
    }
    let promises = ledger.promises();
    violations.extend(examine(&path, &promises, accounts));
    give_room();
    violations.extend(recover(&path, &promises, accounts, "probe-1"));
    if !violations.is_empty() {
        let disk = if mount.is_some() {
            "mounted"
        } else {
            "counted"
        };
        violations.insert(0, format!("{disk} {kilobytes} KiB, {overflow:?}"));
    }
    violations
}

#[test]
fn the_disk_fills_up_and_has_room_again() {
    let count = number("AUDITLITE_DISK_FULL_CASES", 12);
    run_cases("disk full", "AUDITLITE_DISK_FULL_CASE", count, case);
}
