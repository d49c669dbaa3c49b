//! Rules that say more than "this name is listed": under which condition, with which answer, or about what other than a
//! name.
//!
//! A plain rule is a name and a reach and there are millions of them; these are the others. Each keeps its line, so that
//! `explain` can show it. Nothing here decides which of several rules wins; that is policy's.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::engine::list::Reach;
use crate::engine::name::{Name, wire_is_at_or_below};
use crate::engine::query::{Rcode, RecordType};

/// One such rule. `line` counts from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SpecialRule {
    pub owner: Owner,
    /// `None`: always.
    pub condition: Option<Box<Condition>>,
    pub action: Action,
    pub line: u32,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// Canonical wire form, which may be the root's.
    Name { name: Box<[u8]>, reach: Reach },
    /// Names that look like this.
    Pattern(Pattern),
    /// Whoever asks from there, whatever the name: RPZ's CLIENT-IP.
    Client(IpNet),
    /// Addresses of answers: RPZ's IP.
    Address(IpNet),
}

/// The look of a name, in the text that it has without its final dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// Contains `text`, there.
    Literal { text: Box<str>, from: From, ends: bool },
    /// A regular expression that somewhere matches. It was compiled once, so it can be again.
    Regex(Box<str>),
}

/// Where a literal begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum From {
    /// At the start of the name.
    Start,
    /// At the start or behind a dot.
    Label,
    /// As a whole word of a label: hyphens and the label's ends part words.
    Word,
    Anywhere,
}

/// When a rule holds. Every part must.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition {
    pub types: OneOf<RecordType>,
    /// `$denyallow`: not for these names and what is below them. Canonical wire form.
    pub deny_allow: Box<[Box<[u8]>]>,
    pub clients: OneOf<ClientIs>,
    pub tags: OneOf<Box<str>>,
}

/// Values that are asked for and values that must not be; sorted, so that equal conditions are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OneOf<T> {
    pub wanted: Box<[T]>,
    pub unwanted: Box<[T]>,
}

impl<T> Default for OneOf<T> {
    fn default() -> OneOf<T> {
        OneOf { wanted: Box::default(), unwanted: Box::default() }
    }
}

impl<T> OneOf<T> {
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    fn holds(&self, is: impl Fn(&T) -> bool) -> bool {
        !self.unwanted.iter().any(&is) && (self.wanted.is_empty() || self.wanted.iter().any(&is))
    }
}

/// One value of `$client`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientIs {
    At(IpNet),
    Named(Box<str>),
}

/// Who asks, as far as conditions can see it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub source: IpAddr,
    /// Of the `[client.*]` that matched.
    pub name: Option<&'a str>,
    pub tags: &'a [String],
}

impl Condition {
    /// How many things it asks for.
    pub fn parts(&self) -> usize {
        let parts =
            [!self.types.is_empty(), !self.deny_allow.is_empty(), !self.clients.is_empty(), !self.tags.is_empty()];
        parts.into_iter().filter(|part| *part).count()
    }

    /// Whether the rule holds for this question. `name` is what is judged: the question's or one of its answer's.
    pub fn holds(&self, name: &[u8], qtype: RecordType, asker: &Asker<'_>) -> bool {
        self.types.holds(|wanted| *wanted == qtype)
            && !self.deny_allow.iter().any(|spared| wire_is_at_or_below(name, spared))
            && self.clients.holds(|client| match client {
                ClientIs::At(net) => net.contains(&asker.source.to_canonical()),
                ClientIs::Named(name) => asker.name == Some(name),
            })
            && self.tags.holds(|tag| asker.tags.iter().any(|has| has.as_str() == &**tag))
    }
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Puts the name on the list; `important`: no exception without that word undoes it.
    Block { important: bool },
    /// Takes it off this list again, however specific the other rule is.
    Except { important: bool },
    /// `$dnsrewrite`: an answer of its own, whatever else the list says.
    Rewrite { answer: Rewritten, important: bool },
    /// `@@…$dnsrewrite`: undoes the rewrites with that answer; `None`: all of them.
    Unrewrite { answer: Option<Rewritten>, important: bool },
    /// One of a zone's: the most specific of the list is the one that counts.
    Zone(ZoneAction),
    /// A keyword that only counts what it meets.
    Review,
}

/// What the rule of a zone does: RPZ, and local zones of dnsmasq and Unbound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ZoneAction {
    /// As if the list did not know the name; and, in RPZ, nor any later policy zone.
    Pass,
    /// Listed; the profile says how that is answered.
    Block,
    Answer(RuleAnswer),
}

/// An answer that a rule gives itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RuleAnswer {
    Nodata,
    /// NXDOMAIN, SERVFAIL or REFUSED.
    Rcode(Rcode),
    Drop,
    /// TC over UDP, so that the client comes again by TCP and is let by.
    TcpOnly,
    Records(Arc<Records>),
    /// A CNAME, and what it leads to.
    Alias(Arc<Alias>),
}

/// A CNAME that a rule gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alias {
    pub target: Name,
    /// `*.garden.example`: the name asked is put in front of the target.
    pub expands: bool,
    /// In seconds; `None`: what blocks have.
    pub ttl: Option<u32>,
}

impl Alias {
    /// Where `name` is sent. `None`: it would be too long to be a name.
    pub fn target_of(&self, name: &Name) -> Option<Name> {
        if !self.expands {
            return Some(self.target.clone());
        }
        let labels = &name.as_wire()[..name.as_wire().len() - 1];
        Name::from_wire(&[labels, self.target.as_wire()].concat()).ok()
    }
}

/// Records that a rule gives; a type that is not among them is NODATA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Records {
    pub all: Vec<Record>,
}

/// One record's type and data, without an owner: it takes the name that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    pub rtype: RecordType,
    /// In seconds; `None`: what blocks have.
    pub ttl: Option<u32>,
    /// Names uncompressed.
    pub rdata: Box<[u8]>,
}

/// The value of one `$dnsrewrite`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rewritten {
    /// `REFUSED`, `NXDOMAIN;;`; NOERROR is NODATA.
    Rcode(Rcode),
    Cname(Box<Name>),
    Record(Record),
}
