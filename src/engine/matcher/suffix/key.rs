//! The key under which the index sorts a name: its labels from the root, a zero between them.
//!
//! The key of a suffix is a prefix of the name's own key, so one key serves a whole walk; and names that belong together
//! lie together. An octet 0 or 1 inside a label is written as 1 and one more than itself, so that no two names share a key.

use crate::engine::limits::{LABELS_MAX, NAME_OCTETS_MAX};
use crate::engine::name::Labels;

const SEPARATOR: u8 = 0;
const ESCAPE: u8 = 1;

/// Longest key: every octet of a name written as two.
pub(super) const KEY_OCTETS_MAX: usize = 2 * NAME_OCTETS_MAX;
/// Octets behind a key that a reader of words may touch.
const PAD: usize = 8;

/// The key of a name and of every suffix of it.
pub(in crate::engine::matcher) struct Key {
    octets: [u8; KEY_OCTETS_MAX + PAD],
    /// By depth. Holds for the name's labels.
    ends: [u16; LABELS_MAX + 1],
    depth: usize,
}

impl Key {
    /// The key of the root.
    pub(in crate::engine::matcher) const ROOT: Key =
        Key { octets: [0; KEY_OCTETS_MAX + PAD], ends: [0; LABELS_MAX + 1], depth: 0 };

    pub(in crate::engine::matcher) fn of(labels: &Labels<'_>) -> Key {
        let mut key = Key::ROOT;
        key.set(labels);
        key
    }

    /// Makes it the key of another name; what it was before stays behind the end.
    pub(in crate::engine::matcher) fn set(&mut self, labels: &Labels<'_>) {
        let key = self;
        key.depth = labels.count();
        let mut to = 0;
        for (depth, suffix) in labels.from_root() {
            if depth > 1 {
                key.octets[to] = SEPARATOR;
                to += 1;
            }
            let label = &suffix[1..=usize::from(suffix[0])];
            if label.iter().fold(false, |found, &c| found | (c <= ESCAPE)) {
                for &c in label {
                    if c <= ESCAPE {
                        key.octets[to] = ESCAPE;
                        to += 1;
                    }
                    key.octets[to] = if c <= ESCAPE { c + 1 } else { c };
                    to += 1;
                }
            } else {
                key.octets[to..to + label.len()].copy_from_slice(label);
                to += label.len();
            }
            key.ends[usize::from(depth)] = to as u16;
        }
    }

    /// The key of the suffix with so many labels.
    pub(in crate::engine::matcher) fn upto(&self, depth: usize) -> Asked<'_> {
        Asked { octets: &self.octets, len: usize::from(self.ends[depth]) }
    }

    pub(super) fn whole(&self) -> &[u8] {
        &self.octets[..usize::from(self.ends[self.depth])]
    }
}

/// A key that is looked for: `len` octets of `octets`, which go on for at least a word.
#[derive(Clone, Copy)]
pub(in crate::engine::matcher) struct Asked<'a> {
    octets: &'a [u8; KEY_OCTETS_MAX + PAD],
    len: usize,
}

impl Asked<'_> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// Eight octets from `at`, which is at most `len`, the first one lowest; behind the key they are anything.
    pub(super) fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.octets[at..at + 8].try_into().expect("the slice has eight octets"))
    }
}

/// Gives `each` the labels of a key from the root, each with its length octet. `None`: it is no key of a name.
pub(super) fn labels_of_key(key: &[u8], mut each: impl FnMut(&[u8])) -> Option<()> {
    if key.is_empty() {
        return Some(());
    }
    for text in key.split(|&c| c == SEPARATOR) {
        let mut label = [0; 64];
        let mut len = 0;
        let mut octets = text.iter();
        while let Some(&c) = octets.next() {
            len += 1;
            *label.get_mut(len)? = if c == ESCAPE { octets.next()?.checked_sub(1)? } else { c };
        }
        if len == 0 {
            return None;
        }
        label[0] = len as u8;
        each(&label[..=len]);
    }
    Some(())
}

/// Writes the wire form of the name with this key to `wire` and returns it. `None`: there is no such name.
pub(super) fn name_of_key<'a>(key: &[u8], wire: &'a mut [u8; NAME_OCTETS_MAX]) -> Option<&'a [u8]> {
    // From the end: the root's zero first, then labels from the root.
    let mut from = NAME_OCTETS_MAX - 1;
    wire[from] = 0;
    let mut fits = true;
    labels_of_key(key, |label| {
        if fits && label.len() <= from {
            from -= label.len();
            wire[from..from + label.len()].copy_from_slice(label);
        } else {
            fits = false;
        }
    })?;
    fits.then(|| &wire[from..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::name::Name;

    #[test]
    fn every_name_has_a_key_of_its_own_and_comes_back() {
        let long = [&[63u8][..], &[0; 63]].concat().repeat(3);
        let mut names: Vec<Vec<u8>> = vec![vec![0], [&long[..], &[61], &[1; 61], &[0]].concat(), [1u8, 1].repeat(127)];
        names.last_mut().unwrap().push(0);
        names.extend((0..=255u8).filter(|c| !c.is_ascii_uppercase()).map(|c| vec![2, c, 0, 1, c, 0]));
        names.push(Name::from_text("www.example.com").unwrap().as_wire().to_vec());
        let mut keys = Vec::new();
        for wire in &names {
            let labels = Labels::of(wire);
            let key = Key::of(&labels);
            for depth in 0..=labels.count() {
                let suffix = labels.suffix(depth);
                assert_eq!(Key::of(&Labels::of(suffix)).whole(), key.upto(depth).as_slice());
            }
            assert_eq!(name_of_key(key.whole(), &mut [0; NAME_OCTETS_MAX]), Some(&wire[..]));
            keys.push(key.whole().to_vec());
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), names.len());
    }

    #[test]
    fn octets_that_are_no_key_make_no_name() {
        let too_long = vec![vec![b'a'; 63]; 5].join(&SEPARATOR);
        for key in [&b"\0"[..], b"com\0", b"com\0\0a", b"com\x01", b"com\x01\0", &[b'a'; 64], &too_long] {
            assert_eq!(name_of_key(key, &mut [0; NAME_OCTETS_MAX]), None, "{key:?}");
        }
    }
}
