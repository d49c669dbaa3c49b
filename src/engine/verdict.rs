//! The vocabulary of outcomes: verdicts, reasons, permits.
//!
//! Types only. [`policy`](crate::engine::policy) is the one place that makes them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::category::CategoryId;
use crate::engine::list::special::RuleAnswer;
use crate::engine::name::Name;

/// Index of a profile in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileId(pub u16);

/// Index of a list in a snapshot: `[list.*]`, and the built-in, operator's and profiles' own ones alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListId(pub u16);

/// The rungs of the ladder, highest first (DESIGN §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    LocalData = 1,
    Order = 2,
    Operator = 3,
    Security = 4,
    Profile = 5,
    Category = 6,
    SafeSearch = 7,
    Forward = 8,
}

impl Rung {
    pub fn as_str(self) -> &'static str {
        match self {
            Rung::LocalData => "local-data",
            Rung::Order => "order",
            Rung::Operator => "operator",
            Rung::Security => "security",
            Rung::Profile => "profile",
            Rung::Category => "category",
            Rung::SafeSearch => "safe-search",
            Rung::Forward => "forward",
        }
    }
}

/// What a blocked question is answered with (DESIGN §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockResponse {
    Nxdomain,
    Nodata,
    Refused,
    NullIp,
    Page,
    Drop,
}

/// Extended DNS errors we give. RFC 8914 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EdeCode(pub u16);

impl EdeCode {
    pub const OTHER: EdeCode = EdeCode(0);
    pub const STALE_ANSWER: EdeCode = EdeCode(3);
    pub const CACHED_ERROR: EdeCode = EdeCode(13);
    pub const NOT_READY: EdeCode = EdeCode(14);
    pub const BLOCKED: EdeCode = EdeCode(15);
    pub const CENSORED: EdeCode = EdeCode(16);
    pub const FILTERED: EdeCode = EdeCode(17);
    pub const PROHIBITED: EdeCode = EdeCode(18);
    pub const STALE_NXDOMAIN: EdeCode = EdeCode(19);
    pub const NOT_SUPPORTED: EdeCode = EdeCode(21);
    pub const NO_REACHABLE_AUTHORITY: EdeCode = EdeCode(22);
    pub const NETWORK_ERROR: EdeCode = EdeCode(23);
}

/// Why a question was blocked. Feeds the answer, the log, the metric and `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub rung: Rung,
    pub cause: Cause,
    /// The name or address of the answer that hit; `None` when it was the question itself.
    pub target: Option<Target>,
}

/// What hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A rule of a list. `labels`: so many of the judged name are the rule's own name, or all that it has. `line`: of a rule
    /// that is not found by its name, or not by that alone.
    Rule { list: ListId, category: Option<CategoryId>, labels: u8, line: Option<u32> },
    /// An address rule of a list; `line` likewise.
    Address { list: ListId, category: Option<CategoryId>, line: Option<u32> },
    /// An address of a private network in the answer for a public name.
    Rebinding,
    /// An engine without SafeSearch, for a profile that blocks `unsafe-search`.
    UnsafeSearch { labels: u8, category: CategoryId },
    /// Nothing allows the name, where only what is allowed passes.
    NotAllowed,
    /// A legal order in force, by its place among the snapshot's orders.
    Order { order: u32, labels: u8 },
    /// A temporary allow or deny, by its place in the snapshot's overlay.
    Temporary { at: u32, labels: u8 },
}

impl Cause {
    /// How many labels the rule's own name has, if it has one.
    pub fn labels(&self) -> Option<u8> {
        match self {
            Cause::Rule { labels, .. }
            | Cause::UnsafeSearch { labels, .. }
            | Cause::Order { labels, .. }
            | Cause::Temporary { labels, .. } => Some(*labels),
            Cause::Address { .. } | Cause::Rebinding | Cause::NotAllowed => None,
        }
    }

    /// The rule's own name, a suffix of the name that was judged.
    pub fn owner(&self, judged: &Name) -> Option<Name> {
        Some(judged.suffix(usize::from(self.labels()?)))
    }
}

impl Reason {
    /// The rule's own name, when `qname` was asked.
    pub fn owner(&self, qname: &Name) -> Option<Name> {
        match &self.target {
            Some(Target::Name(target)) => self.cause.owner(target),
            Some(Target::Address(_)) | None => self.cause.owner(qname),
        }
    }
}

/// A part of an answer that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Few names are, and a reason is handed on often: it is no larger for those without.
    Name(Box<Name>),
    Address(IpAddr),
}

/// A block and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What the profile says.
    pub response: BlockResponse,
    /// What the rule itself says, which goes before; never an alias, that is a [`Redirect`].
    pub answer: Option<RuleAnswer>,
    pub reason: Reason,
    /// In seconds: the profile's, less when a window opens or closes, or what blocks has its end, before.
    pub ttl_secs: u32,
    /// What the rule itself says is not told with a longer TTL, in seconds.
    pub ttl_secs_max: u32,
}

/// A CNAME that a list gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The CNAME's owner: the question's name, or one that its answer leads to.
    pub from: Name,
    pub target: Name,
    /// In seconds; `None`: what blocks have.
    pub ttl: Option<u32>,
    pub reason: Reason,
}

/// A SafeSearch rewrite. Shared with the table: cloning it copies one pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pub rule: Arc<crate::engine::safe_search::Rule>,
    pub shape: Shape,
    /// No record of it is told with a longer TTL, in seconds.
    pub ttl_secs_max: u32,
}

/// What would have been done, where it is only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Would {
    pub how: Counted,
    pub rung: Rung,
    pub category: Option<CategoryId>,
}

/// Why something is only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The client is observed.
    Observed,
    /// The profile counts this category.
    Shadow,
}

/// How a rewrite is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The question's name becomes an alias of the target.
    Cname,
    /// The target's addresses go under the question's own name and every other type gets NODATA: at a zone's apex a CNAME
    /// would hide MX and NS in caches behind us (RFC 1034 §3.6.2).
    OwnName,
}

/// Index of a search engine in the SafeSearch table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId(pub u8);
