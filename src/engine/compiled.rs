//! The compiled file: lists and their layer of the index as flat octets, to be mapped and served from at once.
//!
//! A header, then sections: the octets of the name table as they serve, what is known of each list (JSON), address rules,
//! special rules (JSON). The header has a sum over all that follows it; whoever opens a file checks it
//! first, by reading ([`Sum`]). A file that was made to be right by its sum may still be anybody's: every number in it is
//! checked or read with bounds, so it may list wrong names and do nothing worse.
//!
//! Reading and mapping files is the daemon's.

mod special;

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::category::Category;
use crate::engine::compile::{ListAbout, ListSource};
use crate::engine::limits::{COMPILED_LISTS_OCTETS_MAX, LABEL_OCTETS_MAX, LISTS_MAX};
use crate::engine::list::{AddressRule, Effect, ListReport, ParseOptions};
use crate::engine::matcher::address::AddressBuilder;
use crate::engine::matcher::suffix::SuffixTable;
use crate::engine::matcher::{self, Layer, Octets, Spared, SparedRule};
use crate::engine::name::Name;
use crate::engine::verdict::ListId;

const MAGIC: &[u8; 8] = b"lachanls";
/// Changes with anything that an older program would read wrongly.
pub const VERSION: u32 = 1;
/// What the sum is over begins here: behind magic, version and the sum itself.
const SUMMED_FROM: usize = 48;
const HEADER_OCTETS: usize = 128;
/// Where the names begin: behind the header, at a multiple of a memory line.
pub const NAMES_AT: usize = HEADER_OCTETS;
const SUM_AT: usize = 16;
const SUM_OCTETS: usize = 32;

/// Parts of the file. The names come first, so that they can be written before anything else is known.
#[derive(Debug, Clone, Copy)]
enum Section {
    Lists,
    Addresses,
    /// Rules that say more than a name or an address (JSON).
    Special,
    Names,
}

const SECTIONS: usize = 4;
const _: () = assert!(SUM_AT + SUM_OCTETS == SUMMED_FROM && SUMMED_FROM + 16 * SECTIONS <= HEADER_OCTETS);

/// Octets of an address rule: list, effect, length of the network, line, address.
const ADDRESS_OCTETS: usize = 24;

/// A list of a compiled file. Its number is its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledList {
    pub name: String,
    pub category: Category,
    /// Path, URL, or `builtin:NAME`.
    pub source: String,
    pub options: ParseOptions,
    /// Rules read, those too that stood on public suffixes.
    pub rules: u32,
    pub report: ListReport,
    pub spared: u32,
    /// Name and line of the first ones.
    pub spared_shown: Vec<(String, u32)>,
    /// What its file was when it was read: size, and seconds and nanoseconds of its last change.
    #[serde(default)]
    pub file_version: Option<(u64, i64, i64)>,
    /// The same of each file of a list that has several, in the order of the report's parts; none when it is not known.
    #[serde(default)]
    pub part_versions: Vec<(u64, i64, i64)>,
    #[serde(default)]
    pub obey_public_suffixes: bool,
    /// Seconds since 1970.
    #[serde(default)]
    pub read_at: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct About<L> {
    lists: L,
    /// What it was made from, for whoever made it to know it again.
    #[serde(default)]
    key: String,
}

/// An opened file.
#[derive(Debug)]
pub struct Compiled {
    pub layer: Arc<Layer>,
    pub lists: Vec<CompiledList>,
    pub key: String,
}

/// A file to be written: three pieces, one behind the other, so that a large table is not copied.
#[derive(Debug)]
pub struct Encoded<'a> {
    pub head: Vec<u8>,
    pub names: &'a [u8],
    pub tail: Vec<u8>,
}

/// What is written around the names, which begin at [`NAMES_AT`].
#[derive(Debug)]
pub struct Frame {
    head: Vec<u8>,
    /// Comes behind the names.
    pub tail: Vec<u8>,
    sum: Sha256,
}

impl Frame {
    /// Takes what is behind the head into the sum, in order: the names, then the tail.
    pub fn update(&mut self, octets: &[u8]) {
        self.sum.update(octets);
    }

    /// The head, once everything behind it is summed.
    pub fn head(self) -> Vec<u8> {
        let Frame { mut head, sum, .. } = self;
        head[SUM_AT..SUMMED_FROM].copy_from_slice(&sum.finalize());
        head
    }
}

/// Why octets are no compiled file, or not a good one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("it is no compiled list file")]
    NotOurs,
    #[error("it is of format {0}, and this program reads {VERSION}: {advice}", advice = if *.0 > VERSION { "update lachan" } else { "compile the lists again" })]
    Version(u32),
    #[error("it is damaged ({0})")]
    Damaged(&'static str),
    #[error("its names: {0}")]
    Names(#[from] matcher::OpenError),
    #[error("its list `{0}`: {1}")]
    List(String, &'static str),
}

/// Makes the file of a layer whose lists are `lists`, in the order of their numbers.
pub fn encode<'a>(layer: &'a Layer, lists: &[CompiledList], key: &str) -> serde_json::Result<Encoded<'a>> {
    let mut frame = frame(layer, lists, key)?;
    let (names, tail) = (layer.names.as_octets(), std::mem::take(&mut frame.tail));
    frame.update(names);
    frame.update(&tail);
    Ok(Encoded { head: frame.head(), names, tail })
}

/// As [`encode`], for who has the names in a file already.
pub fn frame(layer: &Layer, lists: &[CompiledList], key: &str) -> serde_json::Result<Frame> {
    let names_end = NAMES_AT + layer.names.as_octets().len();
    let mut tail = Vec::new();
    let mut ends = [(0, 0); SECTIONS];
    ends[Section::Names as usize] = (NAMES_AT, names_end);
    tail.extend(serde_json::to_vec(&About { lists, key: key.to_owned() })?);
    ends[Section::Lists as usize] = (names_end, names_end + tail.len());
    let start = tail.len();
    for (list, AddressRule { net, effect, line }) in layer.addresses.rules() {
        let address = match net.addr() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        // A network of IPv4 is one inside the mapped addresses.
        let len = if net.addr().is_ipv4() { net.prefix_len() + 96 } else { net.prefix_len() };
        tail.extend_from_slice(&list.0.to_le_bytes());
        tail.extend_from_slice(&[effect_number(effect), len]);
        tail.extend_from_slice(&line.to_le_bytes());
        tail.extend_from_slice(&address.octets());
    }
    ends[Section::Addresses as usize] = (names_end + start, names_end + tail.len());
    let start = tail.len();
    tail.extend(special::encode(layer.special.rules())?);
    ends[Section::Special as usize] = (names_end + start, names_end + tail.len());

    let mut head = vec![0; HEADER_OCTETS];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (i, (start, end)) in ends.into_iter().enumerate() {
        let at = SUMMED_FROM + 16 * i;
        head[at..at + 8].copy_from_slice(&(start as u64).to_le_bytes());
        head[at + 8..at + 16].copy_from_slice(&(end as u64).to_le_bytes());
    }
    let sum = Sha256::new().chain_update(&head[SUMMED_FROM..]);
    Ok(Frame { head, tail, sum })
}

/// Checks a file's sum while it is read in order.
#[derive(Debug, Default)]
pub struct Sum {
    start: Vec<u8>,
    sum: Sha256,
}

impl Sum {
    pub fn update(&mut self, mut octets: &[u8]) {
        if self.start.len() < SUMMED_FROM {
            let taken = octets.len().min(SUMMED_FROM - self.start.len());
            self.start.extend_from_slice(&octets[..taken]);
            octets = &octets[taken..];
        }
        self.sum.update(octets);
    }

    /// The sum of a file that is whole, which tells it from every other one.
    pub fn finish(self) -> Result<[u8; SUM_OCTETS], OpenError> {
        check_start(&self.start)?;
        let sum = <[u8; SUM_OCTETS]>::from(self.sum.finalize());
        if self.start[SUM_AT..] != sum {
            return Err(OpenError::Damaged("its sum is not that of its octets: it is cut short or was changed"));
        }
        Ok(sum)
    }
}

fn check_start(start: &[u8]) -> Result<(), OpenError> {
    if start.len() < SUMMED_FROM || !start.starts_with(MAGIC) {
        return Err(OpenError::NotOurs);
    }
    match start[8..12].try_into().map(u32::from_le_bytes) {
        // Nothing stands there yet, and the sum does not cover it.
        Ok(VERSION) if start[12..SUM_AT] != [0; 4] => Err(OpenError::Damaged("its header")),
        Ok(VERSION) => Ok(()),
        Ok(version) => Err(OpenError::Version(version)),
        Err(_) => Err(OpenError::NotOurs),
    }
}

/// Opens a file whose sum was checked; it serves from `octets` as long as it is used.
pub fn open(octets: Arc<dyn Octets>) -> Result<Compiled, OpenError> {
    let all = (*octets).as_ref();
    let header = all.get(..HEADER_OCTETS).ok_or(OpenError::NotOurs)?;
    check_start(header)?;
    let section = |section: Section| -> Result<Range<usize>, OpenError> {
        let at = SUMMED_FROM + 16 * section as usize;
        let number = |at: usize| header[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let outside = OpenError::Damaged("a section lies outside");
        match (number(at), number(at + 8)) {
            (Some(start), Some(end)) if start <= end && end <= all.len() as u64 => Ok(start as usize..end as usize),
            _ => Err(outside),
        }
    };
    let about = &all[section(Section::Lists)?];
    if about.len() > COMPILED_LISTS_OCTETS_MAX {
        return Err(OpenError::Damaged("it tells too much of its lists"));
    }
    let about: About<Vec<CompiledList>> =
        serde_json::from_slice(about).map_err(|_| OpenError::Damaged("what it tells of its lists cannot be read"))?;
    check_lists(&about.lists)?;
    let special = special::read(&all[section(Section::Special)?], about.lists.len());
    let special = special.ok_or(OpenError::Damaged("a special rule cannot be read"))?;
    let addresses = read_addresses(&all[section(Section::Addresses)?], about.lists.len())?;
    let names = section(Section::Names)?;
    let names = SuffixTable::open(Box::new(Slice { octets: Arc::clone(&octets), range: names }))?;
    Ok(Compiled { layer: Arc::new(Layer { names, addresses, special }), lists: about.lists, key: about.key })
}

/// Names become labels of metrics and parts of paths that people read.
fn check_lists(lists: &[CompiledList]) -> Result<(), OpenError> {
    if lists.len() > LISTS_MAX {
        return Err(OpenError::Damaged("it has more lists than an index"));
    }
    for list in lists {
        let bad = |why| Err(OpenError::List(list.name.chars().filter(|c| !c.is_control()).take(64).collect(), why));
        let is_text = |text: &str, max: usize| text.len() <= max && !text.chars().any(char::is_control);
        if list.name.is_empty() || !is_text(&list.name, 200) {
            return bad("its name is no name");
        }
        let category = &list.category.name;
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if category.is_empty() || category.len() > LABEL_OCTETS_MAX || !category.bytes().all(fits) {
            return bad("its category's name is no name");
        }
        if ![&list.category.title_en, &list.category.title_vi].into_iter().all(|title| is_text(title, 200)) {
            return bad("its category's titles are too long, or no text");
        }
        if !is_text(&list.source, 4096) {
            return bad("its source is too long, or no text");
        }
    }
    let mut names: Vec<&str> = lists.iter().map(|list| list.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(OpenError::List(pair[0].to_owned(), "it is there twice")),
        None => Ok(()),
    }
}

fn effect_number(effect: Effect) -> u8 {
    match effect {
        Effect::List => 0,
        Effect::Except => 1,
    }
}

fn read_addresses(octets: &[u8], lists: usize) -> Result<matcher::address::AddressTable, OpenError> {
    let damaged = OpenError::Damaged("an address rule cannot be read");
    let (rules, []) = octets.as_chunks::<ADDRESS_OCTETS>() else { return Err(damaged) };
    let mut builder = AddressBuilder::default();
    for rule in rules {
        let list = u16::from_le_bytes([rule[0], rule[1]]);
        let effect = match rule[2] {
            0 => Effect::List,
            1 => Effect::Except,
            _ => return Err(damaged),
        };
        let line = u32::from_le_bytes([rule[4], rule[5], rule[6], rule[7]]);
        let address: [u8; 16] = std::array::from_fn(|i| rule[8 + i]);
        let net = IpNet::new(Ipv6Addr::from(address).into(), rule[3]).map_err(|_| damaged.clone())?;
        if usize::from(list) >= lists {
            return Err(damaged);
        }
        builder.add(ListId(list), AddressRule { net, effect, line });
    }
    Ok(builder.build())
}

/// Some of an opened file.
struct Slice {
    octets: Arc<dyn Octets>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        (*self.octets).as_ref().get(self.range.clone()).unwrap_or(&[])
    }
}

impl CompiledList {
    /// What reading its text told.
    pub fn about(&self) -> ListAbout {
        let shown = self
            .spared_shown
            .iter()
            .filter_map(|(name, line)| Some(SparedRule { name: Name::from_text(name).ok()?, line: *line }));
        let spared = Spared { count: self.spared, shown: shown.collect() };
        ListAbout { rules: self.rules as usize, spared, report: self.report.clone() }
    }

    /// Where its text was.
    pub fn list_source(&self) -> ListSource {
        match self.source.strip_prefix("builtin:") {
            Some(name) => ListSource::BuiltIn(name.to_owned()),
            None if self.source.starts_with("https://") || self.source.starts_with("http://") => {
                ListSource::Url(self.source.clone())
            }
            None => ListSource::File(self.source.clone().into()),
        }
    }
}

#[cfg(test)]
mod tests;
