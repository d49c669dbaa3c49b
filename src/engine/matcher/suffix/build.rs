//! Rules → the index's octets.

use crate::engine::matcher::HashSeed;
use crate::engine::matcher::room::{self, Heap, Lost, Room};
use crate::engine::matcher::suffix::hash::NameHasher;
use crate::engine::matcher::suffix::key::labels_of_key;
use crate::engine::matcher::suffix::layout::{Header, Section, Sections};
use crate::engine::matcher::suffix::leaf::{Growing, Leaf, shared};
use crate::engine::matcher::suffix::places::PlacesBuilder;
use crate::engine::matcher::suffix::runs::{Runs, merge};
use crate::engine::matcher::suffix::standing::{SAYS, Standings, put_standings};
use crate::engine::matcher::suffix::symbols::Encoder;
use crate::engine::matcher::suffix::tree::{Heads, write_nodes};
use crate::engine::matcher::suffix::{SuffixTable, filter};
use crate::engine::verdict::ListId;

/// Names whose octets the dictionary is made of: enough that more make it no better.
const SAMPLE: usize = 40_000;
/// Octets of leaves that are read again at a time.
const LEAVES_READ_OCTETS: usize = 1 << 18;

/// Makes the index of these lists, each of them once, whose rules are all in runs. `None`: it could take more octets than
/// its places can tell.
pub(in crate::engine::matcher) fn build(
    seed: HashSeed,
    lists: &[(ListId, Runs)],
    room: Option<&dyn Room>,
) -> Result<Option<SuffixTable>, Lost> {
    if lists.iter().map(|list| list.1.octets_max).sum::<u64>() > u32::MAX.into() {
        return Ok(None);
    }
    let open = || room.map_or_else(|| Ok(Box::<Heap>::default() as Box<dyn room::Growing>), |room| room.open());
    let depths = lists.iter().fold(0, |depths, list| depths | list.1.depths);
    let rules: u64 = lists.iter().map(|list| list.1.rules).sum();
    let mut standings = Standings::new();
    let kinds: Vec<[u32; SAYS]> = lists.iter().map(|(list, runs)| standings.kinds_of(*list, runs.said)).collect();
    let mut encoder = trained(lists, rules)?;

    let mut out = open()?;
    out.append(&[0; Header::OCTETS])?;
    let mut heads = Heads::default();
    let mut places = PlacesBuilder::new(open()?);
    let mut leaf = Growing::default();
    let mut names = 0;
    let (mut separator, mut last, mut written) = (Vec::new(), Vec::new(), Vec::new());
    let mut kinds_here = Vec::new();
    let mut end_leaf = |leaf: &mut Growing, separator: &[u8], out: &mut Box<dyn room::Growing>| {
        written.clear();
        leaf.write(&mut encoder, &mut written);
        heads.push(separator, written.len());
        out.append(&written)
    };
    let runs = lists.iter().map(|(_, runs)| runs).zip(&kinds);
    merge(runs, |key, rules| {
        if leaf.is_full() {
            end_leaf(&mut leaf, &separator, &mut out)?;
        }
        if leaf.is_empty() {
            // The fewest octets that come behind the leaf before; the first leaf has none before it.
            separator.clear();
            if names > 0 {
                separator.extend_from_slice(&key[..=shared(&last, key)]);
            }
            places.next_leaf()?;
        }
        rules.sort_unstable_by_key(|&(kind, line)| (standings.kinds[kind as usize].list, line));
        places.push(rules);
        kinds_here.clear();
        kinds_here.extend(rules.iter().map(|rule| rule.0));
        kinds_here.sort_unstable();
        kinds_here.dedup();
        leaf.push(key, standings.number(&kinds_here));
        last.clear();
        last.extend_from_slice(key);
        names += 1;
        Ok(())
    })?;
    if !leaf.is_empty() {
        end_leaf(&mut leaf, &separator, &mut out)?;
    }
    places.end_leaf()?;

    let leaves = heads.len();
    let filter = make_filter(&*out, &heads, &encoder, NameHasher::new(seed), names)?;
    let mut nodes = Vec::new();
    let root = write_nodes(heads, out.octets() as usize - Header::OCTETS, &mut nodes);
    out.append(&nodes)?;
    drop(nodes);

    let mut sections = Sections::new(Header::OCTETS, &mut *out);
    sections.end(Section::Blocks);
    sections.put(Section::Filter, &filter)?;
    drop(filter);
    sections.put(Section::Symbols, &encoder.symbols.to_octets())?;
    let mut octets = Vec::new();
    put_standings(&standings.all, &mut octets);
    sections.put(Section::Standings, &octets)?;
    let kinds: Vec<u8> = standings.kinds.iter().flat_map(|kind| kind.to_octets()).collect();
    sections.put(Section::Kinds, &kinds)?;
    octets.clear();
    standings.into_sets().put(&mut octets);
    sections.put(Section::Sets, &octets)?;
    let PlacesBuilder { out: placed, starts, .. } = places;
    sections.put(Section::Starts, &starts)?;
    sections.copy(Section::Places, &*placed)?;
    drop(placed);
    let header = Header { seed, depths, names, rules, leaves: leaves as u64, root, sections: sections.finish() };
    out.write(0, &header.to_octets())?;
    let table = SuffixTable::open(out.serve()?).map_err(|why| Lost(why.to_string()))?;
    Ok(Some(table))
}

/// The dictionary for these lists.
fn trained(lists: &[(ListId, Runs)], rules: u64) -> Result<Encoder, Lost> {
    let mut sample = Vec::new();
    for (_, runs) in lists {
        runs.sample((rules as usize / SAMPLE).max(1), &mut sample)?;
    }
    let sample: Vec<&[u8]> = sample.iter().map(Vec::as_slice).collect();
    Ok(Encoder::train(&sample))
}

/// Reads the leaves again, now that the number of names is known.
fn make_filter(
    out: &dyn room::Growing,
    heads: &Heads,
    encoder: &Encoder,
    hasher: NameHasher,
    names: u64,
) -> Result<Vec<u8>, Lost> {
    let mut filter = vec![0; filter::octets_for(names as usize)];
    let mut at = Header::OCTETS as u64;
    let (mut leaves, mut read) = (Vec::new(), 0);
    for len in heads.lens() {
        if leaves.len() - read < len {
            let count = (out.octets() - at).min(LEAVES_READ_OCTETS.max(len) as u64) as usize;
            leaves.resize(count, 0);
            out.read(at, &mut leaves)?;
            read = 0;
        }
        let leaf = Leaf::of(&leaves[read..read + len]).expect("a leaf was written");
        let walked = leaf.walk(&encoder.symbols, |key| {
            let mut hash = hasher.root();
            labels_of_key(key, |label| hash = hasher.below(hash, label))?;
            filter::insert(&mut filter, hash);
            Some(())
        });
        walked.expect("keys of names were written");
        read += len;
        at += len as u64;
    }
    Ok(filter)
}
