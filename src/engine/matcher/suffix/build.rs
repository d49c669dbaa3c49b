//! Rules → the index's octets.

use crate::engine::matcher::HashSeed;
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
/// Makes the index of these lists, each of them once. `None`: it could take more octets than its places can tell.
pub(in crate::engine::matcher) fn build(seed: HashSeed, lists: Vec<(ListId, Runs)>) -> Option<SuffixTable> {
    if lists.iter().map(|list| list.1.octets_max).sum::<u64>() > u32::MAX.into() {
        return None;
    }
    let depths = lists.iter().fold(0, |depths, list| depths | list.1.depths);
    let rules: u64 = lists.iter().map(|list| list.1.rules).sum();
    let mut standings = Standings::new();
    let lists: Vec<(Runs, [u32; SAYS])> = lists
        .into_iter()
        .map(|(list, mut runs)| {
            runs.end_run();
            let kinds = standings.kinds_of(list, runs.said);
            (runs, kinds)
        })
        .collect();
    let mut sample = Vec::new();
    lists.iter().for_each(|(runs, _)| runs.sample((rules as usize / SAMPLE).max(1), &mut sample));
    let mut encoder = Encoder::train(&sample);
    drop(sample);

    let mut out = vec![0; Header::OCTETS];
    let mut heads = Heads::default();
    let mut places = PlacesBuilder::default();
    let mut leaf = Growing::default();
    let mut names = 0;
    let (mut separator, mut last) = (Vec::new(), Vec::new());
    let mut kinds = Vec::new();
    merge(&lists, |key, rules| {
        if leaf.is_full() {
            let at = out.len();
            leaf.write(&mut encoder, &mut out);
            heads.push(&separator, out.len() - at);
        }
        if leaf.is_empty() {
            // The fewest octets that come behind the leaf before; the first leaf has none before it.
            separator.clear();
            if names > 0 {
                separator.extend_from_slice(&key[..=shared(&last, key)]);
            }
            places.next_leaf();
        }
        rules.sort_unstable_by_key(|&(kind, line)| (standings.kinds[kind as usize].list, line));
        places.push(rules);
        kinds.clear();
        kinds.extend(rules.iter().map(|rule| rule.0));
        kinds.sort_unstable();
        kinds.dedup();
        leaf.push(key, standings.number(&kinds));
        last.clear();
        last.extend_from_slice(key);
        names += 1;
    });
    if !leaf.is_empty() {
        let at = out.len();
        leaf.write(&mut encoder, &mut out);
        heads.push(&separator, out.len() - at);
    }

    drop(lists);
    let leaves = heads.len();
    let leaves_end = out.len();
    let filter = make_filter(&out[Header::OCTETS..leaves_end], &heads, &encoder, NameHasher::new(seed), names);
    let root = write_nodes(heads, &mut out, Header::OCTETS);

    let PlacesBuilder { octets, starts, .. } = places;
    out.reserve_exact(filter.len() + octets.len() + 4 * starts.len() + (1 << 16));
    let mut sections = Sections::new(Header::OCTETS, &mut out);
    sections.end(Section::Blocks);
    sections.put(Section::Filter, |out| out.extend_from_slice(&filter));
    drop(filter);
    sections.put(Section::Symbols, |out| out.extend_from_slice(&encoder.symbols.to_octets()));
    sections.put(Section::Standings, |out| put_standings(&standings.all, out));
    let kinds = standings.kinds.clone();
    sections.put(Section::Kinds, |out| kinds.iter().for_each(|kind| out.extend_from_slice(&kind.to_octets())));
    sections.put(Section::Sets, |out| standings.into_sets().put(out));
    sections.put(Section::Starts, |out| starts.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes())));
    sections.put(Section::Places, |out| out.extend_from_slice(&octets));
    drop(octets);
    let header = Header { seed, depths, names, rules, leaves: leaves as u64, root, sections: sections.finish() };
    header.write(&mut out);
    out.shrink_to_fit();
    Some(SuffixTable::open(Box::new(out)).expect("what was just written reads well"))
}

/// Reads the leaves again, now that the number of names is known.
fn make_filter(leaves: &[u8], heads: &Heads, encoder: &Encoder, hasher: NameHasher, names: u64) -> Vec<u8> {
    let mut filter = vec![0; filter::octets_for(names as usize)];
    let mut at = 0;
    for len in heads.lens() {
        let leaf = Leaf::of(&leaves[at..at + len]).expect("a leaf was written");
        let walked = leaf.walk(&encoder.symbols, |key| {
            let mut hash = hasher.root();
            labels_of_key(key, |label| hash = hasher.below(hash, label))?;
            filter::insert(&mut filter, hash);
            Some(())
        });
        walked.expect("keys of names were written");
        at += len;
    }
    filter
}
