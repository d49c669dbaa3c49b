//! Rules → tables that answer "which lists hold this name or address?" in one walk, whatever the number of lists.
//!
//! A list becomes a [`Part`]; [`Builder`] takes the parts and makes a [`Layer`]; an [`Index`] is one or several of those.
//! What a hit means — whose profile blocks it, which rung it stands on — is policy's; this module knows no category and no
//! client. Matching is exact: every hit rests on a compare of the whole name (I15).

pub mod address;
mod layers;
mod part;
mod pattern;
pub mod public_suffix;
pub mod room;
mod set;
pub mod special;
pub mod suffix;

use std::sync::Arc;

use crate::engine::limits::{ORDERS_NAMES_MAX, PATTERNS_MAX};
use crate::engine::matcher::address::AddressBuilder;
use crate::engine::matcher::room::{Lost, Room};
use crate::engine::matcher::special::SpecialBuilder;
use crate::engine::matcher::suffix::Runs;
use crate::engine::verdict::ListId;

pub use layers::{Addresses, Index, Layer, Names, Placed, Specials, Together};
pub use part::{Guard, Part, PartReader, Spared, SparedRule};
pub use set::{ListSet, SetId};
pub use suffix::{Hit, Hits, Octets, OpenError};

/// Secret of the name hash. Random in the daemon, so that no list can be written whose names collide; fixed in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashSeed(pub u64, pub u64);

/// Why no layer can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The lists together have more names than an index can number the octets of, or too many patterns.
    #[error(
        "the names of all lists together could take more than {} octets of index, or their patterns are more than \
         {PATTERNS_MAX}",
        u32::MAX
    )]
    IndexFull,
    #[error("orders hold {0} names, at most {ORDERS_NAMES_MAX}")]
    OrderNames(usize),
    #[error("rules that were put aside cannot be read again: {0}")]
    Lost(#[from] Lost),
}

/// Collects the rules of all lists.
pub struct Builder {
    seed: HashSeed,
    room: Option<Arc<dyn Room>>,
    names: Vec<(ListId, Runs)>,
    addresses: AddressBuilder,
    special: SpecialBuilder,
}

impl Builder {
    pub fn new(seed: HashSeed) -> Builder {
        let (addresses, special) = (AddressBuilder::default(), SpecialBuilder::default());
        Builder { seed, room: None, names: Vec::new(), addresses, special }
    }

    /// Makes the layer in `room`, not on the heap.
    pub fn in_room(self, room: Option<Arc<dyn Room>>) -> Builder {
        Builder { room, ..self }
    }

    /// Adds a list. The caller gives each list a number of its own.
    pub fn add(&mut self, list: ListId, part: Part) {
        self.names.push((list, part.names));
        part.addresses.into_iter().for_each(|rule| self.addresses.add(list, rule));
        part.specials.into_iter().for_each(|rule| self.special.add(list, rule));
    }

    /// Adds lists as another layer holds them: `new_id`, by that layer's [`ListId`], tells which and under what number.
    pub fn add_from(&mut self, layer: &Layer, new_id: &[Option<ListId>]) {
        let id = |list: ListId| new_id.get(usize::from(list.0)).copied().flatten();
        let mut kept: Vec<Runs> = new_id.iter().map(|_| Runs::in_room(self.room.clone())).collect();
        layer.names.for_each_rule(|list, rule| {
            if id(list).is_some() {
                kept[usize::from(list.0)].push_sorted(rule);
            }
        });
        kept.iter_mut().for_each(Runs::end);
        self.names.extend(new_id.iter().zip(kept).filter_map(|(id, runs)| Some(((*id)?, runs))));
        for (list, rule) in layer.addresses.rules() {
            if let Some(list) = id(list) {
                self.addresses.add(list, rule);
            }
        }
        for (list, rule) in layer.special.rules() {
            if let Some(list) = id(*list) {
                self.special.add(list, rule.clone());
            }
        }
    }

    /// # Errors
    /// The lists are too much for one index, or what was put aside is lost.
    pub fn build(self) -> Result<Layer, BuildError> {
        let made = match &self.room {
            // A disk that is full, say: as long as there is memory, lists go into force.
            Some(room) => suffix::build(self.seed, &self.names, Some(&**room))
                .or_else(|_| suffix::build(self.seed, &self.names, None)),
            None => suffix::build(self.seed, &self.names, None),
        };
        let names = made?.ok_or(BuildError::IndexFull)?;
        let special = self.special.build().ok_or(BuildError::IndexFull)?;
        Ok(Layer { names, addresses: self.addresses.build(), special })
    }
}

#[cfg(test)]
mod tests;
