//! Keyed hashes of 96 bits in lines of 64 octets, six a line: the line's number stands for the first bits of a hash. Two
//! lines may hold a name (cuckoo). No name is stored.

pub struct Quotient {
    lines: Vec<Line>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    tags: [u64; 6],
    /// Six bits more of each hash's rest, and the standing's ten.
    more: [u16; 6],
    used: u32,
}

const SLOTS: usize = 6;
const LOAD: f64 = 0.95;

impl Quotient {
    fn places(lines: usize, h1: u64, h2: u64) -> (usize, usize) {
        let place = |h: u64| (u128::from(h) * lines as u128 >> 64) as usize;
        (place(h1), place(h1.rotate_left(32) ^ h2.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// `hashes`: two keyed hashes of each name.
    pub fn build(hashes: &[(u64, u64)]) -> Quotient {
        let lines = (hashes.len() as f64 / LOAD / SLOTS as f64).ceil() as usize + 1;
        let mut slots = vec![[u32::MAX; SLOTS]; lines];
        let mut random = 1u64;
        for i in 0..hashes.len() as u32 {
            let mut who = i;
            for turn in 0.. {
                assert!(turn < 10_000, "the table is too full");
                let (h1, h2) = hashes[who as usize];
                let (a, b) = Self::places(lines, h1, h2);
                let free = |l: usize| slots[l].iter().position(|&s| s == u32::MAX).map(|i| (l, i));
                if let Some((l, i)) = free(a).or_else(|| free(b)) {
                    slots[l][i] = who;
                    break;
                }
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let line = if random >> 40 & 1 == 0 { a } else { b };
                std::mem::swap(&mut slots[line][(random >> 41) as usize % SLOTS], &mut who);
            }
        }
        let lines = slots
            .iter()
            .map(|slots| {
                let mut line = Line { tags: [0; 6], more: [0; 6], used: 0 };
                for (i, &who) in slots.iter().enumerate().filter(|(_, who)| **who != u32::MAX) {
                    line.tags[i] = hashes[who as usize].1;
                    line.more[i] = (hashes[who as usize].0 as u16 & 63) << 10;
                    line.used |= 1 << i;
                }
                line
            })
            .collect();
        Quotient { lines }
    }

    pub fn find(&self, h1: u64, h2: u64) -> Option<usize> {
        let (a, b) = Self::places(self.lines.len(), h1, h2);
        for l in [a, b] {
            let line = &self.lines[l];
            for i in 0..SLOTS {
                if line.tags[i] == h2 && line.more[i] >> 10 == h1 as u16 & 63 && line.used >> i & 1 == 1 {
                    return Some(l * SLOTS + i);
                }
            }
        }
        None
    }

    pub fn bytes(&self) -> usize {
        self.lines.len() * 64
    }
}
