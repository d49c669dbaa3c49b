//! A static dictionary of up to 255 symbols of one to eight octets (FSST's idea), trained on a sample.

const ESCAPE: u8 = 255;
const PSEUDO: usize = 512;

pub struct Symbols {
    pub words: [u64; 256],
    pub lens: [u8; 256],
    /// Codes by first octet, longest first.
    by_first: Vec<Vec<u8>>,
}

fn mask(len: u8) -> u64 {
    if len == 8 { u64::MAX } else { (1 << (8 * len)) - 1 }
}

fn load(text: &[u8]) -> (u64, usize) {
    let mut octets = [0; 8];
    let n = text.len().min(8);
    octets[..n].copy_from_slice(&text[..n]);
    (u64::from_le_bytes(octets), n)
}

impl Symbols {
    fn new(symbols: &[(u64, u8)]) -> Symbols {
        let mut s = Symbols { words: [0; 256], lens: [0; 256], by_first: vec![Vec::new(); 256] };
        for (i, &(word, len)) in symbols.iter().take(255).enumerate() {
            s.words[i] = word;
            s.lens[i] = len;
            s.by_first[(word & 255) as usize].push(i as u8);
        }
        let lens = s.lens;
        for codes in &mut s.by_first {
            codes.sort_by_key(|&c| std::cmp::Reverse(lens[usize::from(c)]));
        }
        s
    }

    fn longest(&self, text: &[u8]) -> Option<u8> {
        let (word, n) = load(text);
        let fits = |&&c: &&u8| {
            let len = self.lens[usize::from(c)];
            usize::from(len) <= n && (word ^ self.words[usize::from(c)]) & mask(len) == 0
        };
        self.by_first[usize::from(text[0])].iter().find(fits).copied()
    }

    pub fn train<'a>(sample: impl Iterator<Item = &'a [u8]> + Clone) -> Symbols {
        let mut symbols = Symbols::new(&[]);
        for round in 0..8 {
            let mut one = vec![0u32; PSEUDO];
            let mut two = vec![0u32; PSEUDO * PSEUDO];
            for text in sample.clone() {
                let mut at = 0;
                let mut last = None;
                while at < text.len() {
                    let (id, len) = match symbols.longest(&text[at..]) {
                        Some(c) => (usize::from(c), usize::from(symbols.lens[usize::from(c)])),
                        None => (256 + usize::from(text[at]), 1),
                    };
                    one[id] += 1;
                    if len > 1 {
                        one[256 + usize::from(text[at])] += 1;
                    }
                    if let Some(last) = last {
                        two[last * PSEUDO + id] += 1;
                        if len > 1 {
                            two[last * PSEUDO + 256 + usize::from(text[at])] += 1;
                        }
                    }
                    last = Some(id);
                    at += len;
                }
            }
            let of = |id: usize| -> (u64, u8) {
                if id < 256 { (symbols.words[id], symbols.lens[id]) } else { ((id - 256) as u64, 1) }
            };
            let mut gains: std::collections::HashMap<(u64, u8), u64> = Default::default();
            for id in (0..PSEUDO).filter(|&id| one[id] > 0) {
                let (word, len) = of(id);
                let bonus = if len == 1 { 8 } else { 1 };
                *gains.entry((word, len)).or_default() += u64::from(one[id]) * u64::from(len) * bonus;
                if round == 7 {
                    continue;
                }
                for next in (0..PSEUDO).filter(|&next| two[id * PSEUDO + next] > 4) {
                    let (w2, l2) = of(next);
                    if len + l2 <= 8 {
                        let joined = (word | w2 << (8 * len), len + l2);
                        *gains.entry(joined).or_default() += u64::from(two[id * PSEUDO + next]) * u64::from(joined.1);
                    }
                }
            }
            let mut best: Vec<_> = gains.into_iter().collect();
            best.sort_unstable_by_key(|&(s, gain)| (std::cmp::Reverse(gain), s));
            best.truncate(255);
            let best: Vec<(u64, u8)> = best.into_iter().map(|(s, _)| s).collect();
            symbols = Symbols::new(&best);
        }
        symbols
    }

    /// The fewest code octets for `text`: best parse from its end.
    pub fn encode(&self, text: &[u8], out: &mut Vec<u8>) {
        let n = text.len();
        let mut cost = [0u16; 260];
        let mut take = [(ESCAPE, 1u8); 260];
        cost[n] = 0;
        for at in (0..n).rev() {
            let (word, left) = load(&text[at..]);
            cost[at] = cost[at + 1] + 2;
            take[at] = (ESCAPE, 1);
            for &c in &self.by_first[usize::from(text[at])] {
                let len = self.lens[usize::from(c)];
                if usize::from(len) <= left && (word ^ self.words[usize::from(c)]) & mask(len) == 0 {
                    let with = cost[at + usize::from(len)] + 1;
                    if with < cost[at] {
                        cost[at] = with;
                        take[at] = (c, len);
                    }
                }
            }
        }
        let mut at = 0;
        while at < n {
            let (code, len) = take[at];
            out.push(code);
            if code == ESCAPE {
                out.push(text[at]);
            }
            at += usize::from(len);
        }
    }
}
