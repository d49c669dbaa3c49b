//! Which files make up a configuration, and reading one as it is at one moment.
//!
//! Content is not looked at here.

use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of a main file, beside which `conf.d` is looked for.
const MAIN_FILE: &str = "lachan.toml";
/// How often a file that changes under our eyes is read again before we say so. Chosen.
const TRIES_MAX: usize = 5;

/// The file itself and, beside a `lachan.toml`, `conf.d/*.toml` in the order of their names.
pub(super) fn all_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![path.to_owned()];
    if path.file_name().is_none_or(|name| name != MAIN_FILE) {
        return Ok(files);
    }
    let directory = path.with_file_name("conf.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", directory.display()))),
    };
    let mut more = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            more.push(path);
        }
    }
    more.sort();
    files.extend(more);
    Ok(files)
}

/// Reads a whole file of at most `octets_max`. One that changes meanwhile (size, mtime, inode) is read again, so that no
/// half-written text is taken for a whole one.
pub fn read_steady(path: &Path, octets_max: u64) -> io::Result<Vec<u8>> {
    for _ in 0..TRIES_MAX {
        let mut file = std::fs::File::open(path)?;
        let before = file.metadata()?;
        if before.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let mut octets = Vec::new();
        file.by_ref().take(octets_max + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > octets_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is over {octets_max} octets")));
        }
        // By its path: an editor that renames a new file into place leaves the open one as it was.
        let after = std::fs::metadata(path)?;
        if stamp(&before) == stamp(&after) {
            return Ok(octets);
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "it keeps changing while being read"))
}

fn stamp(of: &Metadata) -> (u64, u64, u64, i64, i64) {
    (of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conf_d_is_read_beside_the_main_file_only() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("lachan.toml");
        assert_eq!(all_of(&main).unwrap(), std::slice::from_ref(&main));
        std::fs::create_dir(directory.path().join("conf.d")).unwrap();
        for name in ["20-b.toml", "10-a.toml", "readme.txt", ".hidden.toml"] {
            std::fs::write(directory.path().join("conf.d").join(name), "").unwrap();
        }
        let names: Vec<_> = all_of(&main).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["lachan.toml", "10-a.toml", "20-b.toml"]);
        let other = directory.path().join("other.toml");
        assert_eq!(all_of(&other).unwrap(), std::slice::from_ref(&other));
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_steady(&file, 5).unwrap(), b"12345");
        assert_eq!(read_steady(&file, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_steady(directory.path(), 5).is_err());
        assert_eq!(read_steady(&directory.path().join("b"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
