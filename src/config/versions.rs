//! Which version of a path was read: enough to tell later, without reading, that there is another one.
//!
//! Always taken before the reading, so that a change during it is seen as one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files;

/// A file that was written to less than so long ago, in seconds, may be half a file. Chosen: a slow copy pauses for less.
const SETTLE_SECS: u64 = 2;

/// What a path was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// Not there, or out of reach.
    Absent,
    /// Size, mtime (seconds, nanoseconds), device, inode.
    File(u64, i64, i64, u64, u64),
    /// The names in a `conf.d` that count, sorted; none when it is not there, `None` when it cannot be listed.
    Parts(Option<Vec<OsString>>),
    /// The files of a list that is a directory or a pattern, each with its own version; `None` when it cannot be listed.
    Group(Option<BTreeMap<PathBuf, Version>>),
}

/// Everything that a load looked at.
pub type Versions = BTreeMap<PathBuf, Version>;

impl Version {
    pub fn of_file(path: &Path) -> Version {
        std::fs::metadata(path).map_or(Version::Absent, |meta| Version::of(&meta))
    }

    /// Size, and seconds and nanoseconds of the last change: what is the same for a copy on another machine.
    pub fn of_content(&self) -> Option<(u64, i64, i64)> {
        match self {
            Version::File(size, secs, nanos, ..) => Some((*size, *secs, *nanos)),
            Version::Absent | Version::Parts(_) | Version::Group(_) => None,
        }
    }

    /// The version of what a list's path stands for: one file, or several.
    pub fn of_list(path: &Path) -> Version {
        match files::list_parts(path) {
            None => Version::of_file(path),
            Some(parts) => Version::Group(
                parts.ok().map(|parts| parts.into_iter().map(|part| (part.clone(), Version::of_file(&part))).collect()),
            ),
        }
    }

    pub(super) fn of(meta: &Metadata) -> Version {
        Version::File(meta.len(), meta.mtime(), meta.mtime_nsec(), meta.dev(), meta.ino())
    }

    /// Whether it was last written so long before `now` (seconds since 1970) that its writer has probably ended. A clock
    /// that runs behind the file's says yes.
    pub fn is_settled(&self, now: u64) -> bool {
        match self {
            Version::File(_, written, ..) => {
                u64::try_from(*written).is_ok_and(|at| at > now || now - at >= SETTLE_SECS) || *written < 0
            }
            Version::Group(Some(parts)) => parts.values().all(|part| part.is_settled(now)),
            Version::Absent | Version::Parts(_) | Version::Group(None) => true,
        }
    }

    /// The parts that were found beside a main file.
    pub(super) fn of_parts(parts: &[PathBuf]) -> Version {
        Version::Parts(Some(parts.iter().filter_map(|part| part.file_name()).map(OsString::from).collect()))
    }
}

/// The same paths as they are now.
pub fn look_again(versions: &Versions) -> Versions {
    let now = |path: &Path, before: &Version| match before {
        Version::Absent | Version::File(..) => Version::of_file(path),
        Version::Group(_) => Version::of_list(path),
        Version::Parts(_) => files::parts_of(path).map_or(Version::Parts(None), |parts| Version::of_parts(&parts)),
    };
    versions.iter().map(|(path, before)| (path.clone(), now(path, before))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_is_not_settled() {
        let written = |at: i64| Version::File(1, at, 0, 1, 1);
        for (version, now, want) in [
            (written(100), 100, false),
            (written(100), 101, false),
            (written(100), 102, true),
            (written(101), 100, true),
            (written(-5), 100, true),
            (written(0), 0, false),
            (Version::Absent, 100, true),
            (Version::Parts(None), 100, true),
            (Version::Group(None), 100, true),
            (Version::Group(Some([("a".into(), written(90)), ("b".into(), written(100))].into())), 101, false),
        ] {
            assert_eq!(version.is_settled(now), want, "{version:?} at {now}");
        }
    }
}
