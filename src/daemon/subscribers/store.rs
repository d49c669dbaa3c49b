//! The table on disk: a map of what is, and a log of what changed since, both encrypted and readable by their owner alone.
//!
//! Each file is a head (a mark and sixteen random octets) and frames: a length, a nonce, and what ChaCha20-Poly1305 makes of
//! some records, bound to the file and to the frame's place in it. A last frame that was cut short is what a power cut leaves;
//! anything else that does not fit is damage, and then nothing of it is believed: both files are put aside.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::record::{self, Record};
use crate::config::read_steady;
use crate::daemon::clock;
use crate::engine::limits::SUBSCRIBER_STATE_OCTETS_MAX;
use crate::engine::subscribers::{Change, Table};

const FOLDER: &str = "subscribers";
const MAP: &str = "map";
const LOG: &str = "log";
const MARK: &[u8; 8] = b"lcsub 1\n";
const HEAD_OCTETS: usize = MARK.len() + 16;
const NONCE_OCTETS: usize = 12;
/// Octets of records in a frame of the map.
const FRAME_OCTETS: usize = 64 << 10;
/// A log is merged into the map when it is larger than this, and than the map.
const LOG_OCTETS_MIN: u64 = 1 << 20;

/// The files, open to be written on.
pub struct Store {
    folder: PathBuf,
    key: LessSafeKey,
    log: Log,
    map_octets: u64,
    /// Held as long as this is.
    _lock: File,
}

/// A file that grows.
struct Log {
    file: File,
    id: [u8; 16],
    frames: u64,
    octets: u64,
}

/// What was kept.
pub struct Kept {
    /// `None`: it cannot be written.
    pub store: Option<Store>,
    pub changes: Vec<Change>,
    pub serial: u64,
    /// The name of the fleet's data that this was in step with.
    pub fleet: String,
    pub complaint: Option<String>,
    /// Another process keeps it.
    pub is_busy: bool,
}

impl Store {
    /// Reads what is kept, and begins a new map with it.
    pub fn open(directory: &Path, key: &[u8; 32], table: &Table) -> Kept {
        let folder = directory.join(FOLDER);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length that the cipher wants");
        let key = LessSafeKey::new(key);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        let lock = made.and_then(|()| lock(&folder));
        let is_busy = matches!(lock, Ok(None));
        let (records, mut complaint) = match read_all(&folder, &key, table) {
            Ok(records) => (records, None),
            // Whoever keeps it is just writing; it is read again when that one has ended.
            Err(_) if is_busy => (Vec::new(), None),
            Err(why) => (Vec::new(), Some(put_aside(&folder, &why))),
        };
        let (mut serial, mut fleet) = (0, String::new());
        let mut changes = Vec::new();
        for record in records {
            match record {
                Record::Change(change) => changes.push(change),
                Record::Serial(last) => serial = last,
                Record::Fleet(name) => fleet = name,
            }
        }
        let opened = lock.and_then(|lock| {
            let Some(lock) = lock else { return Ok(None) };
            let log = Log::open(&folder.join(LOG))?;
            let map_octets = fs::metadata(folder.join(MAP)).map_or(0, |about| about.len());
            Ok(Some(Store { folder, key, log, map_octets, _lock: lock }))
        });
        let store = opened
            .inspect_err(|why| {
                let more = format!("subscribers are not kept in {}: {why}", directory.join(FOLDER).display());
                complaint = Some(complaint.take().map_or(more.clone(), |before| format!("{before}; {more}")));
            })
            .ok()
            .flatten();
        Kept { store, changes, serial, fleet, complaint, is_busy }
    }

    /// Writes records down, and merges the log into the map when it is long. Blocks.
    pub fn append(&mut self, records: &[u8], about: (u64, &str), table: &Table) -> io::Result<()> {
        if !records.is_empty() {
            for part in records_in_frames(records) {
                let frame = seal(&self.key, &self.log.id, self.log.frames, part)?;
                self.log.file.write_all(&frame)?;
                self.log.frames += 1;
                self.log.octets += frame.len() as u64;
            }
            self.log.file.sync_data()?;
        }
        if self.log.octets > LOG_OCTETS_MIN.max(self.map_octets) {
            self.merge(about, table)?;
        }
        Ok(())
    }

    /// A new map of what the table holds, then a new log. What changes meanwhile goes into that one: a change that is in the
    /// map already is made twice, to the same end.
    fn merge(&mut self, (serial, fleet): (u64, &str), table: &Table) -> io::Result<()> {
        let (path, beside) = (self.folder.join(MAP), self.folder.join("map.tmp"));
        let mut file = create(&beside)?;
        let id = random()?;
        file.write_all(&head(&id))?;
        let (mut frames, mut records) = (0, Vec::with_capacity(FRAME_OCTETS + 512));
        let mut failed = None;
        record::write_serial(serial, &mut records);
        record::write_fleet(fleet, &mut records);
        let mut change = |change: &Change| {
            record::write(change, table, &mut records);
            if records.len() >= FRAME_OCTETS && failed.is_none() {
                let written = seal(&self.key, &id, frames, &records).and_then(|frame| file.write_all(&frame));
                failed = written.err();
                records.clear();
                frames += 1;
            }
        };
        table.each_prefix(|key, entry| change(&Change::Put(key, entry)));
        table.each_token(|token, state| {
            if state.chosen.is_some() {
                change(&Change::Choose(token, state.chosen));
            }
            if state.session.is_some() {
                change(&Change::Say(token, state.session));
            }
        });
        if let Some(why) = failed {
            return Err(why);
        }
        file.write_all(&seal(&self.key, &id, frames, &records)?)?;
        // A map has an end, so that one that was cut short is known.
        file.write_all(&seal(&self.key, &id, frames + 1, &[])?)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        self.log = Log::create(&self.folder.join(LOG))?;
        self.map_octets = fs::metadata(&path)?.len();
        File::open(&self.folder)?.sync_all()
    }
}

/// `None`: another process has it.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = create(&folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(why),
    }
}

/// Whether another process keeps the state in a directory.
pub fn is_busy(directory: &Path) -> bool {
    matches!(lock(&directory.join(FOLDER)), Ok(None))
}

impl Log {
    /// The log as it is, to be gone on with; a new one when there is none. A frame that was cut short goes.
    fn open(path: &Path) -> io::Result<Log> {
        let Ok(octets) = fs::read(path) else { return Log::create(path) };
        let Some((id, frames)) = frames_of(&octets) else { return Log::create(path) };
        let whole = HEAD_OCTETS + frames.iter().map(|frame| 4 + frame.len()).sum::<usize>();
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(whole as u64)?;
        Ok(Log { file, id, frames: frames.len() as u64, octets: whole as u64 })
    }

    fn create(path: &Path) -> io::Result<Log> {
        let beside = path.with_extension("tmp");
        let (mut file, id) = (create(&beside)?, random()?);
        file.write_all(&head(&id))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(Log { file, id, frames: 0, octets: HEAD_OCTETS as u64 })
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn random() -> io::Result<[u8; 16]> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|why| io::Error::other(why.to_string()))?;
    Ok(octets)
}

fn head(id: &[u8; 16]) -> Vec<u8> {
    [&MARK[..], id].concat()
}

/// What a frame is bound to: its file, and its place there.
fn bound_to(id: &[u8; 16], at: u64) -> Aad<Vec<u8>> {
    Aad::from([&id[..], &at.to_be_bytes()].concat())
}

/// Records in pieces of a frame's size. A frame is opened whole, so it need not end with a record.
fn records_in_frames(records: &[u8]) -> impl Iterator<Item = &[u8]> {
    records.chunks(1 << 20)
}

fn seal(key: &LessSafeKey, id: &[u8; 16], at: u64, records: &[u8]) -> io::Result<Vec<u8>> {
    let mut nonce = [0; NONCE_OCTETS];
    getrandom::fill(&mut nonce).map_err(|why| io::Error::other(why.to_string()))?;
    let mut sealed = records.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(id, at), &mut sealed)
        .map_err(|_| io::Error::other("it cannot be encrypted"))?;
    let length = (NONCE_OCTETS + sealed.len()) as u32;
    Ok([&length.to_be_bytes()[..], &nonce, &sealed].concat())
}

/// The random octets of a file and its whole frames; `None`: it is no such file.
fn frames_of(octets: &[u8]) -> Option<([u8; 16], Vec<&[u8]>)> {
    let rest = octets.strip_prefix(MARK)?;
    let (id, mut rest) = rest.split_first_chunk::<16>()?;
    let mut frames = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some((frame, next)) = after.split_at_checked(u32::from_be_bytes(*length) as usize) else { break };
        frames.push(frame);
        rest = next;
    }
    Some((*id, frames))
}

/// The records of both files, or why they are not believed.
fn read_all(folder: &Path, key: &LessSafeKey, table: &Table) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    for (name, has_end) in [(MAP, true), (LOG, false)] {
        let octets = match read_steady(&folder.join(name), SUBSCRIBER_STATE_OCTETS_MAX) {
            Ok(octets) => octets,
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => return Err(format!("{name}: {why}")),
        };
        let (id, frames) = frames_of(&octets).ok_or_else(|| format!("{name}: it is no state of subscribers"))?;
        let mut plain = Vec::new();
        let mut ended = false;
        for (at, frame) in frames.iter().enumerate() {
            let opened = open(key, &id, at as u64, frame)
                .ok_or_else(|| format!("{name}: frame {} is damaged, or was written with another key", at + 1))?;
            ended = opened.is_empty();
            plain.extend(opened);
        }
        if has_end && !ended {
            return Err(format!("{name}: its end is missing"));
        }
        records.extend(record::read(&plain, table).ok_or_else(|| format!("{name}: its records cannot be read"))?);
    }
    Ok(records)
}

fn open(key: &LessSafeKey, id: &[u8; 16], at: u64, frame: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = frame.split_first_chunk::<NONCE_OCTETS>()?;
    let mut sealed = sealed.to_vec();
    let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), bound_to(id, at), &mut sealed).ok()?.len();
    sealed.truncate(opened);
    Some(sealed)
}

/// Keeps what is damaged for whoever looks into it, and begins without it.
fn put_aside(folder: &Path, why: &str) -> String {
    let to = folder.join(format!("damaged-{}", clock::unix_secs()));
    let moved = fs::create_dir_all(&to).and_then(|()| {
        let is_there = |name: &&str| folder.join(name).exists();
        [MAP, LOG]
            .iter()
            .filter(|name| is_there(name))
            .try_for_each(|name| fs::rename(folder.join(name), to.join(name)))
    });
    let moved = moved
        .map_or_else(|why| format!("it cannot be put aside: {why}"), |()| format!("put aside as {}", to.display()));
    format!(
        "the state of subscribers in {} is not used: {why}; {moved}; until feeds tell of them, subscribers have the default \
         profile",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::engine::client::{Realm, Token};
    use crate::engine::subscribers::{Entry, Holder, Key, Term, Writer};

    const KEY: [u8; 32] = [7; 32];

    /// Changes that a table went through, written down as they were made.
    fn put(store: &mut Store, writer: &mut Writer, changes: &[Change]) {
        let table = writer.table().clone();
        let mut records = Vec::new();
        for change in changes {
            writer.apply(change).unwrap();
            record::write(change, &table, &mut records);
        }
        store.append(&records, (5, "f"), &table).unwrap();
    }

    fn change(n: u32, token: u128) -> Change {
        let key = Key::of_net(Realm(0), std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(n)).into());
        Change::Put(key, Entry { holder: Holder::Token(Token(token)), term: Term::default() })
    }

    fn reopen(folder: &Path, key: &[u8; 32]) -> (Kept, Writer) {
        let (table, mut writer) = Table::new((1, 2));
        let kept = Store::open(folder, key, &table);
        kept.changes.iter().for_each(|change| writer.apply(change).unwrap());
        (kept, writer)
    }

    #[test]
    fn what_was_written_is_there_again_after_map_and_log_and_a_power_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, mut writer) = reopen(folder.path(), &KEY);
        let mut store = kept.store.unwrap();
        let name = writer.table().intern("family");
        put(&mut store, &mut writer, &[change(1, 10), change(2, 20), Change::Choose(Token(20), name)]);
        let mut serial = Vec::new();
        record::write_serial(5, &mut serial);
        store.append(&serial, (5, "f"), writer.table()).unwrap();
        drop(store);
        let (kept, again) = reopen(folder.path(), &KEY);
        assert_eq!((kept.serial, kept.complaint, again.counts()), (5, None, writer.counts()));
        let state = again.table().find_token(Token(20)).unwrap();
        assert_eq!(state.chosen.map(|name| again.table().name(name)).as_deref(), Some("family"));
        // Enough to be merged, more than once.
        let mut store = kept.store.unwrap();
        for round in 0..3 {
            let many: Vec<Change> = (0..30_000).map(|n| change(100 + n, u128::from(n % 7) + round)).collect();
            put(&mut store, &mut writer, &many);
            let Change::Put(key, _) = change(100 + round as u32, 0) else { unreachable!() };
            put(&mut store, &mut writer, &[Change::Remove(key)]);
        }
        assert!(store.map_octets > 1 << 20, "{}", store.map_octets);
        let log = folder.path().join("subscribers/log");
        let whole = fs::read(&log).unwrap();
        drop(store);
        let (kept, again) = reopen(folder.path(), &KEY);
        assert_eq!((kept.serial, kept.complaint, again.counts()), (5, None, writer.counts()));
        // The last frame was not written to its end.
        let mut store = kept.store.unwrap();
        put(&mut store, &mut writer, &[change(9_000_000, 1)]);
        let longer = fs::read(&log).unwrap();
        fs::write(&log, &longer[..longer.len() - 3]).unwrap();
        drop(store);
        let (kept, again) = reopen(folder.path(), &KEY);
        assert_eq!((kept.complaint, again.counts().v4 + 1), (None, writer.counts().v4));
        assert_eq!(fs::metadata(&log).unwrap().len(), whole.len() as u64);
    }

    #[test]
    fn what_another_process_keeps_is_read_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, mut writer) = reopen(folder.path(), &KEY);
        let mut store = kept.store.unwrap();
        put(&mut store, &mut writer, &[change(1, 8)]);
        assert!(is_busy(folder.path()));
        let (beside, again) = reopen(folder.path(), &KEY);
        assert_eq!((beside.is_busy, beside.store.is_none(), again.counts().v4), (true, true, 1));
        drop(store);
        assert!(!is_busy(folder.path()));
        assert!(reopen(folder.path(), &KEY).0.store.is_some());
    }

    #[test]
    fn what_is_damaged_is_put_aside_and_nothing_of_it_is_believed() {
        type Damage = (&'static str, fn(&mut Vec<u8>));
        let damage: [Damage; 5] = [
            ("map", |octets| octets[200] ^= 1),
            ("log", |octets| octets[60] ^= 1),
            ("log", |octets| octets[0] ^= 1),
            ("map", |octets| octets.truncate(octets.len() - 10)),
            ("map", |octets| octets.truncate(0)),
        ];
        for (i, (file, damage)) in damage.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let (kept, mut writer) = reopen(folder.path(), &KEY);
            let mut store = kept.store.unwrap();
            put(&mut store, &mut writer, &(0..40_000).map(|n| change(n, 7)).collect::<Vec<_>>());
            put(&mut store, &mut writer, &[change(1, 8)]);
            drop(store);
            let path = folder.path().join("subscribers").join(file);
            let mut octets = fs::read(&path).unwrap();
            damage(&mut octets);
            fs::write(&path, octets).unwrap();
            let (kept, again) = reopen(folder.path(), &KEY);
            let complaint = kept.complaint.unwrap_or_else(|| panic!("{i}: {file}"));
            assert!(complaint.contains("put aside as") && complaint.contains("default profile"), "{complaint}");
            assert_eq!((again.counts().v4, kept.serial, kept.store.is_some()), (0, 0, true), "{i}: {file}");
            let aside = fs::read_dir(folder.path().join("subscribers"))
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("damaged-"));
            assert_eq!(aside.count(), 1);
        }
        let folder = tempfile::tempdir().unwrap();
        let (kept, mut writer) = reopen(folder.path(), &KEY);
        put(&mut kept.store.unwrap(), &mut writer, &[change(1, 8)]);
        let (kept, _) = reopen(folder.path(), &[8; 32]);
        assert!(kept.complaint.unwrap().contains("another key"));
    }

    #[test]
    fn files_are_the_owners_alone_and_hold_nothing_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, mut writer) = reopen(folder.path(), &KEY);
        let mut store = kept.store.unwrap();
        let name = writer.table().intern("unfiltered-profile");
        let mut changes = vec![Change::Choose(Token(0x1122_3344_5566_7788), name)];
        changes.extend((0..40_000_u32).map(|n| change(0x0a01_0203, u128::from(n))));
        put(&mut store, &mut writer, &changes);
        for file in ["map", "log"] {
            let path = folder.path().join("subscribers").join(file);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let octets = fs::read(&path).unwrap();
            let has = |word: &[u8]| octets.windows(word.len()).any(|window| window == word);
            assert!(!has(b"unfiltered") && !has(&[0x0a, 1, 2, 3, 0]) && !has(&0x1122_3344_5566_7788_u64.to_be_bytes()));
            let digits = |window: &[u8]| window.iter().all(u8::is_ascii_digit);
            assert!(!octets.windows(12).any(digits), "twelve digits in a row");
        }
    }
}
