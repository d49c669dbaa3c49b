//! What follows the `$` of an Adblock rule, as far as AdGuard's DNS syntax has it.
//!
//! "If a rule contains a modifier not listed in this document, the whole rule must be ignored": a value that cannot be
//! read and a modifier about pages skip the rule, they are never left out of it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::list::SkipReason;
use crate::engine::list::rdata::{rdata, record_type};
use crate::engine::list::special::{ClientIs, Condition, OneOf, Record, Rewritten};
use crate::engine::name::Name;
use crate::engine::query::{Rcode, RecordType};

/// Everything that the modifiers of one rule say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Modifiers {
    pub important: bool,
    /// The rule voids the one that is the same without this word.
    pub badfilter: bool,
    pub condition: Condition,
    /// `None`: no `$dnsrewrite`; `Some(None)`: one without a value.
    pub rewrite: Option<Option<Rewritten>>,
}

/// Reads `important,dnstype=A|AAAA`. A `\` before a comma makes it part of a value.
pub(super) fn parse(text: &[u8]) -> Result<Modifiers, SkipReason> {
    let text = str::from_utf8(text).map_err(|_| SkipReason::NotUtf8)?;
    let mut modifiers = Modifiers::default();
    for modifier in split(text, ',') {
        let (key, value) = modifier.split_once('=').unwrap_or((modifier, ""));
        let Modifiers { important, badfilter, condition, rewrite } = &mut modifiers;
        match key {
            "important" => *important = true,
            "badfilter" => *badfilter = true,
            "dnstype" => condition.types = types(value).ok_or(SkipReason::Modifier)?,
            "denyallow" => condition.deny_allow = deny_allow(value).ok_or(SkipReason::Modifier)?,
            "client" => condition.clients = values(value, client).ok_or(SkipReason::Modifier)?,
            "ctag" => condition.tags = values(value, tag).ok_or(SkipReason::Modifier)?,
            "dnsrewrite" if value.is_empty() => *rewrite = Some(None),
            "dnsrewrite" => *rewrite = Some(Some(rewritten(value).ok_or(SkipReason::Modifier)?)),
            _ => return Err(SkipReason::Modifier),
        }
    }
    Ok(modifiers)
}

/// Parts between separators that no `\` stands before.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == separator && !escaped {
            parts.push(&text[from..at]);
            from = at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[from..]);
    parts
}

/// Values between `|`; a `~` before one negates it.
fn values<T: Ord>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<OneOf<T>> {
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    for value in split(text, '|') {
        match value.strip_prefix('~') {
            Some(value) => unwanted.push(read(value)?),
            None => wanted.push(read(value)?),
        }
    }
    for side in [&mut wanted, &mut unwanted] {
        side.sort_unstable();
        side.dedup();
    }
    Some(OneOf { wanted: wanted.into(), unwanted: unwanted.into() })
}

fn types(text: &str) -> Option<OneOf<RecordType>> {
    let mut types = values(text, |value| record_type(value).map(|rtype| rtype.0))?;
    // Where both kinds stand, the reference looks at the wanted ones alone.
    if !types.wanted.is_empty() {
        types.unwanted = Box::default();
    }
    let typed = |side: Box<[u16]>| side.iter().map(|&number| RecordType(number)).collect();
    Some(OneOf { wanted: typed(types.wanted), unwanted: typed(types.unwanted) })
}

fn deny_allow(text: &str) -> Option<Box<[Box<[u8]>]>> {
    let mut names: Vec<Box<[u8]>> = text
        .split('|')
        .map(|name| Name::from_text(name).ok().map(|name| name.as_wire().into()))
        .collect::<Option<_>>()?;
    names.sort_unstable();
    Some(names.into())
}

/// An address, a network or a name, which may be quoted.
fn client(text: &str) -> Option<ClientIs> {
    let quoted = |quote| text.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    let text = quoted('\'').or_else(|| quoted('"')).unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(ClientIs::At(IpNet::from(address.to_canonical())));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(ClientIs::At(net.trunc()));
    }
    let mut name = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        name.extend(if c == '\\' { rest.next() } else { Some(c) });
    }
    Some(ClientIs::Named(name.into()))
}

fn tag(text: &str) -> Option<Box<str>> {
    let is_tag = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    is_tag.then(|| text.into())
}

/// `192.0.2.1`, `REFUSED`, `other.example`, or `RCODE;TYPE;VALUE`.
fn rewritten(value: &str) -> Option<Rewritten> {
    let mut parts = value.splitn(3, ';');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(short), None, _) => rewritten_short(short),
        (Some(rcode), Some(rtype), Some(value)) => rewritten_long(rcode, rtype, value),
        _ => None,
    }
}

fn rewritten_short(text: &str) -> Option<Rewritten> {
    match text {
        "NOERROR" => return Some(Rewritten::Rcode(Rcode::NOERROR)),
        "SERVFAIL" => return Some(Rewritten::Rcode(Rcode::SERVFAIL)),
        "NXDOMAIN" => return Some(Rewritten::Rcode(Rcode::NXDOMAIN)),
        "REFUSED" => return Some(Rewritten::Rcode(Rcode::REFUSED)),
        _ if text.bytes().all(|c| c.is_ascii_uppercase()) => return None,
        _ => {}
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => Some(record(RecordType::A, v4.octets().into())),
        Ok(IpAddr::V6(v6)) => Some(record(RecordType::AAAA, v6.octets().into())),
        Err(_) => host(text).map(|name| Rewritten::Cname(Box::new(name))),
    }
}

fn rewritten_long(rcode: &str, rtype: &str, value: &str) -> Option<Rewritten> {
    let known = [
        ("NOERROR", Rcode::NOERROR),
        ("FORMERR", Rcode::FORMERR),
        ("SERVFAIL", Rcode::SERVFAIL),
        ("NXDOMAIN", Rcode::NXDOMAIN),
        ("NOTIMP", Rcode::NOTIMP),
        ("REFUSED", Rcode::REFUSED),
    ];
    let (_, rcode) = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(rcode))?;
    if rcode != Rcode::NOERROR || (rtype.is_empty() && value.is_empty()) {
        return Some(Rewritten::Rcode(rcode));
    }
    let rtype = record_type(rtype)?;
    let words: Vec<&str> = match rtype {
        RecordType::TXT => return text(value),
        _ => value.split(' ').collect(),
    };
    // Hosts are read as host names, more strictly than a zone file would.
    let hosts: &[&str] = match (rtype, &words[..]) {
        (RecordType::CNAME, [target]) => return host(target).map(|name| Rewritten::Cname(Box::new(name))),
        (RecordType::PTR, [target]) => &[target],
        (RecordType::MX | RecordType::SVCB | RecordType::HTTPS, [_, target, ..]) => &[target],
        (RecordType::SRV, [_, _, _, target]) => &[target],
        _ => &[],
    };
    if !hosts.iter().all(|target| *target == "." || host(target).is_some()) {
        return None;
    }
    rdata(rtype, &words, &Name::ROOT).map(|rdata| record(rtype, rdata))
}

/// A text of any length, cut into strings of 255 octets.
fn text(value: &str) -> Option<Rewritten> {
    let mut octets = Vec::with_capacity(value.len() + 1);
    for part in value.as_bytes().chunks(255) {
        octets.push(part.len() as u8);
        octets.extend_from_slice(part);
    }
    (!octets.is_empty()).then(|| record(RecordType::TXT, octets.into()))
}

fn host(text: &str) -> Option<Name> {
    Name::from_text(text).ok()
}

fn record(rtype: RecordType, rdata: Box<[u8]>) -> Rewritten {
    Rewritten::Record(Record { rtype, ttl: None, rdata })
}
