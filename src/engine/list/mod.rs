//! Lists: text in, rules and diagnostics out.
//!
//! Each format has a module; [`parse`] picks one. Nothing here knows which category a list has or whom it stops. A line
//! that cannot be read is skipped and counted by reason; a text that is no list at all is refused whole.

mod adblock;
mod dnsmasq;
mod hosts;
pub mod keywords;
mod lines;
mod modifiers;
mod names;
pub(in crate::engine) mod pattern;
mod rdata;
mod rpz;
mod sniff;
pub mod special;
mod unbound;
mod zone;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::engine::limits::{LIST_PATTERNS_MAX, LIST_SKIPPED_SHOWN_MAX};
use crate::engine::name::Name;

pub use lines::{LineReader, Manner, parse, shown};

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Decided from the first lines that hold something.
    Auto,
    /// `0.0.0.0 name …`: exact names.
    Hosts,
    /// One name a line, also `*.name` and `.name`: subtrees.
    Domains,
    /// `||name^`, `@@||name^`: subtrees.
    Adblock,
    /// `address=/name/`, `server=/name/`, `local=/name/`: subtrees.
    Dnsmasq,
    /// `local-zone:` and `local-data:`: subtrees.
    Unbound,
    /// A response policy zone as a zone file: exact, `*.name` children.
    Rpz,
    /// A word a line, searched for in every name. Never guessed: it must be asked for.
    Keywords,
}

/// What a rule covers. RFC 9499 has no word for it, so these are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reach {
    /// The name alone.
    Exact,
    /// The name and all below it.
    Subtree,
    /// All below the name, not the name.
    Children,
}

/// What a rule does inside its own list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Puts the name on the list.
    List,
    /// Takes it off this list again (`@@`), however specific the other rule is.
    Except,
}

/// A rule about names. `line` counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRule<'a> {
    /// Canonical wire form.
    pub name: &'a [u8],
    pub reach: Reach,
    pub effect: Effect,
    pub line: u32,
}

/// A rule about addresses of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRule {
    pub net: IpNet,
    pub effect: Effect,
    pub line: u32,
}

/// Settings of one list that change how its text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ParseOptions {
    pub format: Format,
    /// `match = "exact" | "subtree"`: the reach of a bare name; `None` is the format's own.
    pub bare_reach: Option<Reach>,
}

/// The rules of one list. Names lie end to end in one buffer, so a million rules are two allocations.
#[derive(Debug, Default, Clone)]
pub struct RuleSet {
    names: Vec<u8>,
    rules: Vec<PackedRule>,
    addresses: Vec<AddressRule>,
    specials: Vec<special::SpecialRule>,
    patterns: usize,
    pub report: ListReport,
}

/// How much a rule set held at some moment.
#[derive(Debug, Clone, Copy)]
struct Mark {
    rules: usize,
    addresses: usize,
    specials: usize,
}

#[derive(Debug, Clone, Copy)]
struct PackedRule {
    start: u32,
    line: u32,
    len: u8,
    reach: Reach,
    effect: Effect,
}

/// What reading a list found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReport {
    /// The format it was read as.
    pub format: Option<Format>,
    pub lines: u32,
    /// Lines skipped, by reason.
    pub skipped: Vec<(SkipReason, u32)>,
    /// The files of a list that has several, in order.
    pub parts: Vec<Part>,
    /// The first skipped lines, at most [`LIST_SKIPPED_SHOWN_MAX`].
    pub shown: Vec<Skipped>,
}

/// One file of a list that has several. Lines are counted through all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As shown to people.
    pub name: String,
    /// Lines of the parts before it.
    pub lines_before: u32,
}

/// One skipped line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub line: u32,
    pub reason: SkipReason,
    /// The line, cut to what a terminal shows.
    pub text: String,
}

/// Why a line made no rule. The label of `lachan_list_skipped_total{reason}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SkipReason {
    /// No name and nothing else we know.
    NotAName,
    /// One label (`localhost`, `ip6-loopback`, a TLD): never blocked from a list.
    SingleLabel,
    /// A rule about pages or scripts (`##`, `$$`), which DNS cannot see.
    Cosmetic,
    /// A rule about a path, port or scheme: blocking its whole host would be wrong.
    Path,
    /// An Adblock modifier that changes the meaning and is not honoured.
    Modifier,
    /// A pattern (`*` inside, a regular expression) of a kind not honoured.
    Pattern,
    /// One pattern more than a list may have.
    TooManyPatterns,
    /// One rule more about one name than a list may have, such as a condition for every client.
    TooManyOfOne,
    /// A setting of the program whose format it is, and no rule.
    Directive,
    /// A record of a zone that cannot be read, or of a type not honoured.
    Record,
    /// An action of a policy zone that nobody knows.
    Action,
    /// A trigger about name servers, which only a recursor meets.
    NeedsRecursion,
    /// An owner that is not below the zone's own name.
    OutOfZone,
    /// It contradicts an earlier rule for the same owner.
    Conflict,
    /// A hosts line whose first word is no address.
    BadAddress,
    /// A hosts line that gives a real address: an answer, not a block.
    RealAddress,
    /// Longer than any real line.
    TooLong,
    /// Control characters.
    Binary,
    /// Not UTF-8.
    NotUtf8,
    /// Everything (`*`, `*.`, `0.0.0.0/0`).
    TooWide,
}

/// Why a whole text is refused: the list keeps its last good version (I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("it is a web page, not a list (line {line}: \"{text}\")")]
    Html { line: u32, text: String },
    #[error("it is binary, not text (line {line})")]
    Binary { line: u32 },
    #[error("{bad} of its {lines} lines cannot be read; first, line {line}: \"{text}\" ({reason})")]
    MostlyBad { bad: u32, lines: u32, line: u32, text: String, reason: SkipReason },
}

impl SkipReason {
    /// The metric label and the word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::NotAName => "not-a-name",
            SkipReason::SingleLabel => "single-label",
            SkipReason::Cosmetic => "cosmetic",
            SkipReason::Path => "path",
            SkipReason::Modifier => "modifier",
            SkipReason::Pattern => "pattern",
            SkipReason::TooManyPatterns => "too-many-patterns",
            SkipReason::TooManyOfOne => "too-many-of-one",
            SkipReason::Directive => "directive",
            SkipReason::Record => "record",
            SkipReason::Action => "action",
            SkipReason::NeedsRecursion => "needs-recursion",
            SkipReason::OutOfZone => "out-of-zone",
            SkipReason::Conflict => "conflict",
            SkipReason::BadAddress => "bad-address",
            SkipReason::RealAddress => "real-address",
            SkipReason::TooLong => "too-long",
            SkipReason::Binary => "binary",
            SkipReason::NotUtf8 => "not-utf8",
            SkipReason::TooWide => "too-wide",
        }
    }
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ListReport {
    /// Which file a line is in, when there are several, and where in it.
    pub fn place(&self, line: u32) -> Option<(&str, u32)> {
        let part = self.parts.iter().rev().find(|part| part.lines_before < line)?;
        Some((&part.name, line - part.lines_before))
    }

    /// Counts a rule that made none after all.
    pub(in crate::engine) fn skip(&mut self, line: u32, reason: SkipReason, text: &str) {
        match self.skipped.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.skipped.push((reason, 1)),
        }
        if self.shown.len() < LIST_SKIPPED_SHOWN_MAX {
            self.shown.push(Skipped { line, reason, text: text.to_owned() });
        }
    }

    pub(in crate::engine) fn append(&mut self, name: String, part: ListReport) {
        self.format = if self.parts.is_empty() || self.format == part.format { part.format } else { None };
        for (reason, count) in part.skipped {
            match self.skipped.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, sum)) => *sum += count,
                None => self.skipped.push((reason, count)),
            }
        }
        let room = LIST_SKIPPED_SHOWN_MAX.saturating_sub(self.shown.len());
        self.shown.extend(part.shown.into_iter().take(room).map(|s| Skipped { line: s.line + self.lines, ..s }));
        self.parts.push(Part { name, lines_before: self.lines });
        self.lines += part.lines;
    }
}

impl RuleSet {
    /// Adds a rule; `name` is kept in its canonical wire form.
    pub fn push(&mut self, name: &Name, reach: Reach, effect: Effect, line: u32) {
        self.push_wire(name.as_wire(), reach, effect, line);
    }

    pub(in crate::engine) fn push_wire(&mut self, wire: &[u8], reach: Reach, effect: Effect, line: u32) {
        let start = self.names.len() as u32;
        self.names.extend_from_slice(wire);
        self.rules.push(PackedRule { start, line, len: wire.len() as u8, reach, effect });
    }

    /// Adds a special rule. Patterns are searched one and all, so there is a bound to them.
    fn push_special(&mut self, rule: special::SpecialRule) -> Result<(), SkipReason> {
        if matches!(rule.owner, special::Owner::Pattern(_)) {
            if self.patterns == LIST_PATTERNS_MAX {
                return Err(SkipReason::TooManyPatterns);
            }
            self.patterns += 1;
        }
        self.specials.push(rule);
        Ok(())
    }

    /// The wire form of the one name that `push` adds; the rule itself is not kept.
    fn name_of(&mut self, push: impl FnOnce(&mut RuleSet) -> Result<(), SkipReason>) -> Result<Box<[u8]>, SkipReason> {
        push(self)?;
        let rule = self.rules.pop().expect("a name that was pushed is the last rule");
        Ok(self.names.split_off(rule.start as usize).into())
    }

    fn mark(&self) -> Mark {
        Mark { rules: self.rules.len(), addresses: self.addresses.len(), specials: self.specials.len() }
    }

    fn addresses_since(&self, mark: Mark) -> usize {
        self.addresses.len() - mark.addresses
    }

    /// Forgets what was added since, and says why.
    fn take_back(&mut self, mark: Mark, why: SkipReason) -> Result<(), SkipReason> {
        self.addresses.truncate(mark.addresses);
        self.specials.truncate(mark.specials);
        if let Some(rule) = self.rules.get(mark.rules) {
            self.names.truncate(rule.start as usize);
        }
        self.rules.truncate(mark.rules);
        Err(why)
    }

    /// Changes the special rules added since, and makes special ones of the plain ones added since.
    fn make_special(&mut self, mark: Mark, change: impl Fn(special::SpecialRule) -> special::SpecialRule) {
        let plain = self.rules.drain(mark.rules..).map(|rule| {
            let name = self.names[rule.start as usize..][..usize::from(rule.len)].into();
            let action = special::Action::Block { important: false };
            let owner = special::Owner::Name { name, reach: rule.reach };
            special::SpecialRule { owner, condition: None, action, line: rule.line }
        });
        let all: Vec<special::SpecialRule> = self.specials.drain(mark.specials..).chain(plain).map(change).collect();
        self.specials.extend(all);
        // The octets of those names are at the end of the buffer.
        let used = self.rules.last().map_or(0, |rule| rule.start as usize + usize::from(rule.len));
        self.names.truncate(used);
    }

    pub fn push_address(&mut self, rule: AddressRule) {
        self.addresses.push(rule);
    }

    pub fn names(&self) -> impl ExactSizeIterator<Item = NameRule<'_>> {
        self.rules.iter().map(|r| NameRule {
            name: &self.names[r.start as usize..r.start as usize + usize::from(r.len)],
            reach: r.reach,
            effect: r.effect,
            line: r.line,
        })
    }

    pub fn addresses(&self) -> &[AddressRule] {
        &self.addresses
    }

    /// Adds the rules of one more file of the same list; its lines follow on those that are here.
    pub fn append(&mut self, name: String, part: RuleSet) {
        let (start, lines) = (self.names.len() as u32, self.report.lines);
        self.names.extend_from_slice(&part.names);
        self.rules.extend(part.rules.iter().map(|r| PackedRule { start: r.start + start, line: r.line + lines, ..*r }));
        self.addresses.extend(part.addresses.iter().map(|r| AddressRule { line: r.line + lines, ..*r }));
        self.specials.extend(part.specials.into_iter().map(|r| special::SpecialRule { line: r.line + lines, ..r }));
        self.report.append(name, part.report);
    }

    /// Takes over the rules of other lines of the same text.
    fn take(&mut self, other: RuleSet) {
        let start = self.names.len() as u32;
        self.names.extend_from_slice(&other.names);
        self.rules.extend(other.rules.iter().map(|r| PackedRule { start: r.start + start, ..*r }));
        self.addresses.extend(other.addresses);
        self.specials.extend(other.specials);
        self.addresses.sort_by_key(|rule| rule.line);
        self.specials.sort_by_key(|rule| rule.line);
        self.patterns += other.patterns;
    }

    /// Forgets every rule about a name; there is room for as many again.
    pub(in crate::engine) fn clear_names(&mut self) {
        self.rules.clear();
        self.names.clear();
    }

    /// The same with these keywords blocking what they meet; each as [`keywords::normal`] has it.
    pub fn blocking_keywords(&self, blocking: &[String]) -> RuleSet {
        let mut set = self.clone();
        for rule in &mut set.specials {
            if let special::Owner::Pattern(special::Pattern::Literal { text, .. }) = &rule.owner
                && blocking.iter().any(|keyword| **keyword == **text)
            {
                rule.action = special::Action::Block { important: false };
            }
        }
        set
    }

    pub fn specials(&self) -> &[special::SpecialRule] {
        &self.specials
    }

    /// Rules of all kinds together.
    pub fn rule_count(&self) -> usize {
        self.rules.len() + self.addresses.len() + self.specials.len()
    }

    /// A list of `[operator]` or a profile: a bare name means itself and all below, `=x` exactly itself, `*.x` all below.
    /// The line number is the entry's position, from 1; an entry that is no name is returned with its reason.
    pub fn from_own_entries(entries: &[impl AsRef<str>]) -> Result<RuleSet, Vec<(usize, String)>> {
        let mut set = RuleSet::default();
        let mut errors = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            match own_entry(entry.as_ref()) {
                Ok((name, reach)) => set.push(&name, reach, Effect::List, i as u32 + 1),
                Err(why) => errors.push((i, why)),
            }
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }
}

/// Reads one entry of our own allow and deny lists (DESIGN §6).
pub fn own_entry(entry: &str) -> Result<(Name, Reach), String> {
    let (text, reach) = match entry.trim() {
        text if text.starts_with('=') => (&text[1..], Reach::Exact),
        text if text.starts_with("*.") => (&text[2..], Reach::Children),
        text => (text, Reach::Subtree),
    };
    let name = Name::from_text(text).map_err(|why| format!("{entry:?} is no name: {why}"))?;
    Ok((name, reach))
}

#[cfg(test)]
mod tests;
