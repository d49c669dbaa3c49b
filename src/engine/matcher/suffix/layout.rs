//! The index as flat octets: a header, then sections. Everything is little-endian and counted from the start, so that
//! the same octets serve from the heap and from a mapped file.

use crate::engine::matcher::HashSeed;
use crate::engine::matcher::room::{Growing, Lost};
use crate::engine::matcher::suffix::octets::Reader;
use crate::engine::matcher::suffix::tree::{LEVELS_MAX, Root};

const MAGIC: &[u8; 8] = b"lachanix";
/// Changes with anything that an older program would read wrongly.
const VERSION: u32 = 1;
/// Sections begin at multiples of a memory line.
const ALIGN: usize = 64;

/// A part of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Leaves, then nodes. What queries read is this and the filter.
    Blocks,
    Filter,
    Symbols,
    Standings,
    Kinds,
    Sets,
    /// Where each leaf's places begin; with `Places`, for `explain` and for the next index.
    Starts,
    Places,
}

const SECTIONS: usize = 8;

/// What begins the octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub seed: HashSeed,
    /// Bit `d` is set when some rule's name has `d` labels; a walk asks nothing at the other depths.
    pub depths: u128,
    pub names: u64,
    pub rules: u64,
    pub leaves: u64,
    pub root: Root,
    /// Start and end of each [`Section`].
    pub sections: [(u64, u64); SECTIONS],
}

/// Why octets are no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("it is no compiled index")]
    NoIndex,
    #[error("its format is {0}, not {VERSION}: compile the lists again")]
    Version(u32),
    #[error("it is damaged ({0})")]
    Damaged(&'static str),
}

impl Header {
    /// Octets of a header: a multiple of a memory line.
    pub(super) const OCTETS: usize = 256;

    pub(super) fn to_octets(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(Header::OCTETS);
        header.extend_from_slice(MAGIC);
        let Root { at, len, levels } = self.root;
        for number in [VERSION, at, len, levels] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&self.depths.to_le_bytes());
        let numbers = [self.seed.0, self.seed.1, self.names, self.rules, self.leaves];
        let sections = self.sections.iter().flat_map(|&(start, end)| [start, end]);
        for number in numbers.into_iter().chain(sections) {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.resize(Header::OCTETS, 0);
        header
    }

    pub(super) fn read(octets: &[u8]) -> Result<Header, OpenError> {
        let mut reader = Reader::new(octets.get(..Header::OCTETS).ok_or(OpenError::NoIndex)?);
        let cut = OpenError::Damaged("its header is cut");
        if reader.take(MAGIC.len()) != Some(MAGIC) {
            return Err(OpenError::NoIndex);
        }
        let version = reader.u32().ok_or(cut)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let mut numbers_32 = || reader.u32().ok_or(cut);
        let root = Root { at: numbers_32()?, len: numbers_32()?, levels: numbers_32()? };
        let mut number = || reader.u64().ok_or(cut);
        let depths = u128::from(number()?) | u128::from(number()?) << 64;
        let seed = HashSeed(number()?, number()?);
        let (names, rules, leaves) = (number()?, number()?, number()?);
        // Each takes at least an octet, so sums of such numbers stay numbers.
        if [names, rules, leaves].iter().any(|&count| count > octets.len() as u64) {
            return Err(OpenError::Damaged("it counts more than it holds"));
        }
        let mut sections = [(0, 0); SECTIONS];
        for section in &mut sections {
            *section = (number()?, number()?);
            if section.0 > section.1 || section.1 > octets.len() as u64 {
                return Err(OpenError::Damaged("a section lies outside"));
            }
        }
        if root.levels > LEVELS_MAX {
            return Err(OpenError::Damaged("it has too many levels"));
        }
        Ok(Header { seed, depths, names, rules, leaves, root, sections })
    }

    pub(super) fn range(&self, section: Section) -> std::ops::Range<usize> {
        let (start, end) = self.sections[section as usize];
        start as usize..end as usize
    }
}

/// Puts sections down one behind the other.
pub(super) struct Sections<'a> {
    out: &'a mut dyn Growing,
    start: u64,
    sections: [(u64, u64); SECTIONS],
}

impl<'a> Sections<'a> {
    /// `start` is where the first section began.
    pub(super) fn new(start: usize, out: &'a mut dyn Growing) -> Sections<'a> {
        Sections { out, start: start as u64, sections: [(0, 0); SECTIONS] }
    }

    pub(super) fn put(&mut self, section: Section, octets: &[u8]) -> Result<(), Lost> {
        self.begin()?;
        self.out.append(octets)?;
        self.end(section);
        Ok(())
    }

    /// As [`Sections::put`] with what was put down elsewhere.
    pub(super) fn copy(&mut self, section: Section, from: &dyn Growing) -> Result<(), Lost> {
        self.begin()?;
        let mut chunk = vec![0; COPY_OCTETS];
        for at in (0..from.octets()).step_by(COPY_OCTETS) {
            let count = (from.octets() - at).min(COPY_OCTETS as u64) as usize;
            from.read(at, &mut chunk[..count])?;
            self.out.append(&chunk[..count])?;
        }
        self.end(section);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Lost> {
        let gap = self.out.octets().next_multiple_of(ALIGN as u64) - self.out.octets();
        self.out.append(&[0; ALIGN][..gap as usize])?;
        self.start = self.out.octets();
        Ok(())
    }

    /// The section is what was appended since the last one.
    pub(super) fn end(&mut self, section: Section) {
        self.sections[section as usize] = (self.start, self.out.octets());
    }

    pub(super) fn finish(self) -> [(u64, u64); SECTIONS] {
        self.sections
    }
}

/// Octets that are copied at a time.
const COPY_OCTETS: usize = 1 << 16;
