//! One name or one network as a list writes it, and the lines of plain-domain and wildcard lists.
//!
//! Names are written straight into the rule set's buffer: a million lines make no million strings. A text that is no
//! name is told apart by what it seems to be (a path, a pattern), because only the unreadable speaks against a list.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::limits::{ADDRESS_V4_BITS_MIN, ADDRESS_V6_BITS_MIN, LABEL_OCTETS_MAX, NAME_OCTETS_MAX};
use crate::engine::list::{AddressRule, Effect, PackedRule, Reach, RuleSet, SkipReason};
use crate::engine::name::Name;

/// What one line says, apart from the name itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Says {
    pub reach: Reach,
    pub effect: Effect,
    pub line: u32,
    /// Whether a name of one label may stand: only where the line itself says that it means a whole top-level domain
    /// (`||tk^`, `*.tk`). The matcher's public-suffix guard then asks whether the operator wants that.
    pub single_label: bool,
}

/// The lower-case form of each octet that may stand in a host name; the dot is itself, everything else 0.
const NAME_OCTETS: [u8; 256] = {
    let mut table = [0; 256];
    let mut c = 0;
    while c < 256 {
        let octet = c as u8;
        if octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' || octet == b'.' {
            table[c] = octet.to_ascii_lowercase();
        }
        c += 1;
    }
    table
};

/// Adds the rule that `text`, one word, makes.
pub(super) fn push_name(set: &mut RuleSet, text: &[u8], says: Says) -> Result<(), SkipReason> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let mut wire = [0; NAME_OCTETS_MAX];
    let Some(written) = write_ascii(text, &mut wire) else {
        if text.is_ascii() {
            return Err(why_no_name(text));
        }
        let name = str::from_utf8(text).ok().and_then(|text| Name::from_text(text).ok());
        return push_wire(set, name.ok_or_else(|| why_no_name(text))?.as_wire(), says);
    };
    push_wire(set, &wire[..written], says)
}

fn push_wire(set: &mut RuleSet, wire: &[u8], says: Says) -> Result<(), SkipReason> {
    if usize::from(wire[0]) + 2 == wire.len() && !says.single_label {
        return Err(SkipReason::SingleLabel);
    }
    let start = set.names.len() as u32;
    set.names.extend_from_slice(wire);
    let Says { reach, effect, line, .. } = says;
    set.rules.push(PackedRule { start, line, len: wire.len() as u8, reach, effect });
    Ok(())
}

/// Writes an ASCII host name in canonical wire form and returns its octets, or `None` when it is no such name.
fn write_ascii(text: &[u8], wire: &mut [u8; NAME_OCTETS_MAX]) -> Option<usize> {
    // A length octet before the first label and the root's zero at the end are the two octets that text lacks.
    if text.is_empty() || text.len() + 2 > NAME_OCTETS_MAX {
        return None;
    }
    let mut label_at = 0;
    let mut at = 1;
    let mut digits_only = true;
    for &c in text {
        let octet = NAME_OCTETS[usize::from(c)];
        match octet {
            0 => return None,
            b'.' => {
                wire[label_at] = label_length(at - label_at - 1)?;
                label_at = at;
                digits_only = true;
            }
            _ => {
                wire[at] = octet;
                digits_only &= octet.is_ascii_digit();
            }
        }
        at += 1;
    }
    wire[label_at] = label_length(at - label_at - 1)?;
    // A name whose last label is a number is an address that went wrong (`999.0.0.1`): no such TLD can be.
    if digits_only {
        return None;
    }
    wire[at] = 0;
    Some(at + 1)
}

fn label_length(octets: usize) -> Option<u8> {
    (1..=LABEL_OCTETS_MAX).contains(&octets).then_some(octets as u8)
}

/// Tells the kinds of text apart that a list may well hold and that are no names.
pub(super) fn why_no_name(text: &[u8]) -> SkipReason {
    if has_path(text) || has_port(text) {
        SkipReason::Path
    } else if text.contains(&b'*') {
        SkipReason::Pattern
    } else {
        SkipReason::NotAName
    }
}

/// `name/path`, `https://name`. A `/` behind something else (`local=/name/`) is another program's language.
fn has_path(text: &[u8]) -> bool {
    let Some(slash) = text.iter().position(|&c| c == b'/') else { return false };
    let (host, rest) = text.split_at(slash);
    let host = if rest.starts_with(b"//") { host.strip_suffix(b":").unwrap_or(host) } else { host };
    let host_like = |&c: &u8| NAME_OCTETS[usize::from(c)] != 0 || c == b'*' || !c.is_ascii();
    !host.is_empty() && (host.iter().all(host_like) || has_port(host))
}

/// `name:100`, `192.0.2.1:8080`.
fn has_port(text: &[u8]) -> bool {
    let Some(colon) = text.iter().rposition(|&c| c == b':') else { return false };
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let host_like = !host.is_empty() && host.iter().all(|&c| NAME_OCTETS[usize::from(c)] != 0);
    host_like && (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit)
}

/// An address or a network, host bits cleared. `None` when the text is neither.
pub(super) fn net(text: &[u8]) -> Option<IpNet> {
    let could_be = |&c: &u8| c.is_ascii_hexdigit() || matches!(c, b'.' | b':' | b'/');
    if !text.iter().all(could_be) {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    if text.contains('/') {
        return text.parse::<IpNet>().ok().map(|net| net.trunc());
    }
    text.parse::<IpAddr>().ok().map(IpNet::from)
}

/// Adds an address rule, unless it covers a good part of the Internet.
pub(super) fn push_net(set: &mut RuleSet, net: IpNet, effect: Effect, line: u32) -> Result<(), SkipReason> {
    let bits_min = match net {
        IpNet::V4(_) => ADDRESS_V4_BITS_MIN,
        IpNet::V6(_) => ADDRESS_V6_BITS_MIN,
    };
    if net.prefix_len() < bits_min {
        return Err(SkipReason::TooWide);
    }
    set.addresses.push(AddressRule { net, effect, line });
    Ok(())
}

/// How a list means the three ways to write a name without any other sign.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameReaches {
    /// `name`
    pub bare: Reach,
    /// `*.name`
    pub star: Reach,
    /// `.name`; `None`: the format means a piece of text, no name.
    pub dot: Option<Reach>,
}

/// A line of names: one name, `*.name`, `.name`, an address or network, or several bare names.
///
/// `text` is trimmed, without comment, and not empty.
pub(super) fn parse_line(set: &mut RuleSet, text: &[u8], line: u32, reaches: NameReaches) -> Result<(), SkipReason> {
    let says = Says { reach: reaches.bare, effect: Effect::List, line, single_label: false };
    if let Some(rest) = text.strip_prefix(b"*") {
        return match rest.strip_prefix(b".") {
            Some(b"") => Err(SkipReason::TooWide),
            Some(name) => push_name(set, name, Says { reach: reaches.star, single_label: true, ..says }),
            None if rest.is_empty() => Err(SkipReason::TooWide),
            None => Err(why_no_name(text)),
        };
    }
    if let Some(name) = text.strip_prefix(b".") {
        if name.is_empty() {
            return Err(SkipReason::TooWide);
        }
        let reach = reaches.dot.ok_or(SkipReason::Pattern)?;
        return push_name(set, name, Says { reach, single_label: true, ..says });
    }
    if let Some(net) = net(text) {
        return push_net(set, net, Effect::List, line);
    }
    if text.iter().any(|c| is_blank(*c)) {
        return parse_words(set, text, says);
    }
    push_name(set, text, says)
}

/// Several names in one line, as some lists have them. Prose must not block what it mentions, so every word has to be
/// a name of two labels or more.
fn parse_words(set: &mut RuleSet, text: &[u8], says: Says) -> Result<(), SkipReason> {
    let (names, rules) = (set.names.len(), set.rules.len());
    for word in words(text) {
        if push_name(set, word, says).is_err() {
            set.names.truncate(names);
            set.rules.truncate(rules);
            return Err(SkipReason::NotAName);
        }
    }
    Ok(())
}

pub(super) fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r')
}

pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&c| is_blank(c)).filter(|word| !word.is_empty())
}
