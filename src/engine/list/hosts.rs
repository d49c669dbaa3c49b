//! hosts lines: a sink address, then names, each exactly itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::list::names::{Says, push_name, words};
use crate::engine::list::{Effect, Reach, RuleSet, SkipReason};

/// Reads `address name …`. Names that can stand become rules even when a neighbour cannot; the first that cannot gives
/// the reason. `text` is trimmed, without comment, and not empty.
pub(super) fn parse_line(set: &mut RuleSet, text: &[u8], line: u32, reach: Reach) -> Result<(), SkipReason> {
    let mut words = words(text);
    let address = words.next().and_then(address).ok_or(SkipReason::BadAddress)?;
    if !is_sink(address) {
        return Err(SkipReason::RealAddress);
    }
    let mut names = words.peekable();
    // An address alone says nothing; other readers skip it with an error, so do we.
    names.peek().ok_or(SkipReason::NotAName)?;
    let says = Says { reach, effect: Effect::List, line, single_label: false };
    let mut outcome = Ok(());
    for name in names {
        outcome = outcome.and(push_name(set, name, says));
    }
    outcome
}

/// Whether a line is unmistakably of this format: an address, and something after it.
pub(super) fn is_line(text: &[u8]) -> bool {
    // Cheap first: a name that begins a line of another format rarely begins with these.
    if !matches!(text[0], b'0'..=b'9' | b':' | b'a'..=b'f' | b'A'..=b'F') {
        return false;
    }
    let mut words = words(text);
    words.next().and_then(address).is_some() && words.next().is_some()
}

/// An address, with or without a zone (`fe80::1%lo0`).
fn address(word: &[u8]) -> Option<IpAddr> {
    let end = word.iter().position(|&c| c == b'%').unwrap_or(word.len());
    if word[..end] == *b"0.0.0.0" {
        return Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    str::from_utf8(&word[..end]).ok()?.parse().ok()
}

/// Addresses that stand for "nowhere". Any other is an answer that the file wants given, not a block.
pub(super) fn is_sink(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4, Ipv4Addr::UNSPECIFIED | Ipv4Addr::LOCALHOST | Ipv4Addr::BROADCAST),
        IpAddr::V6(v6) => matches!(v6, Ipv6Addr::UNSPECIFIED | Ipv6Addr::LOCALHOST),
    }
}
