//! Names: canonical (lower-case, uncompressed) wire form, their text, and the walk of labels from the root.
//!
//! A name inside the engine is always canonical, so that equal names have equal octets. Text becomes a [`Name`] at the
//! edge and IDNA is applied there. The spelling a client used is kept beside the name, in
//! [`Question`](crate::engine::query::Question), never in it.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::engine::limits::{LABEL_OCTETS_MAX, LABELS_MAX, NAME_OCTETS_MAX};

/// A canonical name: lower-case, uncompressed, at most 255 octets with the root label.
#[derive(Clone)]
pub struct Name {
    /// Octets used of `wire`; at least 1.
    len: u8,
    /// Labels with their length octets, then the root's zero. Lower case throughout.
    wire: [u8; NAME_OCTETS_MAX],
}

/// As its octets.
impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_wire().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        Name::from_wire(&Vec::<u8>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Why a text or some octets are no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name is empty")]
    Empty,
    #[error("a label is empty (two dots in a row?)")]
    EmptyLabel,
    #[error("a label is {0} octets, at most {LABEL_OCTETS_MAX}")]
    LabelTooLong(usize),
    #[error("the name is {0} octets, at most {NAME_OCTETS_MAX}")]
    TooLong(usize),
    #[error("{0:?} cannot stand in a host name")]
    Character(char),
    #[error("not a valid internationalised name")]
    Idna,
    #[error("the octets end inside the name")]
    Cut,
    #[error("a compression pointer does not point backwards")]
    Pointer,
    #[error("the name has more than {LABELS_MAX} compression pointers")]
    TooManyPointers,
    #[error("label type {0:#04x} is unknown")]
    LabelType(u8),
}

impl Name {
    /// The root, `.`.
    pub const ROOT: Name = Name { len: 1, wire: [0; NAME_OCTETS_MAX] };

    /// Takes a name from uncompressed wire octets and lower-cases it. The octets must be exactly one name.
    pub fn from_wire(octets: &[u8]) -> Result<Name, NameError> {
        let (name, end) = Name::read(octets, 0)?;
        if end != octets.len() {
            return Err(NameError::TooLong(octets.len()));
        }
        Ok(name)
    }

    /// Reads a name, compressed or not, that starts at `at` in `message`. Returns it and where the next field starts.
    pub fn read(message: &[u8], at: usize) -> Result<(Name, usize), NameError> {
        let mut name = Name::ROOT;
        let end = read_labels(message, at, &mut name.wire, &mut name.len)?;
        name.wire[..usize::from(name.len)].make_ascii_lowercase();
        Ok((name, end))
    }

    /// Becomes the name of octets that [`plain_wire`] found.
    pub(in crate::engine) fn set_plain(&mut self, octets: &[u8]) {
        let wire = &mut self.wire[..octets.len()];
        wire.copy_from_slice(octets);
        wire.make_ascii_lowercase();
        self.len = octets.len() as u8;
    }

    /// Takes a name from text as a person or a list writes it: any case, an optional final dot, U-labels (UTS #46).
    ///
    /// Host-name characters are letters, digits, `-` and `_`; an A-label that IDNA would not make is kept as it is,
    /// because such names are registered and queried.
    pub fn from_text(text: &str) -> Result<Name, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_ascii() {
            return Name::from_ascii(text.as_bytes());
        }
        // UTS #46 non-transitional, STD3 rules on (so U+2011 and its like are refused rather than folded); the
        // underscore is allowed apart from them, label by label, because real names carry it.
        let mut ascii = String::with_capacity(text.len() + 8);
        for (i, label) in text.split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']).enumerate() {
            if i > 0 {
                ascii.push('.');
            }
            if label.is_ascii() {
                ascii.push_str(label);
            } else if label.contains(['\u{2010}', '\u{2011}']) {
                // Hyphens that look like `-` and are not: IDNA2008 disallows them, UTS #46 alone would let them by.
                return Err(NameError::Idna);
            } else {
                let made = idna::domain_to_ascii_strict(label).map_err(|_| NameError::Idna)?;
                ascii.push_str(&made);
            }
        }
        Name::from_ascii(ascii.as_bytes())
    }

    /// As [`Name::from_text`] for text that is ASCII already. `.` alone or nothing is refused: lists never mean it.
    pub fn from_ascii(text: &[u8]) -> Result<Name, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let mut name = Name::ROOT;
        let mut at = 0;
        for label in text.split(|&c| c == b'.') {
            if label.is_empty() {
                return Err(NameError::EmptyLabel);
            }
            if label.len() > LABEL_OCTETS_MAX {
                return Err(NameError::LabelTooLong(label.len()));
            }
            // One octet for the length, and room left for the root's.
            if at + 1 + label.len() + 1 > NAME_OCTETS_MAX {
                return Err(NameError::TooLong(text.len() + 2));
            }
            name.wire[at] = label.len() as u8;
            for (to, &from) in name.wire[at + 1..].iter_mut().zip(label) {
                if !(from.is_ascii_alphanumeric() || from == b'-' || from == b'_') {
                    return Err(NameError::Character(char::from(from)));
                }
                *to = from.to_ascii_lowercase();
            }
            at += 1 + label.len();
        }
        name.wire[at] = 0;
        name.len = at as u8 + 1;
        Ok(name)
    }

    /// A configured zone: as [`Name::from_text`], and `.` is the root.
    pub fn zone_from_text(text: &str) -> Result<Name, NameError> {
        if text == "." { Ok(Name::ROOT) } else { Name::from_text(text) }
    }

    /// The wire octets, the root's zero included.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire[..usize::from(self.len)]
    }

    pub fn is_root(&self) -> bool {
        self.len == 1
    }

    /// Labels without the root's: `www.example.com` has three.
    pub fn label_count(&self) -> usize {
        label_starts(self.as_wire()).count()
    }

    /// The name without its first label; the root's is the root.
    pub fn parent(&self) -> Name {
        self.suffix(self.label_count().saturating_sub(1))
    }

    /// The last `labels` labels of the name: `suffix(2)` of `www.example.com` is `example.com`.
    pub fn suffix(&self, labels: usize) -> Name {
        let labels = labels.min(self.label_count());
        let Labels { starts, count, .. } = Labels::of(self.as_wire());
        let from = if labels == 0 { self.as_wire().len() - 1 } else { usize::from(starts[count - labels]) };
        let mut name = Name::ROOT;
        let octets = &self.as_wire()[from..];
        name.wire[..octets.len()].copy_from_slice(octets);
        name.len = octets.len() as u8;
        name
    }

    /// As [`Name::suffix`], the octets alone.
    pub fn suffix_wire(&self, labels: usize) -> &[u8] {
        let wire = self.as_wire();
        let starts = || label_starts(wire);
        let from = starts().nth(starts().count().saturating_sub(labels)).unwrap_or(wire.len() - 1);
        &wire[from..]
    }

    /// Whether the name is `zone` itself or below it.
    pub fn is_at_or_below(&self, zone: &Name) -> bool {
        wire_is_at_or_below(self.as_wire(), zone.as_wire())
    }

    /// Puts one label in front. For names that are built, such as a category's test name.
    pub fn child(&self, label: &str) -> Result<Name, NameError> {
        if self.is_root() { Name::from_text(label) } else { Name::from_text(&format!("{label}.{self}")) }
    }
}

/// Where each label of a wire-form name begins, the first label first.
fn label_starts(wire: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let at = next;
        next += 1 + usize::from(wire[at]);
        (wire[at] != 0).then_some(at)
    })
}

/// The uncompressed name that `octets` begins with. `None`: it is longer than a name may be, or there is none.
pub fn plain_wire(octets: &[u8]) -> Option<&[u8]> {
    let mut end = 0;
    loop {
        let len = usize::from(*octets.get(end)?);
        end += 1 + len;
        // A length above is a pointer or of an unknown kind.
        if len > LABEL_OCTETS_MAX || end > NAME_OCTETS_MAX {
            return None;
        }
        if len == 0 {
            return Some(&octets[..end]);
        }
    }
}

/// Whether canonical `name` is `zone` itself or below it.
pub fn wire_is_at_or_below(name: &[u8], zone: &[u8]) -> bool {
    if zone.len() > name.len() || !name.ends_with(zone) {
        return false;
    }
    // The octets match; they must also begin at a label.
    let from = name.len() - zone.len();
    let mut at = 0;
    while at < from {
        at += 1 + usize::from(name[at]);
    }
    at == from
}

/// Copies the labels of the name at `at` into `out`, case kept, following pointers. Returns where the next field starts.
pub fn read_labels(
    message: &[u8],
    at: usize,
    out: &mut [u8; NAME_OCTETS_MAX],
    out_len: &mut u8,
) -> Result<usize, NameError> {
    let mut at = at;
    let mut len = 0;
    let mut next = None;
    let mut pointers = 0;
    // RFC 1035 §4.1.4: a pointer refers to a *prior* occurrence; demanding that each is below the last ends every loop.
    let mut lowest = at;
    loop {
        let &octet = message.get(at).ok_or(NameError::Cut)?;
        match octet & 0xc0 {
            0x00 if octet == 0 => {
                out[len] = 0;
                *out_len = len as u8 + 1;
                return Ok(next.unwrap_or(at + 1));
            }
            0x00 => {
                let label = message.get(at..at + 1 + usize::from(octet)).ok_or(NameError::Cut)?;
                if len + label.len() + 1 > NAME_OCTETS_MAX {
                    return Err(NameError::TooLong(len + label.len() + 1));
                }
                out[len..len + label.len()].copy_from_slice(label);
                len += label.len();
                at += label.len();
            }
            0xc0 => {
                let &low = message.get(at + 1).ok_or(NameError::Cut)?;
                let target = usize::from(octet & 0x3f) << 8 | usize::from(low);
                if target >= lowest {
                    return Err(NameError::Pointer);
                }
                // Pointers to pointers shorten nothing; without this, thousands of names could each walk thousands.
                pointers += 1;
                if pointers > LABELS_MAX {
                    return Err(NameError::TooManyPointers);
                }
                next.get_or_insert(at + 2);
                lowest = target;
                at = target;
            }
            // RFC 6891 §5: extended label types (bit strings, 0x41) are gone.
            _ => return Err(NameError::LabelType(octet)),
        }
    }
}

/// The suffixes of a wire-form name, from the top-level label to the whole name.
pub struct Labels<'a> {
    wire: &'a [u8],
    /// Offset of each label, first label first. Holds for `count` entries.
    starts: [u8; LABELS_MAX],
    count: usize,
}

impl<'a> Labels<'a> {
    pub fn of(wire: &'a [u8]) -> Labels<'a> {
        let mut labels = Labels { wire, starts: [0; LABELS_MAX], count: 0 };
        let mut at = 0;
        while wire[at] != 0 {
            labels.starts[labels.count] = at as u8;
            labels.count += 1;
            at += 1 + usize::from(wire[at]);
        }
        labels
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The suffix of `depth` labels; 0 is the root.
    pub fn suffix(&self, depth: usize) -> &'a [u8] {
        if depth == 0 {
            return &self.wire[self.wire.len() - 1..];
        }
        &self.wire[usize::from(self.starts[self.count - depth])..]
    }

    /// `(depth, suffix)` from the top-level domain down to the whole name.
    pub fn from_root(&self) -> impl Iterator<Item = (u8, &'a [u8])> + '_ {
        (1..=self.count).map(|depth| (depth as u8, self.suffix(depth)))
    }

    /// The labels' text, the first label first.
    pub fn labels(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.starts[..self.count].iter().map(|&at| {
            let at = usize::from(at);
            &self.wire[at + 1..at + 1 + usize::from(self.wire[at])]
        })
    }
}

/// Writes a wire-form name as text, escaping as RFC 1035 §5.1 does.
pub fn write_wire(wire: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    let labels = Labels::of(wire);
    if labels.count == 0 {
        return f.write_char('.');
    }
    for (i, label) in labels.labels().enumerate() {
        if i > 0 {
            f.write_char('.')?;
        }
        for &c in label {
            match c {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(c))?,
                0x21..=0x7e => f.write_char(char::from(c))?,
                _ => write!(f, "\\{c:03}")?,
            }
        }
    }
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire(self.as_wire(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_wire() == other.as_wire()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_wire().hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> std::cmp::Ordering {
        self.as_wire().cmp(other.as_wire())
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::from_text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn text_becomes_the_canonical_name() {
        for (text, shown) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("münchen.de", "xn--mnchen-3ya.de"),
            ("MÜNCHEN.de", "xn--mnchen-3ya.de"),
            ("tài.test", "xn--ti-jia.test"),
            ("_dmarc.Example.org", "_dmarc.example.org"),
            ("w-w-i-s-.com", "w-w-i-s-.com"),
            ("xn--4n8hqr.ws", "xn--4n8hqr.ws"),
            ("com", "com"),
        ] {
            assert_eq!(name(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_name_says_why() {
        let long_label = "a".repeat(64);
        let long_name = vec!["a"; 128].join(".");
        for (text, why) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a b", NameError::Character(' ')),
            ("a/b", NameError::Character('/')),
            ("*.a", NameError::Character('*')),
            (long_label.as_str(), NameError::LabelTooLong(64)),
            (long_name.as_str(), NameError::TooLong(257)),
            ("cg\u{2011}dialup.net", NameError::Idna),
        ] {
            assert_eq!(Name::from_text(text).unwrap_err(), why, "{text:?}");
        }
    }

    #[test]
    fn the_longest_name_fits_and_one_octet_more_does_not() {
        let longest = vec!["a"; 127].join(".");
        assert_eq!(name(&longest).as_wire().len(), 255);
        assert_eq!(name(&longest).label_count(), 127);
    }

    #[test]
    fn suffixes_walk_from_the_root() {
        let n = name("www.example.com");
        let walked: Vec<_> = Labels::of(n.as_wire())
            .from_root()
            .map(|(depth, wire)| (depth, Name::from_wire(wire).unwrap().to_string()))
            .collect();
        assert_eq!(walked, [(1, "com".into()), (2, "example.com".into()), (3, "www.example.com".into())]);
        assert_eq!(n.suffix(2), name("example.com"));
        assert_eq!(n.suffix(0), Name::ROOT);
        assert_eq!(n.parent(), name("example.com"));
        assert_eq!(Name::ROOT.parent(), Name::ROOT);
    }

    #[test]
    fn below_is_decided_at_labels() {
        for (n, zone, below) in [
            ("a.example.com", "example.com", true),
            ("example.com", "example.com", true),
            ("badexample.com", "example.com", false),
            ("com", "example.com", false),
            // A label that contains the zone's octets: \007example\003com inside one label cannot line up.
            ("x.com", "com", true),
        ] {
            assert_eq!(name(n).is_at_or_below(&name(zone)), below, "{n} {zone}");
        }
        assert!(name("x.com").is_at_or_below(&Name::ROOT));
    }

    #[test]
    fn pointers_only_go_backwards() {
        // "a" at 0, then a pointer to it at 3; and three bad ones.
        let good = [1, b'A', 0, 1, b'b', 0xc0, 0];
        let (n, end) = Name::read(&good, 3).unwrap();
        assert_eq!((n.to_string().as_str(), end), ("b.a", 7));
        assert_eq!(Name::read(&[0xc0, 0], 0).unwrap_err(), NameError::Pointer);
        assert_eq!(Name::read(&[0xc0, 2, 0xc0, 0], 0).unwrap_err(), NameError::Pointer);
        assert_eq!(Name::read(&[0xc0], 0).unwrap_err(), NameError::Cut);
        assert_eq!(Name::read(&[0x41, 1, 0], 0).unwrap_err(), NameError::LabelType(0x41));
    }

    #[test]
    fn a_name_follows_no_more_pointers_than_it_may_have_labels() {
        // The root at 0, then pointers from 1 on, each to the one before it.
        let mut message = vec![0];
        for i in 0..LABELS_MAX + 1 {
            let target = if i == 0 { 0 } else { 2 * i - 1 };
            message.extend_from_slice(&(0xc000 | target as u16).to_be_bytes());
        }
        let last = message.len() - 2;
        assert_eq!(Name::read(&message, last - 2), Ok((Name::ROOT, last)));
        assert_eq!(Name::read(&message, last), Err(NameError::TooManyPointers));
    }
}
