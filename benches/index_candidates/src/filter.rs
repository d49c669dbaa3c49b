//! A blocked Bloom filter: one line of 512 bits a name.

pub struct Filter {
    lines: Vec<Line>,
    bits: u32,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

impl Filter {
    pub fn new(names: usize, bits_per_name: f64, bits: u32) -> Filter {
        let lines = (names as f64 * bits_per_name / 512.0).ceil() as usize + 1;
        Filter { lines: vec![Line([0; 8]); lines], bits }
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let line = (u128::from(hash) * self.lines.len() as u128 >> 64) as usize;
        (line, hash.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn insert(&mut self, hash: u64) {
        let (line, mut h) = self.place(hash);
        for _ in 0..self.bits {
            self.lines[line].0[(h >> 61) as usize] |= 1 << (h >> 55 & 63);
            h = h.rotate_left(9);
        }
    }

    #[inline]
    pub fn may_hold(&self, hash: u64) -> bool {
        let (line, mut h) = self.place(hash);
        let line = &self.lines[line].0;
        let mut all = 1;
        for _ in 0..self.bits {
            all &= line[(h >> 61) as usize] >> (h >> 55 & 63);
            h = h.rotate_left(9);
        }
        all & 1 == 1
    }

    pub fn bytes(&self) -> usize {
        self.lines.len() * 64
    }
}
