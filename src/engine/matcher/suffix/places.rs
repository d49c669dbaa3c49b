//! Where each rule stands: list and line, kept apart from what queries read.
//!
//! For each leaf, name by name: the kind of its one rule, or how many there are; then the line, as the distance from
//! the line before. A place in the octets is kept for each leaf.

use crate::engine::matcher::room::{Growing, Lost};
use crate::engine::matcher::suffix::RuleAt;
use crate::engine::matcher::suffix::octets::{Reader, put_varint, unzigzag, zigzag};
use crate::engine::matcher::suffix::standing::Kind;

/// A rule on its way: the number of its kind, and its line.
pub(super) type Placed = (u32, u32);

#[derive(Debug)]
pub(super) struct PlacesBuilder {
    pub out: Box<dyn Growing>,
    /// Of the leaf that grows.
    octets: Vec<u8>,
    /// Where each leaf's rules begin; little-endian, four octets each.
    pub starts: Vec<u8>,
    last_line: u32,
}

impl PlacesBuilder {
    pub(super) fn new(out: Box<dyn Growing>) -> PlacesBuilder {
        PlacesBuilder { out, octets: Vec::new(), starts: Vec::new(), last_line: 0 }
    }

    /// The names from here on are of the next leaf.
    pub(super) fn next_leaf(&mut self) -> Result<(), Lost> {
        self.end_leaf()?;
        self.starts.extend_from_slice(&(self.out.octets() as u32).to_le_bytes());
        self.last_line = 0;
        Ok(())
    }

    pub(super) fn end_leaf(&mut self) -> Result<(), Lost> {
        self.out.append(&self.octets)?;
        self.octets.clear();
        Ok(())
    }

    /// Notes the rules of one name.
    pub(super) fn push(&mut self, rules: &[Placed]) {
        if rules.len() > 1 {
            put_varint(&mut self.octets, (rules.len() as u64) << 1 | 1);
        }
        for &(kind, line) in rules {
            let kind = u64::from(kind);
            put_varint(&mut self.octets, if rules.len() > 1 { kind } else { kind << 1 });
            put_varint(&mut self.octets, zigzag(i64::from(line) - i64::from(self.last_line)));
            self.last_line = line;
        }
    }
}

/// The rules of one leaf's names, read in turn.
pub(super) struct Places<'a> {
    reader: Reader<'a>,
    kinds: &'a [Kind],
    last_line: i64,
}

impl<'a> Places<'a> {
    pub(super) fn of_leaf(octets: &'a [u8], starts: &[u8], leaf: usize, kinds: &'a [Kind]) -> Option<Places<'a>> {
        let at = Reader { octets: starts, at: leaf.checked_mul(4)? }.u32()? as usize;
        Some(Places { reader: Reader { octets, at }, kinds, last_line: 0 })
    }

    /// Gives `each` the rules of the next name.
    pub(super) fn next(&mut self, mut each: impl FnMut(RuleAt)) -> Option<()> {
        let head = self.reader.varint()?;
        let mut rule = |places: &mut Places<'_>, kind: u64| {
            let &Kind { list, reach, effect } = places.kinds.get(usize::try_from(kind).ok()?)?;
            places.last_line = places.last_line.wrapping_add(unzigzag(places.reader.varint()?));
            let line = u32::try_from(places.last_line).ok()?;
            each(RuleAt { list, line, reach, effect });
            Some(())
        };
        if head & 1 == 0 {
            return rule(self, head >> 1);
        }
        for _ in 0..head >> 1 {
            // Each takes octets, so a count that lies ends with them.
            let kind = self.reader.varint()?;
            rule(self, kind)?;
        }
        Some(())
    }
}
