//! Which files make up a configuration, and reading one as it is at one moment.
//!
//! Content is not looked at here.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::versions::Version;

/// The name of a main file, beside which `conf.d` is looked for.
const MAIN_FILE: &str = "lachan.toml";
/// Ends of names that editors and package managers give to what is not, or no longer, a file in use.
const NOT_IN_USE: &[&str] = &[
    "~",
    ".tmp",
    ".new",
    ".part",
    ".partial",
    ".swp",
    ".bak",
    ".orig",
    ".dpkg-old",
    ".dpkg-new",
    ".dpkg-dist",
    ".rpmnew",
    ".rpmsave",
];
/// How often a file that changes under our eyes is read again before we say so. Chosen.
const TRIES_MAX: usize = 5;

/// Where the parts of a configuration stand: beside a `lachan.toml`, and no other main file.
pub(super) fn parts_directory(path: &Path) -> Option<PathBuf> {
    path.file_name().is_some_and(|name| name == MAIN_FILE).then(|| path.with_file_name("conf.d"))
}

/// The `*.toml` of a `conf.d` in the order of their names; none when it is not there.
pub(super) fn parts_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", directory.display()))),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}

/// The files that a list's path stands for, when it is a directory or ends in a pattern; `None` for a single file.
pub fn list_parts(path: &Path) -> Option<io::Result<Vec<PathBuf>>> {
    let name = path.file_name()?.to_str().unwrap_or_default();
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Some(entries(path, None)),
        // A file may have a star in its name.
        Ok(_) => None,
        Err(_) if is_pattern(name) => match glob::Pattern::new(name) {
            Ok(pattern) => Some(entries(path.parent()?, Some(&pattern))),
            Err(why) => Some(Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_string()))),
        },
        Err(_) => None,
    }
}

/// Whether a name is a pattern: `*.txt`, `ads-?.txt`, `[a-m]*`.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// The files in a directory that fit, in the order of their names; no directories, nothing hidden, no leftovers.
fn entries(directory: &Path, pattern: Option<&glob::Pattern>) -> io::Result<Vec<PathBuf>> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(told)? {
        let path = entry.map_err(told)?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let is_left_out = name.starts_with('.') || NOT_IN_USE.iter().any(|end| name.ends_with(end));
        if is_left_out || pattern.is_some_and(|pattern| !pattern.matches(&name)) || path.is_dir() {
            continue;
        }
        parts.push(path);
    }
    parts.sort();
    Ok(parts)
}

/// Reads a whole file of at most `octets_max`. One that changes meanwhile (size, mtime, inode) is read again, so that no
/// half-written text is taken for a whole one.
pub fn read_steady(path: &Path, octets_max: u64) -> io::Result<Vec<u8>> {
    read_steadily(path, octets_max, |from| {
        let mut octets = Vec::new();
        from.read_to_end(&mut octets)?;
        Ok(octets)
    })
}

/// As [`read_steady`] for what `read` makes of the file's octets as they come. What it made of a file that changed
/// meanwhile is thrown away.
pub fn read_steadily<T>(
    path: &Path,
    octets_max: u64,
    mut read: impl FnMut(&mut dyn Read) -> io::Result<T>,
) -> io::Result<T> {
    for _ in 0..TRIES_MAX {
        // Before it is opened: opening a pipe waits for somebody to write.
        let kind = std::fs::metadata(path)?.file_type();
        if kind.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe or a device, not a file"));
        }
        let mut file = std::fs::File::open(path)?;
        let before = file.metadata()?;
        let mut from = file.by_ref().take(octets_max + 1);
        let made = read(&mut from);
        if from.limit() == 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is over {octets_max} octets")));
        }
        // By its path: an editor that renames a new file into place leaves the open one as it was.
        let after = std::fs::metadata(path)?;
        if Version::of(&before) == Version::of(&after) {
            return made;
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "it keeps changing while being read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conf_d_is_looked_for_beside_the_main_file_only() {
        let directory = tempfile::tempdir().unwrap();
        let conf_d = parts_directory(&directory.path().join("lachan.toml")).unwrap();
        assert_eq!(conf_d, directory.path().join("conf.d"));
        assert_eq!(parts_of(&conf_d).unwrap(), [] as [PathBuf; 0]);
        std::fs::create_dir(&conf_d).unwrap();
        for name in ["20-b.toml", "10-a.toml", "readme.txt", ".hidden.toml"] {
            std::fs::write(conf_d.join(name), "").unwrap();
        }
        assert_eq!(parts_of(&conf_d).unwrap(), [conf_d.join("10-a.toml"), conf_d.join("20-b.toml")]);
        assert_eq!(parts_directory(&directory.path().join("other.toml")), None);
    }

    #[test]
    fn a_directory_and_a_pattern_stand_for_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["b.txt", "a.txt", "c.lst", ".hidden.txt", "a.txt~", "d.txt.new", "star*.txt"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::fs::create_dir(at("more.txt")).unwrap();
        for (path, want) in [
            (directory.path().to_owned(), Some(vec!["a.txt", "b.txt", "c.lst", "star*.txt"])),
            (at("*.txt"), Some(vec!["a.txt", "b.txt", "star*.txt"])),
            (at("[ab].txt"), Some(vec!["a.txt", "b.txt"])),
            (at("*.none"), Some(vec![])),
            (at("a.txt"), None),
            (at("star*.txt"), None),
            (at("nothing.txt"), None),
        ] {
            let found = list_parts(&path).map(|parts| parts.unwrap());
            let want = want.map(|names| names.into_iter().map(at).collect::<Vec<_>>());
            assert_eq!(found, want, "{}", path.display());
        }
        assert!(list_parts(&at("no/*.txt")).unwrap().is_err());
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_steady(&file, 5).unwrap(), b"12345");
        assert_eq!(read_steady(&file, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_steady(directory.path(), 5).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read_steady(Path::new("/dev/null"), 5).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read_steady(&directory.path().join("b"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
