//! The way to a leaf: nodes of up to [`CHILDREN`] children, in levels up to one root, which may have more.
//!
//! Between two children stands a separator: the fewest octets that tell the keys behind it from those before. A node
//! holds what its separators share once, then eight octets of each behind that, to be compared as numbers, and the rest
//! of the few that are longer. Children lie end to end; a node knows where the first begins and how long each is.

use crate::engine::matcher::suffix::leaf::shared;
use crate::engine::matcher::suffix::octets::Reader;

/// Children of one node below the root.
pub(super) const CHILDREN: usize = 32;
/// Children of the root, whose number has one octet: a level less to go down wherever they fit.
const ROOT_CHILDREN: usize = 255;
/// Octets of a separator that are compared as a number.
const SLICE: usize = 8;
/// More levels than any index of 32-bit places has: 32 to the seventh leaves.
pub(super) const LEVELS_MAX: u32 = 7;

/// The root's place, and how many nodes a way has before its leaf.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Root {
    pub at: u32,
    pub len: u32,
    pub levels: u32,
}

/// The blocks of one level on their way into nodes.
#[derive(Debug, Default)]
pub(super) struct Heads {
    separators: Vec<u8>,
    /// Where each block's separator ends, and the block's length.
    blocks: Vec<(u32, u32)>,
}

impl Heads {
    /// Notes a block. What separates the first one from nothing is nothing.
    pub(super) fn push(&mut self, separator: &[u8], len: usize) {
        self.separators.extend_from_slice(separator);
        self.blocks.push((self.separators.len() as u32, len as u32));
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Each block's length.
    pub(super) fn lens(&self) -> impl Iterator<Item = usize> + '_ {
        self.blocks.iter().map(|block| block.1 as usize)
    }

    fn separator(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.blocks[i - 1].0 as usize };
        &self.separators[start..self.blocks[i].0 as usize]
    }
}

/// The nodes above the leaves, which take `leaves` octets before them.
pub(super) fn write_nodes(mut level: Heads, leaves: usize, out: &mut Vec<u8>) -> Root {
    let mut level_at = 0;
    let mut levels = 0;
    while level.len() > 1 {
        let mut child_at = level_at as u32;
        level_at = leaves + out.len();
        let mut above = Heads::default();
        let children = if level.len() <= ROOT_CHILDREN { ROOT_CHILDREN } else { CHILDREN };
        for first in (0..level.len()).step_by(children) {
            let node_at = out.len();
            let last = level.len().min(first + children);
            write_node(&level, first..last, child_at, out);
            child_at += level.blocks[first..last].iter().map(|block| block.1).sum::<u32>();
            above.push(level.separator(first), out.len() - node_at);
        }
        level = above;
        levels += 1;
    }
    let len = level.blocks.first().map_or(0, |block| block.1);
    Root { at: level_at as u32, len, levels }
}

fn write_node(level: &Heads, children: std::ops::Range<usize>, child_at: u32, out: &mut Vec<u8>) {
    let separators = || (children.start + 1..children.end).map(|i| level.separator(i));
    let same = match (separators().next(), separators().next_back()) {
        (Some(first), Some(last)) => shared(first, last).min(255),
        _ => 0,
    };
    out.extend_from_slice(&child_at.to_le_bytes());
    out.extend_from_slice(&[children.len() as u8, same as u8]);
    level.blocks[children.clone()].iter().for_each(|block| out.extend_from_slice(&(block.1 as u16).to_le_bytes()));
    for separator in separators() {
        let mut slice = [0; SLICE];
        let behind = &separator[same..];
        let len = behind.len().min(SLICE);
        slice[..len].copy_from_slice(&behind[..len]);
        out.extend_from_slice(&slice);
    }
    out.extend(separators().next().iter().flat_map(|first| &first[..same]));
    for separator in separators() {
        out.extend_from_slice(&(separator.len() as u16).to_le_bytes());
        out.extend_from_slice(separator.get(same + SLICE..).unwrap_or(&[]));
    }
}

/// A block on the way to a leaf.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine::matcher) struct Block {
    at: u32,
    len: u32,
    /// Levels down to the leaf; zero: it is one.
    pub levels: u32,
}

impl Block {
    pub(super) fn root(root: Root) -> Block {
        Block { at: root.at, len: root.len, levels: root.levels }
    }

    pub(super) fn octets(self, blocks: &[u8]) -> Option<&[u8]> {
        let at = self.at as usize;
        blocks.get(at..at.checked_add(self.len as usize)?)
    }

    /// One level down, to where `asked` is if it is anywhere.
    pub(super) fn below(self, blocks: &[u8], asked: &[u8]) -> Option<Block> {
        let (_, at, len) = descend(self.octets(blocks)?, asked)?;
        Some(Block { at: u32::try_from(at).ok()?, len: len as u32, levels: self.levels.checked_sub(1)? })
    }
}

/// A leaf's number and its octets.
pub(super) fn leaf_of<'a>(blocks: &'a [u8], root: Root, asked: &[u8]) -> Option<(usize, &'a [u8])> {
    let block = |at: usize, len: usize| blocks.get(at..at.checked_add(len)?);
    let mut number = 0;
    let mut found = block(root.at as usize, root.len as usize)?;
    for _ in 0..root.levels {
        let (child, at, len) = descend(found, asked)?;
        // In every level below the root all nodes but the last are full.
        number = number * CHILDREN + child;
        found = block(at, len)?;
    }
    Some((number, found))
}

/// Gives `each` every leaf with its number, in order. Ends at what is no node, or when `each` gives `None`.
pub(super) fn for_each_leaf(blocks: &[u8], root: Root, mut each: impl FnMut(usize, &[u8]) -> Option<()>) -> Option<()> {
    // Nodes come level by level; a hostile one could point at others again and again, so leaves are counted.
    let mut left = blocks.len();
    let mut way = vec![(root.at as usize, root.len as usize, root.levels)];
    let mut number = 0;
    while let Some((at, len, levels)) = way.pop() {
        let block = blocks.get(at..at.checked_add(len)?)?;
        left = left.checked_sub(len.max(1))?;
        if levels == 0 {
            each(number, block)?;
            number += 1;
            continue;
        }
        let mut node = Reader::new(block);
        let mut child_at = node.u32()? as usize;
        let children = node.u8()?;
        node.u8()?;
        let from = way.len();
        for _ in 0..children {
            let len = usize::from(node.u16()?);
            way.push((child_at, len, levels - 1));
            child_at += len;
        }
        way[from..].reverse();
    }
    Some(())
}

/// The child whose keys are about `asked`: its number, place and length.
#[inline]
fn descend(node: &[u8], asked: &[u8]) -> Option<(usize, usize, usize)> {
    let mut reader = Reader::new(node);
    let first_at = reader.u32()? as usize;
    let children = usize::from(reader.u8()?);
    let same = usize::from(reader.u8()?);
    let lens = reader.take(2 * children)?;
    let slices = reader.take(SLICE * children.checked_sub(1)?)?;
    let common = reader.take(same)?;
    let child = match asked.get(..same) {
        Some(start) if start == common => among(slices, &asked[same..], same, reader)?,
        _ if asked < common => 0,
        _ => children - 1,
    };
    let (lens, _) = lens.as_chunks::<2>();
    let len = |len: &[u8; 2]| usize::from(u16::from_le_bytes(*len));
    Some((child, first_at + lens[..child].iter().map(len).sum::<usize>(), len(&lens[child])))
}

/// How many separators are at or before the key. `behind` is the key without what all separators share; `rests` is at
/// their lengths and rests.
#[inline]
fn among(slices: &[u8], behind: &[u8], same: usize, mut rests: Reader<'_>) -> Option<usize> {
    let mut slice = [0; SLICE];
    let len = behind.len().min(SLICE);
    slice[..len].copy_from_slice(&behind[..len]);
    let slice = u64::from_be_bytes(slice);
    let (slices, _) = slices.as_chunks::<SLICE>();
    let number = |other: &[u8; SLICE]| u64::from_be_bytes(*other);
    // In a damaged index they may be in any order: then a wrong child is found, and nothing worse.
    let before = slices.partition_point(|other| number(other) < slice);
    if slices.get(before).is_none_or(|other| number(other) != slice) {
        return Some(before);
    }
    let equal = slices[before..].iter().take_while(|other| number(other) == slice).count();
    // A separator ends in the slice, or both go on: the whole of it decides.
    let mut count = before;
    for i in 0..before + equal {
        let len = usize::from(rests.u16()?);
        let rest = rests.take(len.saturating_sub(same + SLICE))?;
        if i >= before {
            let is_before = match rest {
                [] => len <= same + behind.len(),
                rest => rest <= behind.get(SLICE..).unwrap_or(&[]),
            };
            if !is_before {
                break;
            }
            count += 1;
        }
    }
    Some(count)
}
