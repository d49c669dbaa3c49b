//! Scratch files: what a load needs for a while and memory should not hold — texts, sorted rules, the index that grows.
//!
//! They are private and have no name, or lose it when nobody needs them any more; what is in them is read by calls, never
//! through a map, so that it costs no memory of ours.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::daemon::mapped;
use crate::engine::matcher::Octets;
use crate::engine::matcher::room::{Growing, Heap, Lost, Put, Room};

/// Octets that are collected before they are written.
const WRITE_OCTETS: usize = 1 << 18;

/// The end of the names of files that nobody needs after a crash.
pub const LEFT_OVER: &str = "spool";

/// A new file in `directory` under a name of its own.
fn create(directory: &Path) -> io::Result<(File, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!(".{}-{number}.{LEFT_OVER}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    Ok((file, path))
}

/// A new file without a name.
pub fn nameless(directory: &Path) -> io::Result<File> {
    let (file, path) = create(directory)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Removes what a crash left.
pub fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some(LEFT_OVER.as_ref()))
    {
        let _ = fs::remove_file(path);
    }
}

/// The files of one load.
#[derive(Debug)]
pub struct Spool {
    /// Of sorted rules; made when the first come.
    runs: Mutex<Option<(Arc<File>, u64)>>,
    scratch: PathBuf,
    /// Where what is served lies; `None`: on the heap.
    served_in: Option<PathBuf>,
    /// Octets before what is served, for whoever makes a whole file of it.
    head: u64,
    served: Mutex<Option<Served>>,
}

/// A file from which octets are served.
#[derive(Debug)]
pub struct Served {
    pub file: Arc<File>,
    pub name: Name,
    /// Octets that are served.
    pub octets: u64,
}

/// A file's name, which goes when this does.
#[derive(Debug)]
pub struct Name(PathBuf);

impl Name {
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.0, to)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // It may have another name by now.
        let _ = fs::remove_file(&self.0);
    }
}

impl Spool {
    pub fn new(scratch: PathBuf, served_in: Option<PathBuf>, head: usize) -> Arc<Spool> {
        Arc::new(Spool { runs: Mutex::default(), scratch, served_in, head: head as u64, served: Mutex::default() })
    }

    /// The file of what was made last.
    pub fn take_served(&self) -> Option<Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Room in a spool.
#[derive(Debug)]
pub struct SpoolRoom(pub Arc<Spool>);

impl Room for SpoolRoom {
    fn put(&self, octets: &[u8]) -> Result<Box<dyn Put>, Lost> {
        let (file, at) = {
            let mut runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
            let (file, end) = match &mut *runs {
                Some(runs) => runs,
                none => none.insert((Arc::new(nameless(&self.0.scratch).map_err(lost)?), 0)),
            };
            let at = *end;
            *end += octets.len() as u64;
            (Arc::clone(file), at)
        };
        file.write_all_at(octets, at).map_err(lost)?;
        Ok(Box::new(Away { file, at }))
    }

    fn open(&self) -> Result<Box<dyn Growing>, Lost> {
        let Some(directory) = &self.0.served_in else { return Ok(Box::<Heap>::default()) };
        let (file, path) = create(directory).map_err(lost)?;
        let (file, name) = (Arc::new(file), Name(path));
        Ok(Box::new(Written { file, name, spool: Arc::clone(&self.0), written: 0, waiting: Vec::new() }))
    }
}

/// Octets in a file.
#[derive(Debug)]
struct Away {
    file: Arc<File>,
    at: u64,
}

impl Put for Away {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Lost> {
        self.file.read_exact_at(into, self.at + at).map_err(lost)
    }
}

/// A file that grows.
#[derive(Debug)]
struct Written {
    file: Arc<File>,
    name: Name,
    spool: Arc<Spool>,
    /// Octets in the file, behind the head.
    written: u64,
    waiting: Vec<u8>,
}

impl Written {
    fn flush(&mut self) -> Result<(), Lost> {
        self.file.write_all_at(&self.waiting, self.spool.head + self.written).map_err(lost)?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl Put for Written {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Lost> {
        let written = usize::try_from(self.written.saturating_sub(at)).unwrap_or(usize::MAX).min(into.len());
        let (from_file, from_waiting) = into.split_at_mut(written);
        self.file.read_exact_at(from_file, self.spool.head + at).map_err(lost)?;
        if from_waiting.is_empty() {
            return Ok(());
        }
        let start = (at + written as u64 - self.written) as usize;
        let waiting = self.waiting.get(start..start + from_waiting.len());
        from_waiting.copy_from_slice(waiting.ok_or_else(|| Lost("it is read behind its end".to_owned()))?);
        Ok(())
    }
}

impl Growing for Written {
    fn append(&mut self, octets: &[u8]) -> Result<(), Lost> {
        self.waiting.extend_from_slice(octets);
        if self.waiting.len() >= WRITE_OCTETS { self.flush() } else { Ok(()) }
    }

    fn write(&mut self, at: u64, octets: &[u8]) -> Result<(), Lost> {
        self.flush()?;
        self.file.write_all_at(octets, self.spool.head + at).map_err(lost)
    }

    fn octets(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    fn serve(mut self: Box<Self>) -> Result<Box<dyn Octets>, Lost> {
        self.flush()?;
        let Written { file, name, spool, written, .. } = *self;
        let map = mapped::map_part(&file, spool.head, written).map_err(lost)?;
        *spool.served.lock().unwrap_or_else(PoisonError::into_inner) = Some(Served { file, name, octets: written });
        Ok(Box::new(map))
    }
}

fn lost(why: io::Error) -> Lost {
    Lost(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_down_is_read_again_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let left = || fs::read_dir(folder.path()).unwrap().count();
        let spool = Spool::new(folder.path().into(), Some(folder.path().into()), 100);
        let room = SpoolRoom(Arc::clone(&spool));
        let (one, two) = (room.put(b"one").unwrap(), room.put(b"twofold").unwrap());
        let mut octets = [0; 3];
        for (put, at, want) in [(&one, 0, b"one"), (&two, 0, b"two"), (&two, 4, b"old")] {
            put.read(at, &mut octets).unwrap();
            assert_eq!(&octets, want);
        }
        assert!(two.read(5, &mut octets).is_err());
        assert_eq!(left(), 0);

        let mut growing = room.open().unwrap();
        let half = vec![7; WRITE_OCTETS - 1];
        for octets in [&half[..], &half, b"end"] {
            growing.append(octets).unwrap();
        }
        growing.read(growing.octets() - 3, &mut octets).unwrap();
        assert_eq!(&octets, b"end");
        growing.write(1, b"abc").unwrap();
        let len = growing.octets() as usize;
        let served = growing.serve().unwrap();
        let all = (*served).as_ref();
        assert_eq!((all.len(), &all[..5], &all[len - 3..]), (len, &b"\x07abc\x07"[..], &b"end"[..]));
        assert_eq!(left(), 1, "whoever keeps it gives it its name");
        drop(spool.take_served());
        assert_eq!(left(), 0);
        drop(room.open().unwrap());
        assert_eq!(left(), 0);
    }
}
