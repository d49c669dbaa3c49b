//! Look-ups of several names, side by side: a step of all of them before the next step of any.
//!
//! Most of a look-up in a large index is waiting for memory, a line of the filter, then a node, then a leaf, each known only
//! when the one before was read. Here every line is named to `touch` before it is read, and between lie the other names'
//! steps: whoever touches asks the processor to fetch, and the waits overlap. What is found is what [`Names::look_up`]
//! finds.

use smallvec::SmallVec;

use crate::engine::matcher::layers::{Names, Tables};
use crate::engine::matcher::suffix::key::Key;
use crate::engine::matcher::suffix::{Block, Hits, Probe};
use crate::engine::name::Labels;

/// Room for look-ups and what they found, used again and again.
#[derive(Default)]
pub struct Together {
    walks: Vec<Walk>,
}

struct Walk {
    labels: usize,
    probes: SmallVec<[Asking; PROBES_INLINE]>,
    key: Key,
    ways: SmallVec<[Way; WAYS_INLINE]>,
    hits: Hits,
}

/// A question to a layer's filter.
#[derive(Clone, Copy)]
struct Asking {
    probe: Probe,
    layer: u8,
    depth: u8,
}

/// Probes that need no memory of their own. Chosen: a name has some four labels, an index two or three layers.
const PROBES_INLINE: usize = 12;
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
            let (probes, ways) = (SmallVec::new(), SmallVec::new());
            room.walks.push(Walk { labels: 0, probes, key: Key::ROOT, ways, hits: Hits::new() });
        }
        let tables = self.at_hand();
        let walks = &mut room.walks[..count];
        for (number, walk) in walks.iter_mut().enumerate() {
            walk.aim(&tables, &Labels::of(name(number)));
        }
        // A short loop of nothing else: the more places the processor has in hand, the more of them it looks up at once.
        for Asking { probe, layer, .. } in walks.iter().flat_map(|walk| &walk.probes) {
            touch(tables.all[usize::from(*layer)].filter_line(*probe).map_or(&[], |line| &line[..]));
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
                let standing = tables.all[layer].standing_in(*block, key.upto(depth));
                hits.extend(self.layers[layer].hit(depth, *labels, standing));
            }
        }
    }
}

impl Walk {
    /// Says which filters are to be asked, and where.
    fn aim(&mut self, tables: &Tables<'_>, labels: &Labels<'_>) {
        self.labels = labels.count();
        self.probes.clear();
        tables.for_each_probe(labels, |layer, depth, probe| {
            self.probes.push(Asking { probe, layer: layer as u8, depth });
        });
    }

    /// Asks the filters and goes down to the lowest node.
    fn begin(&mut self, tables: &Tables<'_>, name: &[u8], touch: &mut impl FnMut(&[u8])) {
        let Walk { probes, key, ways, .. } = self;
        ways.clear();
        let way = |layer: usize, depth| Way { layer: layer as u8, depth, block: tables.all[layer].root() };
        ways.extend(tables.with_root().map(|layer| way(layer, 0)));
        for Asking { probe, layer, depth } in probes.iter() {
            if tables.all[usize::from(*layer)].passes(*probe) {
                ways.push(way(usize::from(*layer), *depth));
            }
        }
        if ways.is_empty() {
            return;
        }
        if tables.alike.len() > 1 {
            ways.sort_by_key(|way| (way.depth, way.layer));
        }
        key.set(&Labels::of(name));
        ways.retain(|way| way.down(tables, key, 1, touch));
    }
}

impl Way {
    /// Goes down to so many levels above the leaves. `false`: there is no such way.
    fn down(&mut self, tables: &Tables<'_>, key: &Key, levels: u32, touch: &mut impl FnMut(&[u8])) -> bool {
        let table = &tables.all[usize::from(self.layer)];
        while self.block.levels > levels {
            let Some(block) = table.below(self.block, key.upto(usize::from(self.depth))) else { return false };
            self.block = block;
        }
        let octets = table.block(self.block);
        touch(&octets[..octets.len().min(NODE_OCTETS_READ)]);
        true
    }
}
