//! Look-ups of several names, side by side: a step of all of them before the next step of any.
//!
//! Most of a look-up in a large index is waiting for memory, a line of the filter, then a node, then a leaf, each known only
//! when the one before was read. Here every line is named to `touch` before it is read, and between lie the other names'
//! steps: whoever touches asks the processor to fetch, and the waits overlap. What is found is what [`Names::look_up`]
//! finds.

use smallvec::SmallVec;

use crate::engine::limits::LAYERS_MAX;
use crate::engine::matcher::layers::{Names, for_each_maybe};
use crate::engine::matcher::suffix::key::Key;
use crate::engine::matcher::suffix::{AtHand, Block, Hits};
use crate::engine::name::Labels;

/// Room for look-ups and what they found, used again and again.
#[derive(Default)]
pub struct Together {
    walks: Vec<Walk>,
}

struct Walk {
    labels: usize,
    /// Of each suffix, the shortest first; once for the layers of each seed.
    hashes: SmallVec<[u64; HASHES_INLINE]>,
    key: Key,
    ways: SmallVec<[Way; WAYS_INLINE]>,
    hits: Hits,
}

/// Hashes that need no memory of their own. Chosen: a name has some four labels, and there is one seed unless files come
/// from elsewhere.
const HASHES_INLINE: usize = 8;
/// Ways that need no memory of their own. Chosen: a listed name has one, and one in twenty strange ones.
const WAYS_INLINE: usize = 4;

/// What a filter let through, and how far the look-up came.
#[derive(Clone, Copy)]
struct Way {
    layer: u8,
    depth: u8,
    block: Block,
}

/// Octets of a node that are read nearly always: its head, its children's lengths and their separators' beginnings.
const NODE_OCTETS_READ: usize = 384;

impl Together {
    /// What was found about the name with this number.
    pub fn hits(&self, number: usize) -> &Hits {
        &self.walks[number].hits
    }
}

impl Names {
    /// Looks the first `count` names up, canonical wire forms each.
    pub fn look_up_together<'n>(
        &self,
        count: usize,
        name: impl Fn(usize) -> &'n [u8],
        room: &mut Together,
        touch: &mut impl FnMut(&[u8]),
    ) {
        if count == 0 {
            return;
        }
        while room.walks.len() < count {
            let (hashes, ways) = (SmallVec::new(), SmallVec::new());
            room.walks.push(Walk { labels: 0, hashes, key: Key::ROOT, ways, hits: Hits::new() });
        }
        let tables = self.at_hand();
        let walks = &mut room.walks[..count];
        for (number, walk) in walks.iter_mut().enumerate() {
            walk.hash(&tables, &Labels::of(name(number)), touch);
        }
        for (number, walk) in walks.iter_mut().enumerate() {
            walk.begin(&tables, name(number), touch);
        }
        for Walk { key, ways, .. } in walks.iter_mut() {
            ways.retain(|way| way.down(&tables, key, 0, touch));
        }
        for Walk { labels, key, ways, hits, .. } in walks {
            hits.clear();
            for Way { layer, depth, block } in ways.iter() {
                let (layer, depth) = (usize::from(*layer), usize::from(*depth));
                let standing = tables[layer].standing_in(*block, key.upto(depth));
                hits.extend(self.layers[layer].hit(depth, *labels, standing));
            }
        }
    }
}

impl Walk {
    fn hash(&mut self, tables: &[AtHand<'_>], labels: &Labels<'_>, touch: &mut impl FnMut(&[u8])) {
        self.labels = labels.count();
        self.hashes.clear();
        for alike in Names::alike(tables) {
            for (depth, hash) in tables[alike.start].table.hashes(labels) {
                self.hashes.push(hash);
                let lines = tables[alike.clone()].iter().filter_map(|table| table.filter_line(depth, hash));
                lines.for_each(&mut *touch);
            }
        }
    }

    /// Asks the filters and goes down to the lowest node.
    fn begin(&mut self, tables: &[AtHand<'_>], name: &[u8], touch: &mut impl FnMut(&[u8])) {
        let Walk { labels, hashes, key, ways, .. } = self;
        let mut maybe = [0; LAYERS_MAX];
        for (group, alike) in Names::alike(tables).enumerate() {
            let hashes = hashes[group * *labels..][..*labels].iter();
            let hashes = hashes.zip(1..).map(|(hash, depth)| (depth, *hash));
            AtHand::may_hold(&tables[alike.clone()], hashes, &mut maybe[alike]);
        }
        ways.clear();
        for_each_maybe(&maybe, |layer, depth| {
            if ways.is_empty() {
                key.set(&Labels::of(name));
            }
            let mut way = Way { layer: layer as u8, depth: depth as u8, block: tables[layer].root() };
            if way.down(tables, key, 1, touch) {
                ways.push(way);
            }
        });
    }
}

impl Way {
    /// Goes down to so many levels above the leaves. `false`: there is no such way.
    fn down(&mut self, tables: &[AtHand<'_>], key: &Key, levels: u32, touch: &mut impl FnMut(&[u8])) -> bool {
        let table = &tables[usize::from(self.layer)];
        while self.block.levels > levels {
            let Some(block) = table.below(self.block, key.upto(usize::from(self.depth))) else { return false };
            self.block = block;
        }
        let octets = table.block(self.block);
        touch(&octets[..octets.len().min(NODE_OCTETS_READ)]);
        true
    }
}
