//! A name's labels from the root: the keyed hash of every suffix, and the key under which sorted structures hold it.

/// The labels from the root with a dot between them: a suffix of the name is a prefix of its key.
pub struct Walk {
    pub key: [u8; 272],
    /// `ends[d]`: octets of the key that the suffix of `d` labels takes.
    pub ends: [u8; 128],
    pub depth: usize,
}

pub fn starts(wire: &[u8]) -> ([u8; 128], usize) {
    let mut starts = [0; 128];
    let (mut n, mut at) = (0, 0);
    while wire[at] != 0 {
        starts[n] = at as u8;
        n += 1;
        at += 1 + usize::from(wire[at]);
    }
    (starts, n)
}

impl Walk {
    pub fn of(wire: &[u8], starts: &[u8; 128], depth: usize) -> Walk {
        let mut walk = Walk { key: [0; 272], ends: [0; 128], depth };
        let mut to = 0;
        for d in 1..=depth {
            let from = usize::from(starts[depth - d]);
            let len = usize::from(wire[from]);
            walk.key[to..to + len].copy_from_slice(&wire[from + 1..from + 1 + len]);
            to += len;
            walk.ends[d] = to as u8;
            walk.key[to] = b'.';
            to += 1;
        }
        walk
    }
}

#[derive(Clone, Copy)]
pub struct Hasher(pub u64, pub u64);

impl Hasher {
    #[inline]
    pub fn below(&self, parent: u64, label: &[u8]) -> u64 {
        let mut hash = parent;
        let mut rest = label;
        while rest.len() > 16 {
            hash = self.step(hash, word(rest, 0), word(rest, 8));
            rest = &rest[16..];
        }
        let (low, high) = match rest.len() {
            8.. => (word(rest, 0), word(rest, rest.len() - 8)),
            4.. => (half(rest, 0), half(rest, rest.len() - 4)),
            n => (u64::from(rest[0]), u64::from(rest[n / 2]) << 8 | u64::from(rest[n - 1])),
        };
        self.step(hash, low, high)
    }

    #[inline]
    fn step(&self, hash: u64, low: u64, high: u64) -> u64 {
        let product = u128::from(hash ^ low) * u128::from(self.1 ^ high);
        product as u64 ^ (product >> 64) as u64
    }

    /// The hash of the key's whole name.
    pub fn of_key(&self, key: &[u8]) -> u64 {
        let mut label = Vec::with_capacity(64);
        key.split(|&c| c == b'.').fold(self.0, |hash, text| {
            label.clear();
            label.push(text.len() as u8);
            label.extend_from_slice(text);
            self.below(hash, &label)
        })
    }
}

fn word(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(octets[at..at + 8].try_into().unwrap())
}

fn half(octets: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(octets[at..at + 4].try_into().unwrap()))
}
