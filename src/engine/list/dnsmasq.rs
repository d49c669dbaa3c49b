//! dnsmasq's `address=`, `server=` and `local=` lines: names with all below, and what becomes of them.
//!
//! Two readings differ from dnsmasq's, because a list is about names and not about types: `address=/name/0.0.0.0` blocks
//! every type (dnsmasq forwards all but A), and `address=/name/192.0.2.1` has no other records.

use std::net::IpAddr;

use crate::engine::list::names::{Says, push_name};
use crate::engine::list::special::{Action, From, Owner, Record, SpecialRule, ZoneAction};
use crate::engine::list::zone::{Owners, is_sink, name_owner};
use crate::engine::list::{Effect, Reach, RuleSet, SkipReason, pattern};
use crate::engine::query::RecordType;

/// Whether a line is unmistakably of this format.
pub(super) fn is_line(text: &[u8]) -> bool {
    [&b"address=/"[..], b"server=/", b"local=/"].iter().any(|start| text.starts_with(start))
}

/// What a line says of its names.
enum Target {
    Block,
    /// Forwarded as any other name: an exception.
    Pass,
    Address(IpAddr),
}

/// Reads one line. `text` is trimmed, without comment, and not empty.
pub(super) fn parse_line(
    set: &mut RuleSet,
    owners: &mut Owners,
    text: &[u8],
    line: u32,
    bare: Reach,
) -> Result<(), SkipReason> {
    let (key, value) =
        text.iter().position(|&c| c == b'=').map_or((text, &b""[..]), |at| (&text[..at], &text[at + 1..]));
    let key = key.trim_ascii_end();
    let is_directive = !key.is_empty() && key.iter().all(|&c| c.is_ascii_lowercase() || c == b'-');
    if !matches!(key, b"address" | b"server" | b"local") {
        return Err(if is_directive { SkipReason::Directive } else { SkipReason::NotAName });
    }
    let value = value.trim_ascii_start();
    let Some(value) = value.strip_prefix(b"/") else { return Err(SkipReason::Directive) };
    // Without the closing slash dnsmasq does not start at all.
    let last = value.iter().rposition(|&c| c == b'/').ok_or(SkipReason::NotAName)?;
    let target = target(key, value[last + 1..].trim_ascii())?;
    let mut outcome = Ok(());
    for domain in value[..last].split(|&c| c == b'/') {
        outcome = outcome.and(push(set, owners, domain, &target, line, bare));
    }
    outcome
}

fn target(key: &[u8], text: &[u8]) -> Result<Target, SkipReason> {
    let address = || str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
    match (key, text) {
        (_, b"") => Ok(Target::Block),
        // `#` is the null address here and the ordinary servers there.
        (b"address", b"#") => Ok(Target::Block),
        (b"address", _) => address().map(Target::Address).ok_or(SkipReason::BadAddress),
        // Whichever server it names: the name is not to be blocked.
        _ => Ok(Target::Pass),
    }
}

fn push(
    set: &mut RuleSet,
    owners: &mut Owners,
    domain: &[u8],
    target: &Target,
    line: u32,
    bare: Reach,
) -> Result<(), SkipReason> {
    let (name, reach) = match domain {
        b"" | b"#" | b"*" | b"*." | b"." => return Err(SkipReason::TooWide),
        _ => match (domain.strip_prefix(b"*."), domain.strip_prefix(b".")) {
            (Some(name), _) => (name, Reach::Children),
            (None, Some(name)) => (name, Reach::Subtree),
            (None, None) => (domain, bare),
        },
    };
    let action = match target {
        Target::Block => ZoneAction::Block,
        Target::Pass => ZoneAction::Pass,
        Target::Address(address) => {
            let record = record(*address);
            if !is_sink(&record) {
                let owner = owner(set, name, reach, line)?;
                return owners.add_record(set, owner, record, line);
            }
            ZoneAction::Block
        }
    };
    if let Some(end) = name.strip_prefix(b"*") {
        // `*ads.example`: whatever ends so.
        let owner = Owner::Pattern(pattern::mask(end, From::Anywhere, true)?);
        return set.push_special(SpecialRule { owner, condition: None, action: Action::Zone(action), line });
    }
    if action == ZoneAction::Block {
        return push_name(set, name, Says { reach, effect: Effect::List, line, single_label: true });
    }
    let owner = owner(set, name, reach, line)?;
    owners.add(set, owner, action, line)
}

fn owner(set: &mut RuleSet, name: &[u8], reach: Reach, line: u32) -> Result<Owner, SkipReason> {
    if let Some(end) = name.strip_prefix(b"*") {
        return Ok(Owner::Pattern(pattern::mask(end, From::Anywhere, true)?));
    }
    let wire =
        set.name_of(|set| push_name(set, name, Says { reach, effect: Effect::List, line, single_label: true }))?;
    Ok(name_owner(&wire, reach))
}

fn record(address: IpAddr) -> Record {
    match address {
        IpAddr::V4(v4) => Record { rtype: RecordType::A, ttl: None, rdata: v4.octets().into() },
        IpAddr::V6(v6) => Record { rtype: RecordType::AAAA, ttl: None, rdata: v6.octets().into() },
    }
}
