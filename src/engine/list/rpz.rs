//! Response policy zones, as zone files: a trigger as owner, an action as record.
//!
//! draft-vixie-dnsop-dns-rpz-00. Names are relative to the zone, whose own name is that of `$ORIGIN` or of the SOA. NSDNAME
//! and NSIP triggers are told and skipped: they are about servers that only a recursor meets. A bad record never costs the
//! zone; where several at one owner contradict each other, the first counts.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::engine::list::names::{Says, push_name};
use crate::engine::list::rdata::{name as rdata_name, rdata, record_type, zone_name};
use crate::engine::list::special::{Alias, Owner, Record, RuleAnswer, ZoneAction};
use crate::engine::list::zone::{Owners, name_owner};
use crate::engine::list::{Effect, Reach, RuleSet, SkipReason};
use crate::engine::name::Name;
use crate::engine::query::RecordType;

/// A zone being read.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// The zone's own name, once something said it.
    apex: Option<Name>,
    /// What relative names are below.
    origin: Option<Name>,
    /// The owner of the last record, which a line that begins with a blank goes on about.
    owner: String,
    /// Words of a record whose parenthesis is still open.
    open: Option<String>,
    ttl: Option<u32>,
    owners: Owners,
}

/// Whether a line is unmistakably of this format. `text` has no comment.
pub(super) fn is_line(text: &[u8]) -> bool {
    let mut words = text.split(|c| c.is_ascii_whitespace()).filter(|word| !word.is_empty());
    match words.next() {
        Some(b"$TTL" | b"$ORIGIN") => true,
        Some(first) => {
            let is_record =
                |word: &[u8]| [&b"CNAME"[..], b"SOA", b"NS"].iter().any(|rtype| word.eq_ignore_ascii_case(rtype));
            is_record(first) || words.take(3).any(is_record)
        }
        None => false,
    }
}

/// What an owner triggers on.
enum Trigger {
    /// Canonical wire form.
    Name(Box<[u8]>, Reach),
    Client(IpNet),
    Address(IpNet),
    /// The zone's own name.
    Apex,
}

impl Zone {
    /// Reads one line as it stands in the file. `false`: it holds nothing, or not yet a whole record.
    pub(super) fn read(&mut self, set: &mut RuleSet, line_text: &str, line: u32) -> Result<bool, SkipReason> {
        let text = without_comment(line_text);
        let joined;
        let text = match self.open.take() {
            Some(before) => {
                joined = before + " " + text;
                &joined
            }
            None => text,
        };
        if text.trim().is_empty() {
            return Ok(false);
        }
        match parentheses(text) {
            0 => {}
            1.. if text.len() < crate::engine::limits::LIST_LINE_OCTETS_MAX => {
                self.open = Some(text.to_owned());
                return Ok(false);
            }
            _ => return Err(SkipReason::Record),
        }
        // Nearly every line of a long zone is `name CNAME .`.
        if let Some(name) = plain_block(text) {
            self.owner.clear();
            self.owner.push_str(name);
            if self.origin == self.apex && push_plain(set, name, line) {
                return Ok(true);
            }
        }
        let blank_start = text.starts_with([' ', '\t']);
        let words = words(text).ok_or(SkipReason::Record)?;
        self.record(set, &words, blank_start, line)
    }

    /// Whether a record was begun and never ended.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn record(&mut self, set: &mut RuleSet, words: &[&str], blank_start: bool, line: u32) -> Result<bool, SkipReason> {
        let mut rest = words;
        if !blank_start {
            let (first, after) = words.split_first().ok_or(SkipReason::Record)?;
            if first.starts_with('$') {
                return self.directive(first, after).map(|()| false);
            }
            self.owner.clear();
            self.owner.push_str(first);
            rest = after;
        }
        let (ttl, rtype, data) = ttl_and_type(rest)?;
        if rtype == RecordType::SOA {
            self.soa()?;
            return Ok(false);
        }
        let trigger = match self.trigger()? {
            // NS and whatever else the zone says about itself.
            Trigger::Apex => return Ok(false),
            trigger => trigger,
        };
        // What a signed or served zone carries beside its rules.
        if matches!(rtype, RecordType::NS | RecordType::RRSIG | RecordType::NSEC | RecordType::DNSKEY | RecordType(50))
        {
            return Err(SkipReason::Directive);
        }
        let ttl = ttl.or(self.ttl);
        let origin = self.origin.clone().unwrap_or(Name::ROOT);
        if rtype == RecordType::CNAME {
            let [target] = data[..] else { return Err(SkipReason::Record) };
            let action = action(target, &origin, ttl)?;
            return self.add(set, trigger, action, line).map(|()| true);
        }
        let rdata = rdata(rtype, data, &origin).ok_or(SkipReason::Record)?;
        let record = Record { rtype, ttl, rdata };
        self.owners.add_record(set, owner_of(trigger)?, record, line).map(|()| true)
    }

    fn add(&mut self, set: &mut RuleSet, trigger: Trigger, action: ZoneAction, line: u32) -> Result<(), SkipReason> {
        match (trigger, action) {
            (Trigger::Name(wire, reach), ZoneAction::Block) => {
                set.push_wire(&wire, reach, Effect::List, line);
                Ok(())
            }
            (trigger, action) => self.owners.add(set, owner_of(trigger)?, action, line),
        }
    }

    fn directive(&mut self, key: &str, words: &[&str]) -> Result<(), SkipReason> {
        match (key.to_ascii_uppercase().as_str(), words) {
            ("$TTL", [ttl]) => self.ttl = Some(ttl_secs(ttl).ok_or(SkipReason::Record)?),
            ("$ORIGIN", [origin]) => {
                let below = self.origin.clone().unwrap_or(Name::ROOT);
                let origin = rdata_name(origin, &below).ok_or(SkipReason::NotAName)?;
                self.apex.get_or_insert_with(|| origin.clone());
                self.origin = Some(origin);
            }
            _ => return Err(SkipReason::Directive),
        }
        Ok(())
    }

    /// The owner of the SOA is the zone's own name.
    fn soa(&mut self) -> Result<(), SkipReason> {
        if self.owner != "@" {
            let below = self.origin.clone().unwrap_or(Name::ROOT);
            let apex = rdata_name(&self.owner, &below).ok_or(SkipReason::NotAName)?;
            self.origin.get_or_insert_with(|| apex.clone());
            self.apex = Some(apex);
        }
        Ok(())
    }

    fn trigger(&self) -> Result<Trigger, SkipReason> {
        let relative = self.relative()?;
        let Some(relative) = relative.as_deref() else { return Ok(Trigger::Apex) };
        let (head, kind) = relative.rsplit_once('.').unwrap_or(("", relative));
        match kind.to_ascii_lowercase().as_str() {
            "rpz-client-ip" => return net(head).map(Trigger::Client),
            "rpz-ip" => return net(head).map(Trigger::Address),
            "rpz-nsip" | "rpz-nsdname" => return Err(SkipReason::NeedsRecursion),
            _ => {}
        }
        let (text, reach) = match relative.strip_prefix("*.") {
            Some(rest) => (rest, Reach::Children),
            // Everything that the zone does not name otherwise. The public-suffix guard asks whether that is wanted.
            None if relative == "*" => return Ok(Trigger::Name(Box::new([0]), Reach::Children)),
            None => (relative, Reach::Exact),
        };
        if text.split('.').any(|label| label == "*") {
            return Err(SkipReason::Pattern);
        }
        let name = zone_name(text).ok_or(SkipReason::NotAName)?;
        Ok(Trigger::Name(name.as_wire().into(), reach))
    }

    /// The owner's text below the zone's own name; `None`: that name itself.
    fn relative(&self) -> Result<Option<String>, SkipReason> {
        let owner = self.owner.as_str();
        let absolute = owner.strip_suffix('.').filter(|rest| !rest.ends_with('\\'));
        let (origin, apex) = (self.origin.as_ref(), self.apex.as_ref());
        let whole = match (owner, absolute, origin) {
            ("@", ..) => origin.map(ToString::to_string).unwrap_or_default(),
            (_, Some(absolute), _) => absolute.to_owned(),
            (_, None, Some(origin)) if !origin.is_root() => format!("{owner}.{origin}"),
            (_, None, _) => owner.to_owned(),
        };
        let Some(apex) = apex.filter(|apex| !apex.is_root()) else {
            // Nothing said the zone's name: only relative names are surely below it.
            return match absolute {
                Some(_) => Err(SkipReason::OutOfZone),
                None => Ok((owner != "@").then_some(whole)),
            };
        };
        let apex = apex.to_string();
        if whole.eq_ignore_ascii_case(&apex) {
            return Ok(None);
        }
        let at = whole.len().checked_sub(apex.len() + 1).ok_or(SkipReason::OutOfZone)?;
        // An owner may be any text: what is cut off may begin inside a character.
        let (below, end) = whole.split_at_checked(at).ok_or(SkipReason::OutOfZone)?;
        let is_below = end.strip_prefix('.').is_some_and(|end| end.eq_ignore_ascii_case(&apex));
        if is_below { Ok(Some(below.to_owned())) } else { Err(SkipReason::OutOfZone) }
    }

    /// Plain blocks at an owner that also has an answer: the earlier of the two counts. Returns the lines that do not.
    pub(super) fn settle(set: &mut RuleSet) -> Vec<u32> {
        let mut answers: HashMap<(Box<[u8]>, Reach), u32> = HashMap::new();
        for rule in &set.specials {
            if let Owner::Name { name, reach } = &rule.owner {
                answers.insert((name.clone(), *reach), rule.line);
            }
        }
        if answers.is_empty() {
            return Vec::new();
        }
        let mut lost = Vec::new();
        let mut blocked_first: HashSet<(Box<[u8]>, Reach)> = HashSet::new();
        let RuleSet { names, rules, specials, .. } = set;
        rules.retain(|rule| {
            let name = &names[rule.start as usize..][..usize::from(rule.len)];
            let key = (Box::from(name), rule.reach);
            match answers.get(&key) {
                Some(&line) if line < rule.line => {
                    lost.push(rule.line);
                    false
                }
                Some(&line) => {
                    lost.push(line);
                    blocked_first.insert(key);
                    true
                }
                None => true,
            }
        });
        specials.retain(|rule| match &rule.owner {
            Owner::Name { name, reach } => !blocked_first.contains(&(name.clone(), *reach)),
            Owner::Pattern(_) | Owner::Client(_) | Owner::Address(_) => true,
        });
        lost
    }
}

fn owner_of(trigger: Trigger) -> Result<Owner, SkipReason> {
    match trigger {
        Trigger::Name(wire, reach) => Ok(name_owner(&wire, reach)),
        Trigger::Client(net) => Ok(Owner::Client(net)),
        Trigger::Address(net) => Ok(Owner::Address(net)),
        Trigger::Apex => Err(SkipReason::Directive),
    }
}

/// What a CNAME means. RPZ §3.
fn action(target: &str, origin: &Name, ttl: Option<u32>) -> Result<ZoneAction, SkipReason> {
    let answer = match target.to_ascii_lowercase().as_str() {
        "." => return Ok(ZoneAction::Block),
        "*." => RuleAnswer::Nodata,
        "rpz-passthru." => return Ok(ZoneAction::Pass),
        "rpz-drop." => RuleAnswer::Drop,
        "rpz-tcp-only." => RuleAnswer::TcpOnly,
        other if other.starts_with("rpz-") && other.ends_with('.') && other.matches('.').count() == 1 => {
            return Err(SkipReason::Action);
        }
        other => {
            let (text, expands) = other.strip_prefix("*.").map_or((other, false), |rest| (rest, true));
            let target = rdata_name(text, origin).ok_or(SkipReason::Record)?;
            RuleAnswer::Alias(Arc::new(Alias { target, expands, ttl }))
        }
    };
    Ok(ZoneAction::Answer(answer))
}

/// The name of `name CNAME .`, with nothing else in the line.
fn plain_block(text: &str) -> Option<&str> {
    let (name, rest) = text.split_once([' ', '\t'])?;
    let mut words = rest.split_ascii_whitespace();
    let is_plain =
        !name.is_empty() && !name.starts_with(['$', '@', '"']) && !name.ends_with('.') && !name.contains('\\');
    let is_block = words.next()?.eq_ignore_ascii_case("CNAME") && words.next()? == "." && words.next().is_none();
    (is_plain && is_block).then_some(name)
}

/// Adds `name` or `*.name` when it is an ordinary host name that is no trigger of another kind.
fn push_plain(set: &mut RuleSet, name: &str, line: u32) -> bool {
    let (name, reach) = name.strip_prefix("*.").map_or((name, Reach::Exact), |rest| (rest, Reach::Children));
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.is_empty() || last.as_bytes().get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"rpz-")) {
        return false;
    }
    push_name(set, name.as_bytes(), Says { reach, effect: Effect::List, line, single_label: true }).is_ok()
}

/// `24.0.2.0.192`, `48.zz.2.2001`: the prefix length, then the address from its end. RPZ §4.1.1.
fn net(text: &str) -> Result<IpNet, SkipReason> {
    let (length, parts) = text.split_once('.').ok_or(SkipReason::BadAddress)?;
    let length: u8 = length.parse().map_err(|_| SkipReason::BadAddress)?;
    let mut parts: Vec<&str> = parts.split('.').collect();
    parts.reverse();
    let v4 = || parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    let v6 = || {
        let text = parts.join(":");
        let text = match text.as_str() {
            "zz" => "::".to_owned(),
            text => text.replace(":zz:", "::").replace("zz:", "::").replace(":zz", "::"),
        };
        text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let address = if parts.len() == 4 && !parts.contains(&"zz") { v4() } else { v6() };
    let net = IpNet::new(address.ok_or(SkipReason::BadAddress)?, length).map_err(|_| SkipReason::BadAddress)?;
    // Bits behind the prefix would be somebody's mistake in one or the other.
    if net.trunc() == net { Ok(net) } else { Err(SkipReason::BadAddress) }
}

/// What stands between a record's owner and its data: TTL and class, in any order and not always, and the type.
pub(super) fn ttl_and_type<'a, 'w>(
    mut words: &'a [&'w str],
) -> Result<(Option<u32>, RecordType, &'a [&'w str]), SkipReason> {
    let mut ttl = None;
    while let Some((word, after)) = words.split_first() {
        if word.eq_ignore_ascii_case("IN") {
        } else if let (None, Some(secs)) = (ttl, ttl_secs(word)) {
            ttl = Some(secs);
        } else {
            break;
        }
        words = after;
    }
    let (rtype, data) = words.split_first().ok_or(SkipReason::Record)?;
    Ok((ttl, record_type(rtype).ok_or(SkipReason::Record)?, data))
}

/// `300`, `1h30m`, `2w`. At most what 31 bits hold (RFC 2181 §8).
fn ttl_secs(text: &str) -> Option<u32> {
    let (mut total, mut number, mut digits) = (0u64, 0u64, 0);
    for c in text.bytes() {
        let unit = match c.to_ascii_lowercase() {
            b'0'..=b'9' if digits < 10 => {
                number = number * 10 + u64::from(c - b'0');
                digits += 1;
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        if digits == 0 {
            return None;
        }
        total += number * unit;
        (number, digits) = (0, 0);
    }
    let is_bare_end = digits > 0;
    total += number;
    (is_bare_end || text.len() > 1).then(|| u32::try_from(total.min(i32::MAX as u64)).ok()).flatten()
}

/// The line up to its `;`, unless that is quoted or escaped.
fn without_comment(text: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.bytes().enumerate() {
        match c {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return &text[..at],
            _ => {}
        }
    }
    text
}

/// Parentheses open at the end of the text, less those closed.
fn parentheses(text: &str) -> i32 {
    if !text.contains(['(', ')']) {
        return 0;
    }
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.bytes() {
        match c {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth
}

/// Words between blanks; parentheses count as blanks, and what is quoted is one word without its quotes. `None`: a quote
/// does not end.
pub(super) fn words(text: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let octets = text.as_bytes();
    let mut at = 0;
    while at < octets.len() {
        match octets[at] {
            b' ' | b'\t' | b'\r' | b'(' | b')' => at += 1,
            b'"' => {
                let from = at + 1;
                at = from;
                while *octets.get(at)? != b'"' {
                    at += if octets[at] == b'\\' { 2 } else { 1 };
                }
                words.push(text.get(from..at)?);
                at += 1;
            }
            _ => {
                let from = at;
                while at < octets.len() && !matches!(octets[at], b' ' | b'\t' | b'\r' | b'(' | b')') {
                    at += if octets[at] == b'\\' { 2 } else { 1 };
                }
                at = at.min(octets.len());
                words.push(text.get(from..at)?);
            }
        }
    }
    Some(words)
}
