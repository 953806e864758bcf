//! A world of files in which calls fail on purpose, and of which one knows what a power loss leaves.
//!
//! [`Plan`] says which call fails, how, and how often. Beside that a world may keep a journal: for
//! each file what is durable, and every write since, from which [`Snapshot::image`] makes what may
//! be found after the power is back: writes dropped, kept, reordered and torn at sectors of 512
//! bytes, file by file, by a seed. A sync that fails leaves its writes undurable for good, as Linux
//! does: they are visible until the power goes, and no later sync writes them again.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::ffi;

use super::random::Random;

/// The smallest unit that a disk writes as one.
const SECTOR_BYTES: usize = 512;

/// A call of the file layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    Open,
    Delete,
    Read,
    Write,
    Truncate,
    Sync,
    FileSize,
    ShmMap,
}

impl CallKind {
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::Delete,
        Self::Read,
        Self::Write,
        Self::Truncate,
        Self::Sync,
        Self::FileSize,
        Self::ShmMap,
    ];

    /// What SQLite is told where the call fails.
    fn error(self) -> i32 {
        match self {
            Self::Open => ffi::SQLITE_CANTOPEN,
            Self::Delete => ffi::SQLITE_IOERR_DELETE,
            Self::Read => ffi::SQLITE_IOERR_READ,
            Self::Write => ffi::SQLITE_IOERR_WRITE,
            Self::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Self::Sync => ffi::SQLITE_IOERR_FSYNC,
            Self::FileSize => ffi::SQLITE_IOERR_FSTAT,
            Self::ShmMap => ffi::SQLITE_IOERR_SHMMAP,
        }
    }
}

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with its I/O error.
    Error,
    /// It fails because the disk is full.
    NoSpace,
    /// Half of the bytes are written, then it fails because the disk is full.
    Short,
    /// The bytes that are read are other ones.
    Garble,
    /// The process dies before the call; of a write half of the bytes are there.
    Kill,
    /// The power goes before the call.
    PowerCut { seed: u64 },
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    Once,
    /// This many calls of the kind, then it is as if nothing had been.
    Times(u64),
    /// Until [`World::cure`].
    UntilCured,
}

/// Which call fails, how, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub kind: CallKind,
    /// From 0, among the calls of this kind since [`World::begin`].
    pub number: u64,
    pub fault: Fault,
    pub span: Span,
}

/// What the shim is to do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail(i32),
    /// Write half of the bytes, then fail.
    Short(i32),
    Garble,
}

type Hook = Box<dyn Fn() + Send>;

#[derive(Default)]
struct State {
    counts: BTreeMap<CallKind, u64>,
    plan: Option<Plan>,
    fired: u64,
    /// Nothing succeeds any more: the process is dead, or the power is gone.
    is_dead: bool,
    /// A kill in the middle of a write waits for its half.
    dies_after_short: bool,
    journal: Option<BTreeMap<PathBuf, Model>>,
    /// Called at the moment of death, before anything else happens.
    on_death: Option<Hook>,
    /// Where the dead process's or machine's files are put.
    image_folder: Option<PathBuf>,
    /// Most bytes of all files together.
    space_bytes: Option<u64>,
    /// Called around each sync: with what a power loss then would find.
    on_sync: Option<Box<dyn Fn(Snapshot) + Send>>,
}

pub struct World {
    folder: PathBuf,
    state: Mutex<State>,
    sync_micros: AtomicU64,
}

/// What is known of one file.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Whether its name survives.
    is_named: bool,
    /// Whether it was unlinked, which a power loss may undo.
    is_unlinked: bool,
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    Truncate { size: usize },
}

/// What a power loss at one moment has to choose from.
#[derive(Debug, Clone)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, Model>,
}

impl World {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            state: Mutex::default(),
            sync_micros: AtomicU64::new(0),
        }
    }

    /// Begins to count, and lets the plan's call fail.
    pub fn begin(&self, plan: Option<Plan>) {
        let mut state = self.state();
        state.counts.clear();
        state.fired = 0;
        state.plan = plan;
    }

    /// Keeps a journal from now on. Files that are there count as durable as they are.
    pub fn keep_journal(&self) {
        let mut journal = BTreeMap::new();
        for path in database_files(&self.folder) {
            let model = Model {
                is_named: true,
                durable: Arc::new(fs::read(&path).unwrap_or_default()),
                ..Model::default()
            };
            journal.insert(path, model);
        }
        self.state().journal = Some(journal);
    }

    /// On death the files are put here, after `on_death` was called.
    pub fn expect_death(&self, image_folder: &Path, on_death: impl Fn() + Send + 'static) {
        let mut state = self.state();
        state.image_folder = Some(image_folder.to_owned());
        state.on_death = Some(Box::new(on_death));
    }

    /// Called before and after each sync with what a power loss then would find.
    pub fn watch_syncs(&self, on_sync: impl Fn(Snapshot) + Send + 'static) {
        self.state().on_sync = Some(Box::new(on_sync));
    }

    /// Every sync takes this long from now on.
    pub fn slow_syncs(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.sync_micros.store(micros, Ordering::SeqCst);
    }

    /// Waits as long as a sync takes.
    pub fn wait_for_disk(&self) {
        std::thread::sleep(Duration::from_micros(
            self.sync_micros.load(Ordering::SeqCst),
        ));
    }

    /// From now on the files may have this many bytes altogether; `None`: there is room again.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.state().space_bytes = bytes;
    }

    /// Whether a write would take more room than there is. The real files say how large they are.
    pub fn is_full_for(&self, path: &Path, end: u64) -> bool {
        let mut state = self.state();
        let Some(limit) = state.space_bytes else {
            return false;
        };
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let growth = end.saturating_sub(length(path));
        let used: u64 = database_files(&self.folder)
            .iter()
            .map(|path| length(path))
            .sum();
        let is_full = growth > 0 && used + growth > limit;
        state.fired += u64::from(is_full);
        is_full
    }

    /// Faults end.
    pub fn cure(&self) {
        self.state().plan = None;
    }

    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Calls that were made to fail.
    pub fn fired(&self) -> u64 {
        self.state().fired
    }

    /// Calls of this kind since [`begin`](Self::begin).
    pub fn count(&self, kind: CallKind) -> u64 {
        self.state().counts.get(&kind).copied().unwrap_or(0)
    }

    /// What a power loss now would have to choose from.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.state().snapshot()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the shim asks and tells.
impl World {
    pub fn before(&self, kind: CallKind, path: &Path) -> Verdict {
        let mut state = self.state();
        if state.is_dead {
            return Verdict::Fail(kind.error());
        }
        let count = state.counts.entry(kind).or_default();
        let number = *count;
        *count += 1;
        if kind == CallKind::Sync {
            state.tell_sync();
        }
        let Some(plan) = state.plan else {
            return Verdict::Pass;
        };
        let last = match plan.span {
            Span::Once => plan.number,
            Span::Times(times) => plan.number.saturating_add(times.saturating_sub(1)),
            Span::UntilCured => u64::MAX,
        };
        if kind != plan.kind || !(plan.number..=last).contains(&number) {
            return Verdict::Pass;
        }
        state.fired += 1;
        let _ = path;
        match plan.fault {
            Fault::Error => Verdict::Fail(kind.error()),
            Fault::NoSpace => Verdict::Fail(ffi::SQLITE_FULL),
            Fault::Short => Verdict::Short(ffi::SQLITE_FULL),
            Fault::Garble => Verdict::Garble,
            Fault::Kill if kind == CallKind::Write => {
                state.dies_after_short = true;
                Verdict::Short(kind.error())
            }
            Fault::Kill => {
                state.die(&self.folder, None);
                Verdict::Fail(kind.error())
            }
            Fault::PowerCut { seed } => {
                state.die(&self.folder, Some(seed));
                Verdict::Fail(kind.error())
            }
        }
    }

    /// Half of a write is there.
    pub fn after_short(&self) {
        let mut state = self.state();
        if state.dies_after_short {
            state.dies_after_short = false;
            state.die(&self.folder, None);
        }
    }

    /// A database file is created, and its folder synced, before SQLite opens it; a journal's name
    /// survives once the journal has been synced.
    pub fn opened(&self, path: &Path) {
        let name = path.to_string_lossy();
        let is_journal = name.ends_with("-wal") || name.ends_with("-journal");
        self.change(path, |model| model.is_named |= !is_journal);
    }

    pub fn written(&self, path: &Path, offset: u64, bytes: &[u8]) {
        self.change(path, |model| {
            model.pending.push(Change::Write {
                offset: usize::try_from(offset).unwrap_or(usize::MAX),
                bytes: bytes.into(),
            });
        });
    }

    pub fn truncated(&self, path: &Path, size: u64) {
        self.change(path, |model| {
            model.pending.push(Change::Truncate {
                size: usize::try_from(size).unwrap_or(usize::MAX),
            });
        });
    }

    pub fn synced(&self, path: &Path) {
        let mut state = self.state();
        let Some(journal) = &mut state.journal else {
            return;
        };
        let mut names_folder = false;
        if let Some(model) = journal.get_mut(path) {
            let durable = Arc::make_mut(&mut model.durable);
            for change in model.pending.drain(..) {
                change.apply(durable);
            }
            // The unix layer syncs the folder with the first sync of a journal that it created.
            names_folder = !model.is_named;
            model.is_named = true;
        }
        if names_folder {
            journal.retain(|_, model| !model.is_unlinked);
        }
        state.tell_sync();
    }

    /// What was written since the last sync is never written again.
    pub fn sync_failed(&self, path: &Path) {
        self.change(path, |model| model.pending.clear());
    }

    pub fn deleted(&self, path: &Path, is_folder_synced: bool) {
        let mut state = self.state();
        let Some(journal) = &mut state.journal else {
            return;
        };
        if is_folder_synced {
            journal.retain(|known, model| known != path && !model.is_unlinked);
        } else if let Some(model) = journal.get_mut(path) {
            model.is_unlinked = true;
        }
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Model)) {
        let mut state = self.state();
        if state.is_dead {
            return;
        }
        if let Some(journal) = &mut state.journal {
            let model = journal.entry(path.to_owned()).or_default();
            if model.is_unlinked {
                // A new file under the name of one that was unlinked.
                *model = Model::default();
            }
            change(model);
        }
    }
}

impl State {
    fn snapshot(&self) -> Option<Snapshot> {
        self.journal.clone().map(|files| Snapshot { files })
    }

    fn tell_sync(&self) {
        if let (Some(on_sync), false) = (&self.on_sync, self.is_dead)
            && let Some(snapshot) = self.snapshot()
        {
            on_sync(snapshot);
        }
    }

    fn die(&mut self, folder: &Path, power_seed: Option<u64>) {
        self.is_dead = true;
        if let Some(on_death) = &self.on_death {
            on_death();
        }
        let Some(image_folder) = &self.image_folder else {
            return;
        };
        match (power_seed, self.snapshot()) {
            (Some(seed), Some(snapshot)) => snapshot.image(seed, image_folder),
            // The operating system lives on: what was written is there.
            _ => copy_database(folder, image_folder),
        }
    }
}

impl Snapshot {
    /// Whether a power loss has anything to choose.
    pub fn has_choice(&self) -> bool {
        self.files
            .values()
            .any(|model| !model.pending.is_empty() || model.is_unlinked || !model.is_named)
    }

    /// Puts into a folder what may be found after a power loss.
    pub fn image(&self, seed: u64, folder: &Path) {
        let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
        for (path, model) in &self.files {
            let is_lost = if model.is_unlinked {
                random.coin()
            } else {
                !model.is_named && random.coin()
            };
            if is_lost {
                continue;
            }
            let content = model.after_power_loss(seed % 6, &mut random);
            let name = path.file_name().unwrap_or_default();
            fs::write(folder.join(name), content).unwrap();
        }
    }
}

impl Model {
    fn after_power_loss(&self, how: u64, random: &mut Random) -> Vec<u8> {
        let mut content = self.durable.as_ref().clone();
        let pending = &self.pending;
        let cut = random.below(pending.len() as u64 + 1) as usize;
        for (index, change) in pending.iter().enumerate() {
            match how {
                // Nothing of it reached the disk.
                0 => {}
                // All of it did.
                1 => change.apply(&mut content),
                // Some did, whatever came before them.
                2 if random.coin() => change.apply(&mut content),
                // Each sector for itself.
                3 => change.apply_torn(&mut content, |_| random.coin()),
                // All up to one that is torn.
                4 if index < cut => change.apply(&mut content),
                4 if index == cut => {
                    let sectors = random.below(17);
                    change.apply_torn(&mut content, |sector| (sector as u64) < sectors);
                }
                // The later ones, not the earlier.
                5 if index >= cut => change.apply(&mut content),
                _ => {}
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        self.apply_torn(content, |_| true);
    }

    /// Applies those sectors that are chosen, by their number within the change.
    fn apply_torn(&self, content: &mut Vec<u8>, mut is_chosen: impl FnMut(usize) -> bool) {
        match self {
            Self::Truncate { size } => {
                if is_chosen(0) {
                    content.resize(*size, 0);
                }
            }
            Self::Write { offset, bytes } => {
                let mut begin = 0;
                let mut sector = 0;
                while begin < bytes.len() {
                    let into_sector = (offset + begin) % SECTOR_BYTES;
                    let end = bytes.len().min(begin + SECTOR_BYTES - into_sector);
                    if is_chosen(sector) {
                        let place = offset + begin..offset + end;
                        if content.len() < place.end {
                            content.resize(place.end, 0);
                        }
                        content[place].copy_from_slice(&bytes[begin..end]);
                    }
                    begin = end;
                    sector += 1;
                }
            }
        }
    }
}

/// Files of databases, without the shared memory and the writer's lock.
fn database_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| {
            let name = path.to_string_lossy();
            path.is_file() && !name.ends_with("-shm") && !name.ends_with(".lock")
        })
        .collect()
}

/// Copies a database as a process that dies leaves it.
pub fn copy_database(from: &Path, to: &Path) {
    for path in database_files(from) {
        let name = path.file_name().unwrap_or_default();
        fs::copy(&path, to.join(name)).unwrap();
    }
}
