//! Compiled files: read, summed, copied into the state directory and mapped; and the daemon's own, from which it starts
//! again without reading a list.
//!
//! What is mapped is always a private copy, and its sum is taken by reading. Without a state directory a compiled file is
//! read to the heap.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::built_in;
use crate::config::{Version, read_steady};
use crate::daemon::background;
use crate::daemon::gates::Gates;
use crate::daemon::mapped;
use crate::daemon::sources::{Lines, source_text};
use crate::daemon::spool::{self, Served, Spool};
use crate::engine::compile::{CompiledSettings, ListSettings, ListSource};
use crate::engine::compiled::{self, Compiled, CompiledList, Encoded, Sum};
use crate::engine::limits::COMPILED_FILE_OCTETS_MAX;
use crate::engine::list::ListReport;
use crate::engine::matcher::{Layer, Octets};

/// The lists that were read as text, compiled.
const TEXTS: &str = "texts.lachan";
/// Octets read at a time.
const CHUNK: usize = 1 << 18;

/// Compiled files in use, and where copies of them are kept.
#[derive(Debug, Default)]
pub struct Artefacts {
    /// `compiled` in the state directory.
    directory: Option<PathBuf>,
    /// The last good version of each, by the name of its table.
    known: HashMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    path: PathBuf,
    version: Version,
    compiled: Arc<Compiled>,
    /// The name of the copy.
    copy: Option<PathBuf>,
}

/// What became of a configured compiled file.
#[derive(Debug)]
pub struct Taken {
    /// The lists; the last good version's when `error` is there.
    pub compiled: Option<Arc<Compiled>>,
    pub error: Option<String>,
}

impl Artefacts {
    /// Keeps copies in a state directory from now on.
    ///
    /// # Errors
    /// A sentence for the operator: why it cannot be written.
    pub fn keep_in(&mut self, state_directory: &Path) -> Result<(), String> {
        let directory = state_directory.join("compiled");
        let told = |why: io::Error| format!("{}: {why}", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(told)?;
        // Whether it can be written to is seen by writing.
        let probe = directory.join(".probe");
        private_file(&probe).and_then(|_| fs::remove_file(&probe)).map_err(told)?;
        spool::sweep(&directory);
        self.directory = Some(directory);
        Ok(())
    }

    pub fn is_keeping(&self) -> bool {
        self.directory.is_some()
    }

    /// The lists of a compiled file as it is now. A file of the version that is known is not read again. `version` is of
    /// before this call.
    pub fn take(&mut self, settings: &CompiledSettings, version: Version) -> Taken {
        let known = self.known.get(&settings.name).cloned();
        if let Some(known) = known.as_ref().filter(|k| k.path == settings.file && k.version == version) {
            return Taken { compiled: Some(Arc::clone(&known.compiled)), error: None };
        }
        match self.read(&settings.file) {
            Ok((compiled, copy)) => {
                let compiled = Arc::new(compiled);
                let known = Known { path: settings.file.clone(), version, compiled: Arc::clone(&compiled), copy };
                self.known.insert(settings.name.clone(), known);
                Taken { compiled: Some(compiled), error: None }
            }
            Err(why) => Taken { compiled: known.map(|known| known.compiled), error: Some(why) },
        }
    }

    fn read(&self, path: &Path) -> Result<(Compiled, Option<PathBuf>), String> {
        background::make_way_for(fs::metadata(path).map_or(0, |meta| meta.len()));
        let Some(directory) = &self.directory else {
            let octets = read_steady(path, COMPILED_FILE_OCTETS_MAX).map_err(|why| why.to_string())?;
            let mut sum = Sum::default();
            sum.update(&octets);
            sum.finish().map_err(|why| why.to_string())?;
            return Ok((compiled::open(Arc::new(octets)).map_err(|why| why.to_string())?, None));
        };
        let (sum, _) = summed(&mut open_file(path)?, |_| Ok(()))?;
        let copy = directory.join(format!("{}.lachan", hex(&sum)));
        let is_there = File::open(&copy).ok().and_then(|mut file| summed(&mut file, |_| Ok(())).ok());
        if is_there.is_none_or(|(there, _)| there != sum) {
            copy_file(path, &copy, &sum)?;
        }
        let file = File::open(&copy).map_err(|why| format!("{}: {why}", copy.display()))?;
        let opened = compiled::open(map(&file)?).map_err(|why| why.to_string())?;
        Ok((opened, Some(copy)))
    }

    /// The lists of the text that the last run left, if it was of the same settings and files: `key`.
    pub fn kept_texts(&self, key: &str) -> Option<Compiled> {
        let mut file = File::open(self.directory.as_ref()?.join(TEXTS)).ok()?;
        let opened = summed(&mut file, |_| Ok(())).and_then(|_| {
            let opened = compiled::open(map(&file)?).map_err(|why| why.to_string())?;
            Ok(opened)
        });
        match opened {
            Ok(opened) => (opened.key == key).then_some(opened),
            Err(why) => {
                tracing::warn!("what the last run compiled is of no use ({why}); the lists are read again");
                None
            }
        }
    }

    /// Keeps a layer for the next start, and gives it back as it lies in its file: mapped, it is memory that the system may
    /// take. `made` is the file in which its names were made, [`compiled::NAMES_AT`] octets behind its beginning. `None`:
    /// nothing is kept.
    pub fn keep_texts(
        &self,
        layer: &Layer,
        lists: &[CompiledList],
        key: &str,
        made: Option<Served>,
    ) -> Option<Arc<Layer>> {
        let path = self.directory.as_ref()?.join(TEXTS);
        let is_of_it = |made: &Served| made.octets == layer.names.as_octets().len() as u64;
        // Not synced: after a loss of power its sum is wrong, and the lists are read.
        let kept = match made.filter(is_of_it) {
            Some(made) => finish_made(&path, made, layer, lists, key),
            None => compiled::encode(layer, lists, key)
                .map_err(io::Error::other)
                .and_then(|encoded| write_beside(&path, 0o600, false, |file| write_encoded(file, &encoded))),
        };
        let opened = kept
            .map_err(|why| why.to_string())
            .and_then(|file| compiled::open(map(&file)?).map_err(|why| why.to_string()));
        match opened {
            Ok(opened) => Some(opened.layer),
            Err(why) => {
                tracing::warn!("{}: the compiled lists are not kept for the next start: {why}", path.display());
                None
            }
        }
    }

    /// Room for one load; what is served from it lies where [`Artefacts::keep_texts`] can take it.
    pub fn spool(&self, scratch: &Path) -> Arc<Spool> {
        Spool::new(scratch.to_owned(), self.directory.clone(), compiled::NAMES_AT)
    }

    /// Forgets files that left the configuration, and removes copies that nothing is served from any more.
    pub fn keep_only(&mut self, settings: &[CompiledSettings]) {
        self.known.retain(|name, _| settings.iter().any(|settings| &settings.name == name));
        let Some(directory) = &self.directory else { return };
        let used: HashSet<PathBuf> = self.known.values().filter_map(|known| known.copy.clone()).collect();
        let Ok(entries) = fs::read_dir(directory) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_copy = path.file_stem().is_some_and(|stem| stem.len() == 64) && path.extension().is_some();
            if is_copy && !used.contains(&path) {
                // What is still mapped stays until it is let go.
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Writes a compiled file for others to read: whole or not at all.
pub fn write(path: &Path, encoded: &Encoded<'_>) -> io::Result<()> {
    let file = write_beside(path, 0o644, true, |file| write_encoded(file, encoded))?;
    drop(file);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// What decides whether lists that were compiled once are still what would be compiled now. `None`: the lines of one of
/// them are nowhere to be seen again.
pub fn key_of(lists: &[ListSettings], lines: &HashMap<String, Lines>, gates: &Gates) -> Option<String> {
    let mut sum = Sha256::new().chain_update(concat!(env!("CARGO_PKG_VERSION"), "/"));
    for ListSettings { name, options, source, obey_public_suffixes, block_keywords, .. } in lists {
        let version = match (source, lines.get(name)?) {
            (ListSource::BuiltIn(list), Lines::BuiltIn) => {
                hex(&Sha256::digest(built_in::starter_list(list).unwrap_or_default()))
            }
            (_, Lines::Files(version)) => format!("{version:?}"),
            // Its name is the sum of what is in it.
            (_, Lines::Stored(path)) => format!("{path:?}"),
            (_, Lines::Gone | Lines::BuiltIn) => return None,
        };
        let source = source_text(source);
        sum.update(format!("{name:?} {source:?} {options:?} {obey_public_suffixes} {block_keywords:?} {version}"));
        let left_out = gates.of(name).left_out.map(|left_out| left_out.rules);
        sum.update(format!(" {left_out:?}\n"));
    }
    Some(hex(&sum.finalize()))
}

/// What the files of a list were when it was read, in the order of its parts; none unless all of them are known.
pub fn part_versions(report: &ListReport, files: &BTreeMap<PathBuf, Version>) -> Vec<(u64, i64, i64)> {
    let version_of = |name: &str| files.get(Path::new(name))?.of_content();
    report.parts.iter().map(|part| version_of(&part.name)).collect::<Option<_>>().unwrap_or_default()
}

/// Where the lines of a list of a compiled file are: in its files, as long as they are what was compiled.
pub fn lines_of(list: &CompiledList) -> Lines {
    let ListSource::File(path) = list.list_source() else { return Lines::Gone };
    let now_if = |path: &Path, was: Option<(u64, i64, i64)>| {
        let now = Version::of_file(path);
        if was.is_some() && now.of_content() == was { now } else { Version::Absent }
    };
    let parts = &list.report.parts;
    if parts.is_empty() {
        return Lines::Files(now_if(&path, list.file_version));
    }
    let was = |i: usize| list.part_versions.get(i).copied();
    let files = parts.iter().enumerate().map(|(i, part)| {
        let path = PathBuf::from(&part.name);
        let now = now_if(&path, was(i));
        (path, now)
    });
    Lines::Files(Version::Group(Some(files.collect())))
}

/// The sum of a file that is whole and of our format, read in order; every piece is shown to `see`.
fn summed(file: &mut File, mut see: impl FnMut(&[u8]) -> io::Result<()>) -> Result<([u8; 32], u64), String> {
    let mut sum = Sum::default();
    let mut chunk = vec![0; CHUNK];
    let mut octets = 0;
    loop {
        let count = file.read(&mut chunk).map_err(|why| why.to_string())?;
        if count == 0 {
            break;
        }
        octets += count as u64;
        if octets > COMPILED_FILE_OCTETS_MAX {
            return Err(format!("it is over {COMPILED_FILE_OCTETS_MAX} octets"));
        }
        sum.update(&chunk[..count]);
        see(&chunk[..count]).map_err(|why| why.to_string())?;
    }
    Ok((sum.finish().map_err(|why| why.to_string())?, octets))
}

fn open_file(path: &Path) -> Result<File, String> {
    // Before it is opened: opening a pipe waits for somebody to write.
    let kind = fs::metadata(path).map_err(|why| why.to_string())?;
    if !kind.is_file() {
        return Err("it is no file".to_owned());
    }
    File::open(path).map_err(|why| why.to_string())
}

/// Copies a file whose sum must be `sum`.
fn copy_file(path: &Path, copy: &Path, sum: &[u8; 32]) -> Result<(), String> {
    let mut from = open_file(path)?;
    let written = write_beside(copy, 0o600, false, |to| {
        let (copied, _) = summed(&mut from, |chunk| to.write_all(chunk)).map_err(io::Error::other)?;
        if copied == *sum { Ok(()) } else { Err(io::Error::other("it changes while it is being read")) }
    });
    written.map(drop).map_err(|why| format!("it cannot be copied to {}: {why}", copy.display()))
}

fn write_encoded(file: &mut File, encoded: &Encoded<'_>) -> io::Result<()> {
    file.write_all(&encoded.head)?;
    file.write_all(encoded.names)?;
    file.write_all(&encoded.tail)
}

/// Writes beside the place and renames; gives back the file that is there now, to be read.
fn write_beside(
    path: &Path,
    mode: u32,
    sync: bool,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = private_file(&beside).and_then(|mut file| {
        write(&mut file)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if sync {
            file.sync_all()?;
        }
        let file = File::open(&beside)?;
        fs::rename(&beside, path)?;
        Ok(file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Makes a whole compiled file of one that holds the names.
fn finish_made(path: &Path, made: Served, layer: &Layer, lists: &[CompiledList], key: &str) -> io::Result<File> {
    let Served { file, name, octets } = made;
    let mut frame = compiled::frame(layer, lists, key).map_err(io::Error::other)?;
    let names_at = compiled::NAMES_AT as u64;
    file.write_all_at(&frame.tail, names_at + octets)?;
    file.set_len(names_at + octets + frame.tail.len() as u64)?;
    // Read, and not looked at through the map: that would count as memory of ours.
    let mut from = File::open(name.path())?;
    from.seek(SeekFrom::Start(names_at))?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk)? {
            0 => break,
            count => frame.update(&chunk[..count]),
        }
    }
    file.write_all_at(&frame.head(), 0)?;
    name.rename(path)?;
    Ok(from)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn map(file: &File) -> Result<Arc<dyn Octets>, String> {
    mapped::map(file).map_err(|why| format!("it cannot be mapped: {why}"))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests;
