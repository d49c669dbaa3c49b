//! One list's rules on their way into an index: read from its text, sorted and written short.
//!
//! A text is read in pieces, by one reader or by several side by side; what becomes of it does not depend on how many. The
//! rules of a piece make a run of their own ([`PartReader::end_piece`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::engine::limits::{LIST_OWNER_RULES_MAX, LIST_SKIPPED_SHOWN_MAX};
use crate::engine::list::special::{Action, Owner, Pattern, SpecialRule, ZoneAction};
use crate::engine::list::{
    AddressRule, Effect, LineReader, ListError, ListReport, Manner, NameRule, RuleSet, SkipReason,
};
use crate::engine::matcher::room::{Lost, Room};
use crate::engine::matcher::suffix::Runs;
use crate::engine::name::Name;

/// Rules of one list that are left out of it: by the public-suffix guard, or on names that should not be blocked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spared {
    pub count: u32,
    /// The first ones, at most [`LIST_SKIPPED_SHOWN_MAX`].
    pub shown: Vec<SparedRule>,
}

/// A rule that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparedRule {
    pub name: Name,
    pub line: u32,
}

/// Tells names under which strangers register: [`is_public_suffix`](super::public_suffix::is_public_suffix) for a list,
/// and `|_| false` for the operator's own word or `public_suffixes = "obey"`.
///
/// A guarded rule keeps nothing, whatever its reach: a public suffix is a protected name, so no list reaches it.
/// Exceptions are not guarded: leaving one out would block more.
pub type Guard<'a> = &'a (dyn Fn(&[u8]) -> bool + Sync);

/// Names that are held as they come at least: a shorter text that has to be read as a whole is so at once.
const GIVEN_MIN: usize = 1 << 13;

/// One list's rules: what a list is between its text and the index. Parts are made one by one, on as many threads as there
/// are; [`Builder`](super::Builder) merges them.
#[derive(Debug, Default, Clone)]
pub struct Part {
    pub(super) names: Runs,
    pub(super) addresses: Vec<AddressRule>,
    pub(super) specials: Vec<SpecialRule>,
    pub spared: Spared,
    /// Rules read, the spared ones too.
    pub rules: usize,
    pub report: ListReport,
}

impl Part {
    pub fn of(rules: &RuleSet, is_public_suffix: Guard<'_>) -> Part {
        let mut part = Part::default();
        part.take_names(rules, 0, is_public_suffix);
        part.finish(rules, 0, is_public_suffix)
    }

    /// Takes the next file of the same list, which was read knowing how many lines are before it. After the last one there
    /// is [`bound_specials`](Part::bound_specials) to do.
    pub fn append(&mut self, name: String, next: Part) {
        self.rules += next.rules;
        self.names.absorb(next.names);
        self.addresses.extend(next.addresses);
        self.specials.extend(next.specials);
        self.spared.absorb(next.spared);
        self.report.append(name, next.report);
    }

    /// Leaves out special rules beyond what a list may have about one name: a question looks at each of them.
    pub fn bound_specials(&mut self) {
        let Part { specials, report, .. } = self;
        let mut of_one: HashMap<&Owner, usize> = HashMap::new();
        let is_in: Vec<bool> = specials
            .iter()
            .map(|rule| {
                let count = of_one.entry(&rule.owner).or_default();
                *count += 1;
                if *count > LIST_OWNER_RULES_MAX {
                    report.skip(rule.line, SkipReason::TooManyOfOne, "(the list has too many rules about this)");
                }
                *count <= LIST_OWNER_RULES_MAX
            })
            .collect();
        let mut is_in = is_in.into_iter();
        specials.retain(|_| is_in.next().unwrap_or(true));
    }

    /// Leaves out the rules on these names, in canonical wire form. What lets something by stays, as with a [`Guard`].
    ///
    /// # Errors
    /// The rules cannot be read again.
    pub fn without(mut self, names: &HashSet<Box<[u8]>>) -> Result<Part, Lost> {
        if names.is_empty() {
            return Ok(self);
        }
        let mut spared = Spared::default();
        self.names.leave_out(names.iter().map(|name| &**name), |name, line| spared.note(name, line))?;
        self.specials.retain(|rule| match guarded(rule, &|name| names.contains(name)) {
            Some(name) => {
                spared.note(&name, rule.line);
                false
            }
            None => true,
        });
        self.spared.absorb(spared);
        Ok(self)
    }

    /// Gives `each` the rules about names in batches, in no order.
    pub fn walk_names(&self, each: &mut dyn FnMut(&RuleSet)) -> Result<(), Lost> {
        self.names.walk(each)
    }

    /// The rules with conditions or answers of their own.
    pub fn specials(&self) -> &[SpecialRule] {
        &self.specials
    }

    /// The rules about addresses.
    pub fn addresses(&self) -> RuleSet {
        let mut rules = RuleSet::default();
        self.addresses.iter().for_each(|rule| rules.push_address(*rule));
        rules
    }

    fn take_names(&mut self, rules: &RuleSet, lines_before: u32, is_public_suffix: Guard<'_>) {
        for rule in rules.names() {
            self.rules += 1;
            let line = rule.line + lines_before;
            if rule.effect == Effect::List && is_public_suffix(rule.name) {
                self.spared.note(rule.name, line);
            } else {
                self.names.push(NameRule { line, ..rule });
            }
        }
    }

    /// `last` has what is not given away in pieces: addresses, special rules and the report.
    fn finish(mut self, last: &RuleSet, lines_before: u32, is_public_suffix: Guard<'_>) -> Part {
        self.names.end();
        self.rules += last.addresses().len() + last.specials().len();
        for rule in last.specials() {
            let line = rule.line + lines_before;
            match guarded(rule, is_public_suffix) {
                Some(name) => self.spared.note(&name, line),
                None => self.specials.push(SpecialRule { line, ..rule.clone() }),
            }
        }
        self.addresses =
            last.addresses().iter().map(|rule| AddressRule { line: rule.line + lines_before, ..*rule }).collect();
        self.report = last.report.clone();
        self.bound_specials();
        self
    }
}

/// Reads one text, or some pieces of it.
pub struct PartReader<'a> {
    lines: LineReader,
    /// In files of the same list before this text.
    lines_before: u32,
    guard: Guard<'a>,
    part: Part,
}

impl<'a> PartReader<'a> {
    pub fn new(manner: Manner, lines_before: u32, guard: Guard<'a>, room: Option<Arc<dyn Room>>) -> PartReader<'a> {
        let part = Part { names: Runs::in_room(room), ..Part::default() };
        PartReader { lines: LineReader::new(manner), lines_before, guard, part }
    }

    /// Reads whole lines that stand behind `before` others of the text.
    pub fn read(&mut self, before: u32, text: &[u8]) {
        self.lines.read(before, text);
        if self.lines.names_held() >= GIVEN_MIN {
            self.take_names();
        }
    }

    fn take_names(&mut self) {
        let PartReader { lines, part, lines_before, guard } = self;
        lines.give_names(|rules| part.take_names(rules, *lines_before, *guard));
    }

    /// Reads a whole text, and gives nothing away before its end.
    pub fn read_whole(&mut self, text: &[u8]) {
        self.lines.read(0, text);
    }

    /// The rules read so far make a run of their own.
    pub fn end_piece(&mut self) {
        self.take_names();
        self.part.names.end_run();
    }

    /// Takes over what another reader made of other pieces of the text.
    pub fn absorb(&mut self, other: PartReader<'_>) {
        self.lines.absorb(other.lines);
        self.part.rules += other.part.rules;
        self.part.names.absorb(other.part.names);
        self.part.spared.absorb(other.part.spared);
    }

    /// The part, in which these keywords block what they meet. `None`: the text has to be read as a whole
    /// ([`LineReader::finish`]).
    ///
    /// # Errors
    /// The text is no list.
    pub fn finish(self, blocking_keywords: &[String]) -> Result<Option<Part>, ListError> {
        let PartReader { lines, lines_before, guard, part } = self;
        let Some(last) = lines.finish()? else { return Ok(None) };
        let last = if blocking_keywords.is_empty() { last } else { last.blocking_keywords(blocking_keywords) };
        let mut part = part;
        part.take_names(&last, lines_before, guard);
        Ok(Some(part.finish(&last, lines_before, guard)))
    }
}

/// The public suffix that a special rule would take with it. Rules that let something by are never guarded.
fn guarded(rule: &SpecialRule, is_public_suffix: Guard<'_>) -> Option<Vec<u8>> {
    if matches!(
        rule.action,
        Action::Except { .. } | Action::Unrewrite { .. } | Action::Zone(ZoneAction::Pass) | Action::Review
    ) {
        return None;
    }
    match &rule.owner {
        Owner::Name { name, .. } => is_public_suffix(name).then(|| name.to_vec()),
        // Whatever ends with `com`, with or without a dot before it.
        Owner::Pattern(Pattern::Literal { text, ends: true, .. }) => {
            let name = Name::from_text(text.trim_matches('.')).ok()?;
            is_public_suffix(name.as_wire()).then(|| name.as_wire().to_vec())
        }
        Owner::Pattern(_) | Owner::Client(_) | Owner::Address(_) => None,
    }
}

impl Spared {
    fn note(&mut self, name: &[u8], line: u32) {
        self.count += 1;
        if self.shown.len() < LIST_SKIPPED_SHOWN_MAX {
            let name = Name::from_wire(name).expect("a rule's name is canonical wire form");
            self.shown.push(SparedRule { name, line });
        }
    }

    fn absorb(&mut self, other: Spared) {
        self.count += other.count;
        self.shown.extend(other.shown);
        self.shown.sort_by_key(|rule| rule.line);
        self.shown.truncate(LIST_SKIPPED_SHOWN_MAX);
    }
}
