//! Unbound's `local-zone:` and `local-data:` lines.
//!
//! A zone that answers nothing is a block, whichever way it says so, and so is one whose data is a sink; a type that says
//! how (`always_refuse`, `deny`, `always_nodata`) is done as it says. Tags, views and PTR data are read over.

use std::collections::HashSet;

use crate::engine::list::names::{Says, push_name};
use crate::engine::list::rdata::{rdata, zone_name};
use crate::engine::list::rpz::ttl_and_type;
use crate::engine::list::special::{Record, RuleAnswer, ZoneAction};
use crate::engine::list::zone::{Owners, is_sink, name_owner};
use crate::engine::list::{Effect, Reach, RuleSet, SkipReason};
use crate::engine::name::Name;
use crate::engine::query::Rcode;

/// Zones whose own data is everything below them too.
#[derive(Debug, Default)]
pub(super) struct Zones {
    redirects: HashSet<Box<[u8]>>,
}

/// Whether a line is unmistakably of this format.
pub(super) fn is_line(text: &[u8]) -> bool {
    text.starts_with(b"local-zone:") || text.starts_with(b"local-data:")
}

/// Reads one line. `text` is trimmed, without comment, and not empty.
pub(super) fn parse_line(
    set: &mut RuleSet,
    owners: &mut Owners,
    zones: &mut Zones,
    text: &[u8],
    line: u32,
) -> Result<(), SkipReason> {
    let (key, value) =
        text.iter().position(|&c| c == b':').map_or((text, &b""[..]), |at| (&text[..at], &text[at + 1..]));
    let value = value.trim_ascii();
    match key {
        b"local-zone" => local_zone(set, owners, zones, value, line),
        b"local-data" => local_data(set, owners, zones, value, line),
        _ => {
            let is_directive = !key.is_empty() && key.iter().all(|&c| c.is_ascii_lowercase() || c == b'-');
            Err(if is_directive { SkipReason::Directive } else { SkipReason::NotAName })
        }
    }
}

fn local_zone(
    set: &mut RuleSet,
    owners: &mut Owners,
    zones: &mut Zones,
    value: &[u8],
    line: u32,
) -> Result<(), SkipReason> {
    let (name, rest) = quoted(value).ok_or(SkipReason::NotAName)?;
    let says = Says { reach: Reach::Subtree, effect: Effect::List, line, single_label: true };
    if matches!(name, b"." | b"") {
        return Err(SkipReason::TooWide);
    }
    let kind = rest.trim_ascii();
    let kind = quoted(kind).map_or(kind, |(kind, _)| kind);
    let action = match kind {
        b"always_nxdomain" | b"always_null" | b"static" => return push_name(set, name, says),
        b"refuse" | b"always_refuse" => ZoneAction::Answer(RuleAnswer::Rcode(Rcode::REFUSED)),
        b"deny" | b"always_deny" | b"inform_deny" => ZoneAction::Answer(RuleAnswer::Drop),
        b"always_nodata" => ZoneAction::Answer(RuleAnswer::Nodata),
        b"transparent" | b"always_transparent" | b"typetransparent" | b"inform" | b"nodefault" => ZoneAction::Pass,
        b"redirect" | b"inform_redirect" => {
            let wire = set.name_of(|set| push_name(set, name, says))?;
            zones.redirects.insert(wire);
            return Ok(());
        }
        // `block_a` and its kin are about one type, `noview` about views.
        _ => return Err(SkipReason::Directive),
    };
    let wire = set.name_of(|set| push_name(set, name, says))?;
    owners.add(set, name_owner(&wire, Reach::Subtree), action, line)
}

fn local_data(
    set: &mut RuleSet,
    owners: &mut Owners,
    zones: &Zones,
    value: &[u8],
    line: u32,
) -> Result<(), SkipReason> {
    let (record, _) = quoted(value).ok_or(SkipReason::NotAName)?;
    let record = str::from_utf8(record).map_err(|_| SkipReason::NotUtf8)?;
    let words = crate::engine::list::rpz::words(record).ok_or(SkipReason::Record)?;
    let (name, rest) = words.split_first().ok_or(SkipReason::Record)?;
    let (ttl, rtype, data) = ttl_and_type(rest)?;
    let name = zone_name(name.strip_suffix('.').unwrap_or(name)).ok_or(SkipReason::NotAName)?;
    let data = rdata(rtype, data, &Name::ROOT).ok_or(SkipReason::Record)?;
    let record = Record { rtype, ttl, rdata: data };
    let reach = if zones.redirects.contains(name.as_wire()) { Reach::Subtree } else { Reach::Exact };
    if is_sink(&record) {
        set.push_wire(name.as_wire(), reach, Effect::List, line);
        return Ok(());
    }
    owners.add_record(set, name_owner(name.as_wire(), reach), record, line)
}

/// A word, quoted or not, and what follows it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let &first = text.first()?;
    if matches!(first, b'"' | b'\'') {
        let end = text[1..].iter().position(|&c| c == first)? + 1;
        return Some((&text[1..end], &text[end + 1..]));
    }
    let end = text.iter().position(|c| c.is_ascii_whitespace()).unwrap_or(text.len());
    Some((&text[..end], &text[end..]))
}
