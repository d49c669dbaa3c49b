//! A dictionary of up to 255 symbols of one to eight octets, made for the names of one index: what a name adds to its
//! neighbour takes half its octets. The idea is that of *FSST: Fast Random Access String Compression* (VLDB 2020).

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::engine::matcher::suffix::key::{Asked, KEY_OCTETS_MAX};

/// The code before an octet that no symbol begins with.
const ESCAPE: u8 = 255;
const SYMBOLS_MAX: usize = 255;
const SYMBOL_OCTETS_MAX: usize = 8;
/// Rounds of training: each may double the length of a symbol, and a few more settle.
const ROUNDS: usize = 8;

/// What the codes stand for.
#[derive(Debug, Clone)]
pub(super) struct Symbols {
    /// The first octet lowest; zero behind a symbol's end.
    words: [u64; 256],
    /// 1 to 8; 0 for a code that stands for nothing.
    lens: [u8; 256],
}

/// How a key that was looked for and one that was met lie to each other.
pub(super) enum Met {
    /// The one met is behind, or goes on where the other ends.
    Behind,
    /// The one met is before, or is the one looked for; so many octets agree.
    Before(usize),
}

impl Symbols {
    fn from_symbols(symbols: &[(u64, u8)]) -> Symbols {
        let mut table = Symbols { words: [0; 256], lens: [0; 256] };
        for (i, &(word, len)) in symbols.iter().take(SYMBOLS_MAX).enumerate() {
            table.words[i] = word;
            table.lens[i] = len;
        }
        table
    }

    /// `(length, octets)` for each symbol.
    pub(super) fn to_octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for (&word, &len) in self.words.iter().zip(&self.lens).take_while(|(_, len)| **len > 0) {
            octets.push(len);
            octets.extend_from_slice(&word.to_le_bytes()[..usize::from(len)]);
        }
        octets
    }

    /// `None` when it is no dictionary.
    pub(super) fn from_octets(mut octets: &[u8]) -> Option<Symbols> {
        let mut symbols = Vec::new();
        while let Some((&len, rest)) = octets.split_first() {
            if len == 0 || usize::from(len) > SYMBOL_OCTETS_MAX || symbols.len() == SYMBOLS_MAX {
                return None;
            }
            let (symbol, rest) = rest.split_at_checked(usize::from(len))?;
            symbols.push((load(symbol).0, len));
            octets = rest;
        }
        Some(Symbols::from_symbols(&symbols))
    }

    /// Compares the key that goes on with `code` behind `agreed` octets with the one looked for.
    #[inline]
    pub(super) fn compare(&self, code: &[u8], asked: Asked<'_>, agreed: usize) -> Met {
        let mut at = agreed;
        let mut code = code.iter();
        while let Some(&c) = code.next() {
            let (word, len) = match c {
                ESCAPE => (u64::from(code.next().copied().unwrap_or(0)), 1),
                c => (self.words[usize::from(c)], usize::from(self.lens[usize::from(c)])),
            };
            let other = asked.word(at);
            let same = ((other ^ word).trailing_zeros() / 8) as usize;
            let left = asked.len() - at;
            if len > left && same >= left {
                return Met::Behind;
            }
            if same < len {
                let (met, wanted) = ((word >> (8 * same)) as u8, (other >> (8 * same)) as u8);
                return if met < wanted { Met::Before(at + same) } else { Met::Behind };
            }
            at += len;
        }
        Met::Before(at)
    }

    /// Appends what `code` stands for. False when that is longer than any key.
    pub(super) fn decode(&self, code: &[u8], out: &mut Vec<u8>) -> bool {
        let mut code = code.iter();
        while let Some(&c) = code.next() {
            match c {
                ESCAPE => out.push(code.next().copied().unwrap_or(0)),
                c => {
                    let len = usize::from(self.lens[usize::from(c)]);
                    out.extend_from_slice(&self.words[usize::from(c)].to_le_bytes()[..len]);
                }
            }
            if out.len() > KEY_OCTETS_MAX {
                return false;
            }
        }
        true
    }
}

/// A symbol as it is looked for.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    word: u64,
    mask: u64,
    len: u8,
    code: u8,
}

/// Writes with a dictionary.
pub(super) struct Encoder {
    pub(super) symbols: Symbols,
    /// Symbols of two octets and more by their first two, longest first; then where those of each two octets begin.
    fitting: Vec<Symbol>,
    starts: Vec<u16>,
    /// The code of each single octet; [`ESCAPE`]: it has none.
    singles: [u8; 256],
    /// Octets of code that each end of the text needs, and the code it begins with: room for `encode`.
    costs: Vec<(u16, u8, u8)>,
}

impl Encoder {
    fn new(symbols: Symbols) -> Encoder {
        let mut singles = [ESCAPE; 256];
        let mut fitting = Vec::new();
        for code in 0..SYMBOLS_MAX {
            let (word, len) = (symbols.words[code], symbols.lens[code]);
            match len {
                0 => {}
                1 => singles[(word & 255) as usize] = code as u8,
                len => fitting.push(Symbol { word, mask: mask(len), len, code: code as u8 }),
            }
        }
        fitting.sort_by_key(|symbol| (symbol.word as u16, Reverse(symbol.len)));
        let mut starts = vec![0; (1 << 16) + 1];
        fitting.iter().for_each(|symbol: &Symbol| starts[usize::from(symbol.word as u16) + 1] += 1);
        for two in 0..1 << 16 {
            starts[two + 1] += starts[two];
        }
        Encoder { symbols, fitting, starts, singles, costs: vec![(0, ESCAPE, 1); KEY_OCTETS_MAX + 1] }
    }

    /// The symbols that `text`, which is not empty, begins with, and their lengths; longest first.
    fn fitting<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (u8, u8)> + 'a {
        let (word, octets) = load(text);
        let two = usize::from(word as u16);
        // A lone octet is followed by nothing, which no symbol of two is.
        let range = if octets > 1 { usize::from(self.starts[two])..usize::from(self.starts[two + 1]) } else { 0..0 };
        let fits = move |symbol: &&Symbol| usize::from(symbol.len) <= octets && (word ^ symbol.word) & symbol.mask == 0;
        let single = self.singles[usize::from(text[0])];
        let longer = self.fitting[range].iter().filter(fits).map(|symbol| (symbol.code, symbol.len));
        longer.chain((single != ESCAPE).then_some((single, 1)))
    }

    /// Makes the dictionary that writes `sample` shortest, more or less: in each round symbols that stood side by side
    /// are tried as one, and those that save most stay.
    pub(super) fn train(sample: &[&[u8]]) -> Encoder {
        /// Codes, then single octets.
        const IDS: usize = 512;
        let mut encoder = Encoder::new(Symbols::from_symbols(&[]));
        for round in 1..=ROUNDS {
            let mut alone = vec![0u32; IDS];
            let mut pairs = vec![0u32; IDS * IDS];
            for text in sample {
                let mut at = 0;
                let mut last = None;
                while at < text.len() {
                    let octet = 256 + usize::from(text[at]);
                    let code = encoder.fitting(&text[at..]).next();
                    let (id, len) = code.map_or((octet, 1), |(code, len)| (usize::from(code), len));
                    // A symbol's first octet stands for itself too: a symbol may yet be given up.
                    for id in [id, octet].into_iter().take(if len > 1 { 2 } else { 1 }) {
                        alone[id] += 1;
                        if let Some(last) = last {
                            pairs[last * IDS + id] += 1;
                        }
                    }
                    last = Some(id);
                    at += usize::from(len);
                }
            }
            let symbol = |id: usize| match id {
                ..256 => (encoder.symbols.words[id], encoder.symbols.lens[id]),
                _ => ((id - 256) as u64, 1),
            };
            let mut gains: HashMap<(u64, u8), u64> = HashMap::new();
            for id in (0..IDS).filter(|&id| alone[id] > 0) {
                let (word, len) = symbol(id);
                // An octet without a symbol costs two, so single octets are worth keeping.
                let worth = if len == 1 { 8 } else { u64::from(len) };
                *gains.entry((word, len)).or_default() += u64::from(alone[id]) * worth;
                if round == ROUNDS {
                    continue;
                }
                for next in (0..IDS).filter(|&next| pairs[id * IDS + next] > 4) {
                    let (more, more_len) = symbol(next);
                    let joined = len + more_len;
                    if usize::from(joined) <= SYMBOL_OCTETS_MAX {
                        *gains.entry((word | more << (8 * len), joined)).or_default() +=
                            u64::from(pairs[id * IDS + next]) * u64::from(joined);
                    }
                }
            }
            let mut best: Vec<((u64, u8), u64)> = gains.into_iter().collect();
            // By symbol at a tie, so that equal inputs make equal octets.
            best.sort_unstable_by_key(|&(symbol, gain)| (Reverse(gain), symbol));
            let best: Vec<(u64, u8)> = best.into_iter().map(|(symbol, _)| symbol).take(SYMBOLS_MAX).collect();
            encoder = Encoder::new(Symbols::from_symbols(&best));
        }
        encoder
    }

    /// Appends the shortest code of `text`, which is no longer than a key.
    pub(super) fn encode(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut costs = std::mem::take(&mut self.costs);
        // From the end: the shortest code of what follows is known when an octet is looked at.
        costs[text.len()].0 = 0;
        for at in (0..text.len()).rev() {
            let mut best = (costs[at + 1].0 + 2, ESCAPE, 1);
            for (code, len) in self.fitting(&text[at..]) {
                let with = costs[at + usize::from(len)].0 + 1;
                if with < best.0 {
                    best = (with, code, len);
                }
            }
            costs[at] = best;
        }
        let mut at = 0;
        while at < text.len() {
            let (_, code, len) = costs[at];
            out.push(code);
            if code == ESCAPE {
                out.push(text[at]);
            }
            at += usize::from(len);
        }
        self.costs = costs;
    }
}

/// Up to eight octets as a word, the first one lowest, and how many.
fn load(text: &[u8]) -> (u64, usize) {
    let mut octets = [0; SYMBOL_OCTETS_MAX];
    let len = text.len().min(SYMBOL_OCTETS_MAX);
    octets[..len].copy_from_slice(&text[..len]);
    (u64::from_le_bytes(octets), len)
}

/// The low `len` octets of a word; `len` is 1 to 8.
fn mask(len: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_octets_come_back_whatever_was_trained() {
        let all: Vec<u8> = (0..=255).collect();
        let texts = [&b"www.example"[..], b"example.example", b"", b"\0\x01\xff", &all, &[255; 510]];
        for sample in [&texts[..], &[], &[&b"example"[..]; 9]] {
            let mut encoder = Encoder::train(sample);
            let read = Symbols::from_octets(&encoder.symbols.to_octets()).unwrap();
            for text in texts {
                let (mut code, mut back) = (Vec::new(), Vec::new());
                encoder.encode(text, &mut code);
                assert!(read.decode(&code, &mut back));
                assert_eq!(back, text);
            }
        }
    }

    #[test]
    fn a_dictionary_is_refused_or_harmless() {
        for octets in [&[0][..], &[9, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[3, 1, 2], &[1, 7].repeat(256)] {
            assert!(Symbols::from_octets(octets).is_none());
        }
        let nothing = Symbols::from_octets(&[]).unwrap();
        assert!(nothing.decode(&[0, 1, 254, 255], &mut Vec::new()));
        assert!(!nothing.decode(&[255; 2000], &mut Vec::new()));
    }
}
