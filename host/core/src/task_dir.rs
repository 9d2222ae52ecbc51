//! The task directory, as a pure machine: listings in, settled files out. It decides when a file is whole, so that a
//! copy in progress is never taken for a module: a file must rest for a while, must not change while it is read, and a
//! module that ends too early is given time to grow. A module and its properties are told in the order in which nothing
//! runs with half of what is meant: the properties come first, and go last. A file that cannot be read is read again later,
//! and one whose reading hangs keeps no other from being read. It must not know the file system, jobs or WebAssembly.
//!
//! It compares listings and asks for no notification of the kernel: network file systems send none, and a Kubernetes
//! volume changes by a flip of symbolic links above the file. The shell lists every [`LISTING_INTERVAL`].

use std::collections::BTreeMap;

use crate::time::Millis;

/// Milliseconds between two listings.
pub const LISTING_INTERVAL: Millis = 250;
/// How long a file must be as it is before it is read, and how long it must be gone before it is missed: a replacement
/// by delete and copy is no removal.
const QUIET: Millis = 250;
/// A file that is gone may be on its way back a little longer: rsync and editors delete first.
const MISSED_AFTER: Millis = 2_000;
/// How long a module that ends too early, or that differs from its checksum, may take to become whole.
const PATIENCE: Millis = 10_000;
/// Pause before a file that could not be read is read again: a network file system, or a machine short of open files, may
/// recover without a change of the file.
const READ_AGAIN_AFTER: Millis = 10_000;
/// A reading that takes longer is a problem to be shown.
pub const SLOW_AFTER: Millis = 10_000;

const MODULE: &str = ".wasm";
const PROPERTIES: &str = ".properties";

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub bytes: u64,
    /// When its content, or who may read it, was changed; nanoseconds since 1970.
    pub modified: u128,
    /// A rename puts another file under the name.
    pub inode: u64,
}

impl Stamp {
    fn modified_millis(&self) -> Millis {
        Millis::try_from(self.modified / 1_000_000).unwrap_or(Millis::MAX)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What is in the directory now.
    Listed(BTreeMap<String, Stamp>),
    /// A file was read. `stamp` is the file's after the reading; `None` when it is gone.
    Read { file: String, stamp: Option<Stamp>, reading: Reading },
}

/// What came of reading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is whole, or nothing that grows into something useful.
    Whole,
    /// It ends too early, or differs from its checksum: a copy may be in progress.
    CutShort,
    /// The machine could not read it.
    Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the file, look whether it is whole, and answer with [`Event::Read`].
    Read(String),
    /// What was read last is the file's content.
    Changed(String),
    Removed(String),
}

#[derive(Debug)]
struct File {
    seen: Stamp,
    /// Since when it is as seen.
    since: Millis,
    taken: Option<Stamp>,
    reading_since: Option<Millis>,
    is_unreadable: bool,
    /// Not before this is it read again.
    read_at: Millis,
    gone_since: Option<Millis>,
}

/// The machine; see the module documentation.
#[derive(Debug, Default)]
pub struct TaskDir {
    files: BTreeMap<String, File>,
    is_known: bool,
}

/// Whether a file of the task directory is of interest: a module, its checksum or its properties. What editors, copy
/// programs and shells leave behind while they work is not.
#[must_use]
pub fn is_of_interest(file: &str) -> bool {
    let endings = [MODULE, ".wasm.sha256", PROPERTIES];
    !file.starts_with('.') && endings.iter().any(|ending| file.len() > ending.len() && file.ends_with(ending))
}

/// Whether a file stands beside a module and is read with it: its checksum, or how it is to be rolled out.
#[must_use]
pub fn is_beside_a_module(file: &str) -> bool {
    [".wasm.sha256", ".wasm.rollout"].iter().any(|ending| file.len() > ending.len() && file.ends_with(ending))
}

/// Why a file that is of no interest is none of a job's, and what to do if it was meant to be.
#[must_use]
pub fn why_passed_over(file: &str, is_file: bool) -> String {
    if !is_file {
        return "it is a directory: modules are looked for in the task directory only".to_owned();
    }
    let lower = file.to_ascii_lowercase();
    let meant = [(MODULE, "a module"), (PROPERTIES, "a job's properties")].into_iter();
    let meant = meant.filter_map(|(ending, what)| Some((lower.strip_suffix(ending)?.len(), ending, what))).next();
    match meant {
        Some((stem, ending, what)) if stem > 0 => {
            format!("its ending is not {ending}: rename it to {}{ending} if it is {what}", file[..stem].escape_debug())
        }
        _ => format!("its ending is not {MODULE}, .wasm.sha256 or {PROPERTIES}"),
    }
}

/// Whether a WebAssembly binary ends within a section, as a copy in progress does. Anything else is whole: what is
/// wrong with it, admission says.
#[must_use]
pub fn is_cut_short(wasm: &[u8]) -> bool {
    const HEADER: &[u8] = b"\0asm";
    const HEADER_BYTES: usize = 8;
    if wasm.len() < HEADER_BYTES {
        return HEADER.starts_with(&wasm[..wasm.len().min(HEADER.len())]);
    }
    if !wasm.starts_with(HEADER) {
        return false;
    }
    let mut rest = &wasm[HEADER_BYTES..];
    while let Some((_id, size)) = rest.split_first() {
        match section(size) {
            Some(after) => rest = after,
            None => return true,
        }
    }
    false
}

/// What follows a section, given what follows its id: a size in LEB128, then so many bytes. `None`: too few bytes.
fn section(bytes: &[u8]) -> Option<&[u8]> {
    const SIZE_BYTES_MAX: usize = 5;
    let mut size = 0u64;
    for (index, byte) in bytes.iter().take(SIZE_BYTES_MAX).enumerate() {
        size |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1 + usize::try_from(size).ok()?..);
        }
    }
    // A size that is too long is damage, and not for us to tell.
    if bytes.len() < SIZE_BYTES_MAX { None } else { Some(&[]) }
}

impl TaskDir {
    /// Takes in one event and returns what to do now.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        match event {
            Event::Listed(listing) => self.listed(now, listing),
            Event::Read { file, stamp, reading } => {
                let module = file.strip_suffix(PROPERTIES).map(|of| format!("{of}{MODULE}"));
                let mut actions: Vec<Action> = self.read(now, file, stamp, reading).into_iter().collect();
                if !actions.is_empty() {
                    // It may have waited for these properties.
                    actions.extend(module.and_then(|module| self.begin_reading(now, &module)));
                }
                actions
            }
        }
    }

    /// Whether every file that was there at the last look has been taken as it was.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_known && self.files.values().all(|file| file.gone_since.is_some() || file.taken == Some(file.seen))
    }

    /// A file as the last look at it found it; `None` when it is not there.
    #[must_use]
    pub fn seen(&self, file: &str) -> Option<Stamp> {
        self.files.get(file).filter(|file| file.gone_since.is_none()).map(|file| file.seen)
    }

    /// Files whose reading takes too long, and since when.
    pub fn slow(&self, now: Millis) -> impl Iterator<Item = (&str, Millis)> {
        let since = move |file: &File| file.reading_since.filter(|since| now >= since + SLOW_AFTER);
        self.files.iter().filter_map(move |(name, file)| Some((name.as_str(), since(file)?)))
    }

    fn listed(&mut self, now: Millis, listing: BTreeMap<String, Stamp>) -> Vec<Action> {
        for (name, file) in &mut self.files {
            if !listing.contains_key(name) {
                file.gone_since.get_or_insert(now);
            }
        }
        for (name, stamp) in listing {
            // What was there long before the first look has rested; a file that comes later may have an old date.
            let since = if self.is_known { now } else { now.min(stamp.modified_millis()) };
            let file = self.files.entry(name).or_insert_with(|| File::new(since, stamp));
            file.see(now, stamp);
        }
        self.is_known = true;
        let mut actions: Vec<Action> = self.missed(now).into_iter().map(Action::Removed).collect();
        let names: Vec<String> = self.files.keys().cloned().collect();
        actions.extend(names.iter().filter_map(|name| self.begin_reading(now, name)));
        actions
    }

    /// Reads a file if it is time.
    fn begin_reading(&mut self, now: Millis, name: &str) -> Option<Action> {
        if !self.is_ready(now, name) {
            return None;
        }
        self.files.get_mut(name)?.reading_since = Some(now);
        Some(Action::Read(name.to_owned()))
    }

    /// Forgets what is gone for good; what of it had been told, modules before their properties.
    fn missed(&mut self, now: Millis) -> Vec<String> {
        let is_missed = |file: &File| file.gone_since.is_some_and(|since| now >= since + MISSED_AFTER);
        // Gone, though not for long enough: its properties went with it.
        let is_going =
            |module: &String| self.files.get(module).is_some_and(|it| it.gone_since.is_some() && !is_missed(it));
        let missed = self.files.iter().filter(|(name, file)| {
            is_missed(file) && !name.strip_suffix(PROPERTIES).is_some_and(|of| is_going(&format!("{of}{MODULE}")))
        });
        let mut missed: Vec<String> = missed.map(|(name, _)| name.clone()).collect();
        missed.sort_by_key(|name| name.ends_with(PROPERTIES));
        missed.retain(|name| self.files.remove(name).is_some_and(|file| file.taken.is_some()));
        missed
    }

    /// Whether it is time to read a file: not a module before the properties beside it, unless they never come to rest.
    fn is_ready(&self, now: Millis, name: &str) -> bool {
        let Some(file) = self.files.get(name).filter(|file| file.is_ready(now)) else { return false };
        let properties = name.strip_suffix(MODULE).and_then(|of| self.files.get(&format!("{of}{PROPERTIES}")));
        let is_half = properties.is_some_and(|it| it.gone_since.is_none() && it.taken != Some(it.seen));
        !is_half || now >= file.read_at + PATIENCE
    }

    fn read(&mut self, now: Millis, name: String, stamp: Option<Stamp>, reading: Reading) -> Option<Action> {
        let file = self.files.get_mut(&name)?;
        file.reading_since = None;
        // Gone: the listings will tell.
        let stamp = stamp?;
        if stamp != file.seen {
            file.see(now, stamp);
            return None;
        }
        let rested = now.saturating_sub(file.since);
        if reading != Reading::Whole && rested < PATIENCE {
            // As long again as it has rested: soon at first, seldom later, and once when patience ends.
            file.read_at = now + rested.clamp(QUIET, PATIENCE - rested);
            return None;
        }
        let was_unreadable = std::mem::replace(&mut file.is_unreadable, reading == Reading::Unreadable);
        if file.is_unreadable {
            file.read_at = now + READ_AGAIN_AFTER;
        }
        let is_known = file.taken.replace(stamp) == Some(stamp) && was_unreadable && file.is_unreadable;
        (!is_known).then_some(Action::Changed(name))
    }
}

impl File {
    fn new(since: Millis, seen: Stamp) -> Self {
        Self {
            seen,
            since,
            taken: None,
            reading_since: None,
            is_unreadable: false,
            read_at: since + QUIET,
            gone_since: None,
        }
    }

    fn see(&mut self, now: Millis, stamp: Stamp) {
        self.gone_since = None;
        if self.seen != stamp {
            self.seen = stamp;
            self.since = now;
            self.read_at = now + QUIET;
        }
    }

    fn is_ready(&self, now: Millis) -> bool {
        let is_due = self.is_unreadable || self.taken != Some(self.seen);
        self.reading_since.is_none() && self.gone_since.is_none() && is_due && now >= self.read_at
    }
}

#[cfg(test)]
mod tests;
