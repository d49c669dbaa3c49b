//! Reading the log with a doubtful eye: which line is the first that is not as it was written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{HEAD, Head, Line, NOTHING, PUBLIC_KEY, hash_of, is_signed, line_message};
use crate::engine::limits::{AUDIT_FILE_OCTETS_MAX, AUDIT_LINE_OCTETS_MAX};

/// `,"hash":"` and 64 digits, `","signature":"` and 86 letters, `"}`.
const TAIL_OCTETS: usize = 9 + 64 + 15 + 86 + 2;

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {why}", file.display(), line.map_or(String::new(), |line| format!(":{line}")))]
pub struct Broken {
    pub file: PathBuf,
    /// Counts from 1; `None`: the file as a whole.
    pub line: Option<usize>,
    pub why: String,
}

/// A log that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub files: usize,
    pub lines: usize,
    /// Numbers of its first and last line.
    pub first: u64,
    pub last: u64,
    /// Of the last line.
    pub hash: String,
}

/// What one file comes to.
pub(super) struct Found {
    pub lines: usize,
    pub first: Option<u64>,
    /// Number and hash of its last line.
    pub last: Option<(u64, String)>,
}

/// Files of a log, the oldest first.
pub(super) fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if first_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a directory can be read and holds no log, not even one whose files are gone.
pub fn is_empty(directory: &Path) -> bool {
    files_in(directory).is_ok_and(|files| files.is_empty()) && !directory.join(HEAD).exists()
}

/// The file whose first line has this number.
pub(super) fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("audit-{first:012}.jsonl"))
}

/// The number of a file's first line, by its name; zero without a file.
pub(super) fn last_first(path: Option<&Path>) -> u64 {
    path.and_then(first_of).unwrap_or(0)
}

fn first_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// Verifies a whole log: every file, and the head. `key`: the public key, else the one beside the log.
pub fn verify(directory: &Path, key: Option<&str>) -> Result<Verified, Broken> {
    let whole = |file: &Path, why: String| Broken { file: file.to_owned(), line: None, why };
    let key = public_key(directory, key)?;
    let files = files_in(directory).map_err(|why| whole(directory, why.to_string()))?;
    let (mut lines, mut first, mut before) = (0, None, None::<(u64, String)>);
    for path in &files {
        let found = check(path, &read(path)?, before.as_ref(), &key)?;
        lines += found.lines;
        first = first.or(found.first);
        before = found.last.or(before);
    }
    let head_at = directory.join(HEAD);
    let head = fs::read(&head_at).map_err(|why| whole(&head_at, why.to_string()))?;
    let head: Head = serde_json::from_slice(&head).map_err(|why| whole(&head_at, format!("no head: {why}")))?;
    if !is_signed(&key, &Head::message(head.first, head.last, &head.hash), &head.signature) {
        return Err(whole(&head_at, "its signature is not by this key".into()));
    }
    let (last, hash) = before.unwrap_or((0, NOTHING.to_owned()));
    let end = files.last().map_or(directory, PathBuf::as_path);
    // One line may be there that the head does not tell of: the power went between the two.
    if last < head.last || last > head.last + 1 {
        return Err(whole(end, format!("the head tells of line {} as the last, and here it is {last}", head.last)));
    }
    if last == head.last && hash != head.hash {
        return Err(whole(end, "its last line is not the one that the head tells of".into()));
    }
    let first = first.unwrap_or(head.first);
    if first != head.first {
        return Err(whole(directory, format!("it begins with line {first}, and the head tells of {}", head.first)));
    }
    Ok(Verified { files: files.len(), lines, first, last, hash })
}

/// Verifies one file for itself. A cut at either end is seen with the whole log only.
pub fn verify_file(path: &Path, key: Option<&str>) -> Result<Verified, Broken> {
    let key = public_key(path.parent().unwrap_or(Path::new(".")), key)?;
    let Found { lines, first, last } = check(path, &read(path)?, None, &key)?;
    let (last, hash) = last.unwrap_or((0, NOTHING.to_owned()));
    Ok(Verified { files: 1, lines, first: first.unwrap_or(0), last, hash })
}

/// The last lines of a log, oldest first, as they are: `count` at most. Nothing is verified.
pub fn lines_of(directory: &Path, count: usize) -> Result<Vec<Line>, Broken> {
    let mut lines = Vec::new();
    let files = files_in(directory);
    let files = files.map_err(|why| Broken { file: directory.to_owned(), line: None, why: why.to_string() })?;
    for path in files.iter().rev() {
        let octets = read(path)?;
        let of_file = octets.split(|octet| *octet == b'\n').rev().filter(|line| !line.is_empty());
        lines.extend(of_file.filter_map(|line| serde_json::from_slice(line).ok()).take(count - lines.len()));
        if lines.len() >= count {
            break;
        }
    }
    lines.reverse();
    Ok(lines)
}

fn public_key(directory: &Path, key: Option<&str>) -> Result<String, Broken> {
    match key {
        Some(key) => Ok(key.to_owned()),
        None => {
            let file = directory.join(PUBLIC_KEY);
            fs::read_to_string(&file).map_err(|why| Broken { file, line: None, why: why.to_string() })
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Broken> {
    let bad = |why: String| Broken { file: path.to_owned(), line: None, why };
    let octets = fs::metadata(path).map_err(|why| bad(why.to_string()))?.len();
    if octets > AUDIT_FILE_OCTETS_MAX + AUDIT_LINE_OCTETS_MAX as u64 {
        return Err(bad(format!("{octets} octets, at most {AUDIT_FILE_OCTETS_MAX}: it is no part of an audit log")));
    }
    fs::read(path).map_err(|why| bad(why.to_string()))
}

/// Checks the lines of a file. `before`: number and hash of the line that the first one follows; `None`: nobody knows.
pub(super) fn check(path: &Path, octets: &[u8], before: Option<&(u64, String)>, key: &str) -> Result<Found, Broken> {
    let mut found = Found { lines: 0, first: None, last: None };
    let mut before = before.cloned();
    for (i, line) in octets.split_inclusive(|octet| *octet == b'\n').enumerate() {
        let bad = |why: String| Broken { file: path.to_owned(), line: Some(i + 1), why };
        let (line, hash) = signed_line(line, key).map_err(bad)?;
        if let Some((seq, prev)) = &before {
            if line.seq != seq + 1 {
                return Err(bad(format!(
                    "its number is {}, and it follows {seq}: lines are missing or moved",
                    line.seq
                )));
            }
            if line.prev != *prev {
                return Err(bad(
                    "it does not follow the line before: that one was changed, or others were cut out".into()
                ));
            }
        } else if line.seq == 1 && line.prev != NOTHING {
            return Err(bad("the first line of all follows another".into()));
        }
        if i == 0 && first_of(path).is_some_and(|first| first != line.seq) {
            return Err(bad(format!("its number is {}, and the file's name says another", line.seq)));
        }
        found.lines += 1;
        found.first = found.first.or(Some(line.seq));
        before = Some((line.seq, hash));
        found.last.clone_from(&before);
    }
    Ok(found)
}

/// A line whose hash and signature are good.
fn signed_line(octets: &[u8], key: &str) -> Result<(Line, String), String> {
    let Some(octets) = octets.strip_suffix(b"\n") else { return Err("it is cut off".into()) };
    if octets.len() > AUDIT_LINE_OCTETS_MAX {
        return Err(format!("{} octets, at most {AUDIT_LINE_OCTETS_MAX}", octets.len()));
    }
    let text = std::str::from_utf8(octets).map_err(|_| "it is no UTF-8".to_owned())?;
    let no_line = || "it is no line of an audit log".to_owned();
    let at = text.len().checked_sub(TAIL_OCTETS).filter(|at| text.is_char_boundary(*at)).ok_or_else(no_line)?;
    let (body, tail) = text.split_at(at);
    let hash = tail.strip_prefix(",\"hash\":\"").and_then(|rest| rest.get(..64)).ok_or_else(no_line)?;
    let rest = tail[9 + 64..].strip_prefix("\",\"signature\":\"").ok_or_else(no_line)?;
    let signature = rest.strip_suffix("\"}").ok_or_else(no_line)?;
    if hash_of(body.as_bytes()) != hash {
        return Err("its hash is not that of its octets: it was changed".into());
    }
    if !is_signed(key, &line_message(hash), signature) {
        return Err("its signature is not by this key".into());
    }
    let value: Value = serde_json::from_str(text).map_err(|why| why.to_string())?;
    let line: Line = serde_json::from_value(value).map_err(|why| why.to_string())?;
    Ok((line, hash.to_owned()))
}
