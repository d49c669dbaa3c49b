//! A list's text at rest: as it was at one moment, unpacked, its files one after the other. A short one is held, a long one
//! lies in a scratch file or in the store. It is read piece by piece, by several at once.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::verify::hex;
use crate::daemon::{background, spool};

/// Octets of a text that is held. Chosen: most lists of the world.
const HELD_MAX: usize = 1 << 20;
/// Octets that are taken in at a time; between two such places lines are counted from anew.
const CHUNK: usize = 1 << 18;

/// Nobody changes it any more.
#[derive(Debug)]
pub struct Text {
    place: Place,
    pub octets: u64,
    pub sha256: String,
    pub parts: Vec<Part>,
    /// It is of several files, or may be: its parts have names.
    pub is_group: bool,
}

#[derive(Debug)]
enum Place {
    Held(Vec<u8>),
    File(File),
}

/// The text of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path, as shown to people; empty for a list of one file.
    pub name: String,
    /// Where it begins and ends in the text.
    pub start: u64,
    pub end: u64,
    /// Where lines begin, every now and then, and how many of the part are before.
    pub marks: Vec<(u64, u32)>,
}

impl Text {
    /// The octets from `at` on.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match &self.place {
            Place::Held(octets) => {
                let from = usize::try_from(at).ok().and_then(|at| octets.get(at..at.checked_add(into.len())?));
                into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Place::File(file) => file.read_exact_at(into, at),
        }
    }

    /// All octets from `start` to `end`.
    pub fn octets_of(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        self.read_at(start, &mut octets)?;
        Ok(octets)
    }

    /// Gives `each` all octets in order.
    pub fn for_each_chunk(&self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        for at in (0..self.octets).step_by(CHUNK) {
            let count = (self.octets - at).min(CHUNK as u64) as usize;
            self.read_at(at, &mut chunk[..count])?;
            each(&chunk[..count])?;
        }
        Ok(())
    }

    /// Of one file that is here already.
    pub fn of(octets: &[u8], scratch: &Path) -> io::Result<Text> {
        let mut writer = Writer::new(scratch);
        writer.part(String::new(), &mut &octets[..])?;
        Ok(writer.finish(false))
    }

    /// Of a file in the store, whose parts are so long.
    pub fn stored(mut file: File, parts: &[(String, u64)]) -> io::Result<Text> {
        let mut writer = Writer { place: Place::Held(Vec::new()), is_kept: true, ..Writer::new(Path::new("")) };
        let octets = file.metadata()?.len();
        match parts {
            [] => writer.part(String::new(), &mut (&mut file).take(octets))?,
            parts => {
                for (name, octets) in parts {
                    writer.part(name.clone(), &mut (&mut file).take(*octets))?;
                }
                // What no part names must not be hidden from the sum.
                writer.part(String::new(), &mut file)?;
                if writer.parts.pop().is_some_and(|rest| rest.start < rest.end) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
                }
            }
        }
        writer.place = Place::File(file);
        Ok(writer.finish(!parts.is_empty()))
    }
}

/// Takes a text in.
pub struct Writer<'a> {
    scratch: &'a Path,
    place: Place,
    /// The octets are where they stay.
    is_kept: bool,
    octets: u64,
    sum: Context,
    parts: Vec<Part>,
}

/// A place between two parts.
pub struct Mark {
    octets: u64,
    sum: Context,
    parts: usize,
}

impl<'a> Writer<'a> {
    /// What is long goes to a file in `scratch`, if there can be one.
    pub fn new(scratch: &'a Path) -> Writer<'a> {
        let sum = Context::new(&SHA256);
        Writer { scratch, place: Place::Held(Vec::new()), is_kept: false, octets: 0, sum, parts: Vec::new() }
    }

    /// Where it stands now.
    pub fn here(&self) -> Mark {
        Mark { octets: self.octets, sum: self.sum.clone(), parts: self.parts.len() }
    }

    /// Forgets what was taken in since.
    pub fn back_to(&mut self, mark: &Mark) {
        self.octets = mark.octets;
        self.sum = mark.sum.clone();
        self.parts.truncate(mark.parts);
        if let Place::Held(octets) = &mut self.place {
            octets.truncate(usize::try_from(mark.octets).unwrap_or(0));
        }
    }

    /// Takes the next file in.
    pub fn part(&mut self, name: String, from: &mut dyn Read) -> io::Result<()> {
        let start = self.octets;
        let (mut lines, mut marks) = (0, Vec::new());
        let mut chunk = vec![0; CHUNK];
        let mut last = b'\n';
        loop {
            let count = fill(from, &mut chunk)?;
            let octets = &chunk[..count];
            let Some(&end) = octets.last() else { break };
            last = end;
            if let Some(at) = octets.iter().rposition(|&c| c == b'\n') {
                lines += octets.iter().filter(|&&c| c == b'\n').count() as u32;
                marks.push((self.octets + at as u64 + 1, lines));
            }
            self.take(octets)?;
        }
        if last != b'\n' && !name.is_empty() {
            // So that lines are counted as in the parts.
            self.take(b"\n")?;
        }
        marks.pop_if(|mark| mark.0 == self.octets);
        self.parts.push(Part { name, start, end: self.octets, marks });
        Ok(())
    }

    fn take(&mut self, octets: &[u8]) -> io::Result<()> {
        self.sum.update(octets);
        let at = self.octets;
        self.octets += octets.len() as u64;
        background::make_way_for(self.octets);
        if self.is_kept {
            return Ok(());
        }
        if let Place::Held(held) = &self.place
            && held.len() + octets.len() > HELD_MAX
            && let Ok(file) = spool::nameless(self.scratch)
        {
            file.write_all_at(held, 0)?;
            self.place = Place::File(file);
        }
        match &mut self.place {
            Place::Held(held) => held.extend_from_slice(octets),
            Place::File(file) => file.write_all_at(octets, at)?,
        }
        Ok(())
    }

    pub fn octets(&self) -> u64 {
        self.octets
    }

    pub fn finish(self, is_group: bool) -> Text {
        let Writer { place, octets, sum, parts, .. } = self;
        Text { place, octets, sha256: hex(sum.finish().as_ref()), parts, is_group }
    }
}

/// Reads until `into` is full or there is nothing more.
fn fill(from: &mut dyn Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_the_same_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let line = b"a-name-of-some-length.example\n";
        for count in [0, 1, 20_000, 100_000] {
            let octets = line.repeat(count);
            for scratch in [folder.path(), Path::new("/nonexistent")] {
                let text = Text::of(&octets, scratch).unwrap();
                assert_eq!(text.octets_of(0, text.octets).unwrap(), octets);
                assert_eq!(text.sha256, super::super::verify::sha256_hex(&octets));
                for &(at, lines) in &text.parts[0].marks {
                    assert_eq!(at, u64::from(lines) * line.len() as u64);
                }
                assert_eq!(matches!(text.place, Place::File(_)), count == 100_000 && scratch == folder.path());
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
