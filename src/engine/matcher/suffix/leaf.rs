//! A leaf: up to [`NAMES`] keys in order, each with the number of its standing.
//!
//! Behind `count`, `base` and `width` come the standings, then the keys. A key is an octet of two lengths, then the
//! symbols of what it adds to the octets it shares with the key before. All keys share `base` octets, so what two
//! neighbours share beyond that mostly fits four bits, and so does the length of the code.

use crate::engine::matcher::suffix::key::{Asked, KEY_OCTETS_MAX};
use crate::engine::matcher::suffix::octets::Reader;
use crate::engine::matcher::suffix::symbols::{Encoder, Met, Symbols};

/// Keys of one leaf. More would save a few bits a name and cost a longer scan.
pub(super) const NAMES: usize = 32;
/// Octets of `count`, `base` and `width`.
const HEAD: usize = 3;
/// In `width`: one standing for all.
const UNIFORM: u8 = 0x80;
/// A length of four bits that says that two octets more follow.
const LONG: usize = 15;

/// Keys on their way into a leaf.
#[derive(Debug, Default)]
pub(super) struct Growing {
    octets: Vec<u8>,
    /// Where each key ends, and its standing.
    keys: Vec<(usize, u32)>,
}

impl Growing {
    pub(super) fn push(&mut self, key: &[u8], standing: u32) {
        self.octets.extend_from_slice(key);
        self.keys.push((self.octets.len(), standing));
    }

    pub(super) fn is_full(&self) -> bool {
        self.keys.len() == NAMES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn first(&self) -> &[u8] {
        self.key(0)
    }

    fn key(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.keys[i - 1].0 };
        &self.octets[start..self.keys[i].0]
    }

    /// Appends the leaf to `out` and is empty again.
    pub(super) fn write(&mut self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        let count = self.keys.len();
        let base = shared(self.first(), self.key(count - 1)).min(255);
        out.extend_from_slice(&[count as u8, base as u8]);
        self.write_standings(out);
        let mut code = Vec::new();
        for i in 0..count {
            let (before, key) = (if i == 0 { &[][..] } else { self.key(i - 1) }, self.key(i));
            let same = shared(before, key);
            code.clear();
            encoder.encode(&key[same..], &mut code);
            let beyond = if i == 0 { 0 } else { same - base };
            out.push((beyond.min(LONG) << 4 | code.len().min(LONG)) as u8);
            for long in [beyond, code.len()].into_iter().filter(|&len| len >= LONG) {
                out.extend_from_slice(&(long as u16).to_le_bytes());
            }
            out.extend_from_slice(&code);
        }
        self.octets.clear();
        self.keys.clear();
    }

    fn write_standings(&self, out: &mut Vec<u8>) {
        let highest = self.keys.iter().map(|key| key.1).max().unwrap_or(0);
        let width = match highest {
            0..=0xf => 4,
            0x10..=0xff => 8,
            0x100..=0xffff => 16,
            0x1_0000.. => 32,
        };
        let uniform = self.keys.iter().all(|key| key.1 == highest);
        out.push(width | if uniform { UNIFORM } else { 0 });
        let written = if uniform { &self.keys[..1] } else { &self.keys[..] };
        match width {
            4 => out.extend(written.chunks(2).map(|two| (two[0].1 | two.get(1).map_or(0, |key| key.1) << 4) as u8)),
            _ => written.iter().for_each(|key| out.extend_from_slice(&key.1.to_le_bytes()[..usize::from(width) / 8])),
        }
    }
}

/// Octets that both begin with.
pub(super) fn shared(a: &[u8], b: &[u8]) -> usize {
    let (whole_a, _) = a.as_chunks::<8>();
    let (whole_b, _) = b.as_chunks::<8>();
    let mut same = 0;
    for (x, y) in whole_a.iter().zip(whole_b) {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return same + (differing.trailing_zeros() / 8) as usize;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(x, y)| x == y).count()
}

/// A leaf as it lies in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf<'a> {
    octets: &'a [u8],
    count: usize,
    base: usize,
    /// Bits of one standing.
    width: usize,
    uniform: bool,
    /// Where the keys begin.
    keys_at: usize,
}

/// The lengths before a key's code.
struct Lengths {
    shared: usize,
    code: usize,
}

impl<'a> Leaf<'a> {
    /// `None` when it is none.
    #[inline]
    pub(super) fn of(octets: &'a [u8]) -> Option<Leaf<'a>> {
        let &[count, base, width, ..] = octets else { return None };
        let (uniform, width) = (width & UNIFORM != 0, usize::from(width & !UNIFORM));
        let count = usize::from(count);
        let standings = if uniform { 1 } else { count };
        let keys_at = HEAD + (standings * width).div_ceil(8);
        Some(Leaf { octets, count, base: usize::from(base), width, uniform, keys_at })
    }

    /// The place of the key. Once a key shares less with its neighbour than that one with the key asked for, it is past.
    #[inline]
    pub(super) fn find(&self, symbols: &Symbols, asked: Asked<'_>) -> Option<usize> {
        let mut keys = Reader { octets: self.octets, at: self.keys_at };
        let mut agreed = 0;
        for i in 0..self.count {
            let Lengths { shared, code } = self.lengths(i, &mut keys)?;
            if shared < agreed {
                return None;
            }
            if shared > agreed {
                // It parts from the key asked for where the one before did. A place behind the end is met by the next read.
                keys.at += code;
            } else {
                match symbols.compare(keys.take(code)?, asked, agreed) {
                    Met::Behind => return None,
                    Met::Before(octets) if octets == asked.len() => return Some(i),
                    Met::Before(octets) => agreed = octets,
                }
            }
        }
        None
    }

    #[inline]
    fn lengths(&self, i: usize, keys: &mut Reader<'_>) -> Option<Lengths> {
        let both = keys.u8()?;
        let (mut shared, mut code) = (usize::from(both >> 4), usize::from(both & 15));
        if shared == LONG {
            shared = usize::from(keys.u16()?);
        }
        if code == LONG {
            code = usize::from(keys.u16()?);
        }
        Some(Lengths { shared: if i == 0 { 0 } else { shared + self.base }, code })
    }

    /// The standing of the key at this place.
    #[inline]
    pub(super) fn standing(&self, place: usize) -> Option<u32> {
        let i = if self.uniform { 0 } else { place };
        let at = HEAD + i * self.width / 8;
        let octet = |n: usize| self.octets.get(at + n).map(|&octet| u32::from(octet));
        match self.width {
            4 => Some(octet(0)? >> (4 * (i % 2)) & 15),
            8 => octet(0),
            16 => Some(octet(0)? | octet(1)? << 8),
            32 => Some(octet(0)? | octet(1)? << 8 | octet(2)? << 16 | octet(3)? << 24),
            _ => None,
        }
    }

    /// Gives `each` every key. Ends early, with `None`, at what is no key or when `each` gives that.
    pub(super) fn walk(&self, symbols: &Symbols, mut each: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
        let mut keys = Reader { octets: self.octets, at: self.keys_at };
        let mut key = Vec::with_capacity(KEY_OCTETS_MAX);
        for i in 0..self.count {
            let Lengths { shared, code } = self.lengths(i, &mut keys)?;
            if shared > key.len() {
                return None;
            }
            key.truncate(shared);
            if !symbols.decode(keys.take(code)?, &mut key) {
                return None;
            }
            each(&key)?;
        }
        Some(())
    }
}
