//! Sorted keys in front-coded blocks, under a tree of blocks of their separators; octets behind the shared prefix are
//! symbol-coded. A scan compares only where the shared prefix leaves it open.

use crate::symbols::Symbols;

pub struct Front {
    symbols: Symbols,
    /// All blocks of all levels.
    bytes: Vec<u8>,
    root: usize,
    root_len: usize,
    levels: usize,
    pub leaf_bytes: usize,
}

struct LevelOut {
    bytes: Vec<u8>,
    /// Separator and length of each block.
    heads: Vec<(Vec<u8>, usize)>,
}

fn lcp(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

fn put_leaf(symbols: &Symbols, entries: &[(&[u8], usize)], out: &mut Vec<u8>) {
    let shared_by_all = lcp(entries[0].0, entries[entries.len() - 1].0);
    // Two octets more stand for how standings are kept: all the same here.
    out.extend_from_slice(&[entries.len() as u8, shared_by_all as u8, 0, 0]);
    let mut code = Vec::new();
    let mut last: &[u8] = &[];
    for (i, &(key, _)) in entries.iter().enumerate() {
        let shared = if i == 0 { 0 } else { lcp(last, key) };
        code.clear();
        symbols.encode(&key[shared..], &mut code);
        let s = if i == 0 { 0 } else { shared - shared_by_all };
        out.push((s.min(15) << 4 | code.len().min(15)) as u8);
        if s >= 15 {
            out.push((s - 15) as u8);
        }
        if code.len() >= 15 {
            out.extend_from_slice(&((code.len() - 15) as u16).to_le_bytes());
        }
        out.extend_from_slice(&code);
        last = key;
    }
}

/// `children's place u32, entries u8, shared u8, lengths of the children u16 each, lengths of the separators u8 each,
/// eight octets behind the shared ones each, big-endian; the shared octets; what is longer`. The first separator is not
/// written: nothing below it comes here.
fn put_inner(entries: &[(&[u8], usize)], base: usize, out: &mut Vec<u8>) {
    let seps = &entries[1..];
    let shared = match seps {
        [] => 0,
        _ => lcp(seps[0].0, seps[seps.len() - 1].0),
    };
    out.extend_from_slice(&(base as u32).to_le_bytes());
    out.extend_from_slice(&[entries.len() as u8, shared as u8]);
    entries.iter().for_each(|e| out.extend_from_slice(&(e.1 as u16).to_le_bytes()));
    seps.iter().for_each(|e| out.push(e.0.len() as u8));
    for (sep, _) in seps {
        let mut slice = [0; 8];
        let rest = &sep[shared..];
        let n = rest.len().min(8);
        slice[..n].copy_from_slice(&rest[..n]);
        out.extend_from_slice(&slice);
    }
    if let Some(first) = seps.first() {
        out.extend_from_slice(&first.0[..shared]);
    }
    seps.iter().for_each(|e| out.extend_from_slice(e.0.get(shared + 8..).unwrap_or(&[])));
}

fn put_level<'a>(
    symbols: &Symbols,
    fan: usize,
    inner: bool,
    count: usize,
    get: impl Fn(usize) -> (&'a [u8], usize),
) -> LevelOut {
    let mut out = LevelOut { bytes: Vec::new(), heads: Vec::new() };
    let mut base = 0;
    let mut entries = Vec::new();
    let mut last: &[u8] = &[];
    for from in (0..count).step_by(fan) {
        entries.clear();
        entries.extend((from..count.min(from + fan)).map(&get));
        let start = out.bytes.len();
        if inner { put_inner(&entries, base, &mut out.bytes) } else { put_leaf(symbols, &entries, &mut out.bytes) }
        base += entries.iter().map(|e| e.1).sum::<usize>();
        let first = entries[0].0;
        // A separator of separators is whole: what lies between its cut form and it belongs to the block before.
        let sep = if inner { first } else if from == 0 { &[][..] } else { &first[..lcp(last, first) + 1] };
        out.heads.push((sep.to_vec(), out.bytes.len() - start));
        last = entries[entries.len() - 1].0;
    }
    out
}

impl Front {
    pub fn build<'a>(count: usize, get: impl Fn(usize) -> &'a [u8] + Copy, fan: usize, inner_fan: usize) -> Front {
        let step = (count / 100_000).max(1);
        let sample: Vec<&[u8]> = (0..count)
            .step_by(step)
            .map(|i| {
                let key = get(i);
                let shared = if i % fan == 0 { 0 } else { lcp(get(i - 1), key) };
                &key[shared..]
            })
            .collect();
        let symbols = Symbols::train(sample.iter().copied());
        let mut level = put_level(&symbols, fan, false, count, |i| (get(i), 0));
        let leaf_bytes = level.bytes.len();
        let mut bytes = Vec::new();
        let mut base = 0;
        let mut levels = 0;
        while level.heads.len() > 1 {
            bytes.extend_from_slice(&level.bytes);
            let heads = level.heads;
            let next = {
                let heads = &heads;
                let mut l = put_level(&symbols, inner_fan, true, heads.len(), |i| (&heads[i].0, heads[i].1));
                // Children's places count from the start of all levels.
                let mut at = 0;
                for (_, len) in &l.heads {
                    let old = u32::from_le_bytes(l.bytes[at..at + 4].try_into().unwrap());
                    l.bytes[at..at + 4].copy_from_slice(&(old + base as u32).to_le_bytes());
                    at += len;
                }
                LevelOut { bytes: l.bytes, heads: l.heads.iter().map(|(s, n)| (s.clone(), *n)).collect() }
            };
            base = bytes.len();
            level = next;
            levels += 1;
        }
        let root = bytes.len();
        bytes.extend_from_slice(&level.bytes);
        bytes.extend_from_slice(&[0; 8]);
        bytes.shrink_to_fit();
        Front { symbols, root, root_len: level.bytes.len(), bytes, levels, leaf_bytes }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// `key` is padded with eight octets after `len`.
    pub fn find(&self, key: &[u8], len: usize) -> Option<usize> {
        let (mut at, mut size) = (self.root, self.root_len);
        for _ in 0..self.levels {
            let (before, len) = descend(&self.bytes[at..at + size], key, len);
            at = u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap()) as usize + before;
            size = len;
        }
        self.scan(&self.bytes[at..at + size], key, len).map(|i| at + i)
    }

    /// The entry that is the key.
    #[inline]
    fn scan(&self, block: &[u8], key: &[u8], len: usize) -> Option<usize> {
        let count = usize::from(block[0]);
        let base = usize::from(block[1]);
        let mut at = 4;
        let mut matched = 0;
        for i in 0..count {
            let head = block[at];
            at += 1;
            let mut shared = usize::from(head >> 4);
            let mut code = usize::from(head & 15);
            if shared == 15 {
                shared += usize::from(block[at]);
                at += 1;
            }
            if code == 15 {
                code += usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
                at += 2;
            }
            shared += if i == 0 { 0 } else { base };
            if shared < matched {
                return None;
            }
            if shared == matched {
                let (less, m) = self.compare(&block[at..at + code], key, len, matched);
                if !less {
                    return None;
                }
                if m == len {
                    return Some(i);
                }
                matched = m;
            }
            at += code;
        }
        None
    }

    /// Whether the entry that goes on with `code` behind `pos` is at or before the key, and how far they agree.
    #[inline]
    fn compare(&self, code: &[u8], key: &[u8], len: usize, mut pos: usize) -> (bool, usize) {
        let mut i = 0;
        while i < code.len() {
            let c = code[i];
            let (word, n) = if c == 255 {
                i += 1;
                (u64::from(code[i]), 1)
            } else {
                (self.symbols.words[usize::from(c)], usize::from(self.symbols.lens[usize::from(c)]))
            };
            i += 1;
            let asked = u64::from_le_bytes(key[pos..pos + 8].try_into().unwrap());
            let same = ((asked ^ word).trailing_zeros() / 8) as usize;
            let left = len - pos;
            if same >= n {
                if n > left {
                    return (false, len);
                }
                pos += n;
                continue;
            }
            if same >= left {
                return (false, len);
            }
            let less = (word >> (8 * same)) as u8 <= (asked >> (8 * same)) as u8;
            return (less, pos + same);
        }
        (true, pos)
    }
}

/// Octets of the children before the one that may hold the key, and its own.
#[inline]
fn descend(block: &[u8], key: &[u8], len: usize) -> (usize, usize) {
    let count = usize::from(block[4]);
    let shared = usize::from(block[5]);
    let sizes = &block[6..6 + 2 * count];
    let seps = count - 1;
    let lens = &block[6 + 2 * count..][..seps];
    let slices = &block[6 + 2 * count + seps..][..8 * seps];
    let rest = &block[6 + 2 * count + 9 * seps..];
    let mut child = 0;
    if seps > 0 {
        let common = &rest[..shared];
        let asked = &key[..len];
        if asked.len() < shared || &asked[..shared] != common {
            child = if asked < common { 0 } else { seps };
        } else {
            let mut octets = [0; 8];
            let n = (len - shared).min(8);
            octets[..n].copy_from_slice(&asked[shared..shared + n]);
            let slice = u64::from_be_bytes(octets);
            let (mut below, mut same) = (0, 0);
            for s in slices.chunks_exact(8) {
                let s = u64::from_be_bytes(s.try_into().unwrap());
                below += usize::from(s < slice);
                same += usize::from(s == slice);
            }
            child = below;
            if same > 0 {
                let mut at = shared + lens[..below].iter().map(|&l| usize::from(l).saturating_sub(shared + 8)).sum::<usize>();
                for &l in &lens[below..below + same] {
                    let l = usize::from(l);
                    let more = l.saturating_sub(shared + 8);
                    let behind = asked.get(shared + 8..).unwrap_or(&[]);
                    let before_key = if more == 0 { l <= len } else { &rest[at..at + more] <= behind };
                    if !before_key {
                        break;
                    }
                    at += more;
                    child += 1;
                }
            }
        }
    }
    let size = |i: usize| usize::from(u16::from_le_bytes([sizes[2 * i], sizes[2 * i + 1]]));
    ((0..child).map(size).sum(), size(child))
}
