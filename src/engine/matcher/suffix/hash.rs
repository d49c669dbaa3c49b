//! The keyed hash of names that the filter is asked with.

use crate::engine::matcher::HashSeed;

/// Grows by a label at a time from the root, so that one pass over a name hashes every suffix of it. Multiply-and-fold
/// over two words a step; the key is secret, and a collision costs time, never a wrong answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct NameHasher {
    start: u64,
    key: u64,
}

impl NameHasher {
    pub(in crate::engine) fn new(seed: HashSeed) -> NameHasher {
        // Digits of pi: a zero seed must not make a zero key, which would fold everything to nothing.
        NameHasher { start: seed.0 ^ 0x243f_6a88_85a3_08d3, key: seed.1 ^ 0x1319_8a2e_0370_7344 }
    }

    pub(in crate::engine) fn root(&self) -> u64 {
        self.start
    }

    /// The hash of a name from its parent's. `label` has its length octet, so that no two names run together.
    pub(in crate::engine) fn below(&self, parent: u64, label: &[u8]) -> u64 {
        let mut hash = parent;
        let mut rest = label;
        while rest.len() > 16 {
            hash = self.step(hash, word(rest, 0), word(rest, 8));
            rest = &rest[16..];
        }
        let (low, high) = match rest.len() {
            8.. => (word(rest, 0), word(rest, rest.len() - 8)),
            4.. => (half(rest, 0), half(rest, rest.len() - 4)),
            // One to three octets: the first, the middle and the last.
            n => (u64::from(rest[0]), u64::from(rest[n / 2]) << 8 | u64::from(rest[n - 1])),
        };
        self.step(hash, low, high)
    }

    fn step(&self, hash: u64, low: u64, high: u64) -> u64 {
        let product = u128::from(hash ^ low) * u128::from(self.key ^ high);
        product as u64 ^ (product >> 64) as u64
    }
}

fn word(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(octets[at..at + 8].try_into().expect("the slice has eight octets"))
}

fn half(octets: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(octets[at..at + 4].try_into().expect("the slice has four octets")))
}
