//! What one list's special rules come to for one name: one outcome a list, whatever the number of rules.
//!
//! Inside a list AdGuard's order holds — rewrites, then `@@…$important`, `…$important`, `@@`, the rest — and of a zone's
//! rules the most specific one. Between lists the ladder decides, not this.

use std::sync::Arc;

use crate::engine::client::Client;
use crate::engine::list::Reach;
use crate::engine::list::special::{
    Action, Alias, Asker, Owner, Record, Records, Rewritten, RuleAnswer, SpecialRule, ZoneAction,
};
use crate::engine::matcher::special::RuleNumber;
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::name::Name;
use crate::engine::query::{Rcode, RecordType};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::ListId;

/// One name, and the question it is judged for.
#[derive(Clone, Copy)]
pub(super) struct Matter<'a> {
    pub name: &'a Name,
    pub qtype: RecordType,
    pub client: Client,
    /// Whether it is the question's own name, which rules about clients go with.
    pub is_question: bool,
}

/// What the lists with special rules say; nothing, where none has a rule about the name.
#[derive(Debug, Default)]
pub(super) struct Specials {
    /// Lists that have such a rule: for them `said` counts, not the index.
    pub lists: ListSet,
    /// One for each of them, lowest list first.
    pub said: Vec<Said>,
    /// The first list with a keyword in the name that only counts.
    pub review: Option<ListId>,
}

#[derive(Debug)]
pub(super) struct Said {
    pub list: ListId,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// The list does not speak about the name.
    Nothing,
    /// The list takes the name off itself.
    Excepted(By),
    /// A policy zone lets it by, for the zones after it too.
    Pass(By),
    Listed(Listed),
}

/// The rule that decided: labels of its own name, as [`Listed`] has them, and its line; `None`: a plain rule's.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub depth: u8,
    pub line: Option<u32>,
}

/// A rule that lists the name.
#[derive(Debug)]
pub(super) struct Listed {
    /// Labels of the rule's own name; for a pattern or a client those of the name itself and one more.
    pub depth: u8,
    /// `None`: a plain rule, found by its name.
    pub line: Option<u32>,
    /// `None`: the profile says how blocks are answered.
    pub answer: Option<RuleAnswer>,
}

/// Deeper than any name: a rule that is about the whole of it.
const WHOLE: u8 = u8::MAX;

/// A rule that holds for the matter.
struct Held<'a> {
    list: ListId,
    depth: u8,
    rule: &'a SpecialRule,
    /// A policy zone has a node of its own above the name: wildcards further up do not reach past it. RFC 4592 §3.3.
    hides: bool,
}

impl Specials {
    pub(super) fn of(
        snapshot: &Snapshot,
        matter: Matter<'_>,
        hits: &Hits,
        silent: Option<&ListSet>,
    ) -> Option<Box<Specials>> {
        if snapshot.index.special.is_empty() {
            return None;
        }
        let mut held = held(snapshot, matter);
        if let Some(silent) = silent {
            held.retain(|held| !silent.contains(held.list));
        }
        held.sort_by_key(|held| held.list);
        if held.is_empty() {
            return None;
        }
        let review = held.iter().find(|held| held.rule.action == Action::Review).map(|held| held.list);
        let mut specials = Specials { review, ..Specials::default() };
        for of_list in held.chunk_by(|a, b| a.list == b.list) {
            let list = of_list[0].list;
            let outcome = resolve(of_list, Plain::of(snapshot, list, hits), matter, is_zone(snapshot, list));
            specials.lists.insert(list);
            specials.said.push(Said { list, outcome });
        }
        Some(Box::new(specials))
    }
}

/// Every special rule that holds.
fn held<'a>(snapshot: &'a Snapshot, matter: Matter<'_>) -> Vec<Held<'a>> {
    let table = &snapshot.index.special;
    let name = matter.name.as_wire();
    let asker = asker(snapshot, &matter.client);
    let mut held = Vec::new();
    let mut add = |depth: u8, number: RuleNumber, hides: bool| {
        let (list, rule) = table.rule(number);
        if rule.condition.as_ref().is_none_or(|condition| condition.holds(name, matter.qtype, &asker)) {
            held.push(Held { list, depth, rule, hides });
        }
    };
    let labels = matter.name.label_count();
    table.at_or_above(name, |depth, number| {
        let (list, rule) = table.rule(number);
        let Owner::Name { reach, .. } = &rule.owner else { return };
        match (reach, usize::from(depth) == labels) {
            (Reach::Subtree, _) | (Reach::Exact, true) | (Reach::Children, false) => add(depth, number, false),
            (Reach::Exact, false) if is_zone(snapshot, list) => add(depth, number, true),
            (Reach::Exact, false) | (Reach::Children, true) => {}
        }
    });
    table.looking_like(name, |number| add(WHOLE, number, false));
    if matter.is_question {
        let mut narrowest: Vec<(ListId, RuleNumber)> = Vec::new();
        // The widest come first: what stays for a list is its narrowest.
        table.for_client(matter.client.source, |_, number| {
            let list = table.rule(number).0;
            narrowest.retain(|(of, kept)| *of != list || is_same_net(snapshot, *kept, number));
            narrowest.push((list, number));
        });
        narrowest.into_iter().for_each(|(_, number)| add(WHOLE, number, false));
    }
    held
}

/// Whether a list is a response policy zone.
fn is_zone(snapshot: &Snapshot, list: ListId) -> bool {
    snapshot.masks.zones.is_some_and(|zones| zones.contains(list))
}

fn is_same_net(snapshot: &Snapshot, a: RuleNumber, b: RuleNumber) -> bool {
    let table = &snapshot.index.special;
    table.rule(a).1.owner == table.rule(b).1.owner
}

fn asker<'a>(snapshot: &'a Snapshot, client: &Client) -> Asker<'a> {
    let known = client.configured.and_then(|i| snapshot.clients_known.get(i as usize));
    Asker {
        source: client.source,
        name: known.map(|known| known.name.as_str()),
        tags: known.map_or(&[], |known| &known.tags),
    }
}

/// What the index has of the same list.
struct Plain {
    /// Depth of its most specific rule.
    listed: Option<u8>,
    /// Depth of its most specific exception.
    excepted: Option<u8>,
}

impl Plain {
    fn of(snapshot: &Snapshot, list: ListId, hits: &Hits) -> Plain {
        let names = &snapshot.index.names;
        let listed = hits.as_slice().iter().rev().find(|hit| names.set(hit.listed).contains(list));
        let excepted = hits.as_slice().iter().rev().find(|hit| names.set(hit.excepted).contains(list));
        Plain { listed: listed.map(|hit| hit.depth), excepted: excepted.map(|hit| hit.depth) }
    }
}

/// How much a rule has to say against another of the same depth.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Hides,
    Blocks,
    Answers,
    Passes,
}

fn resolve(held: &[Held<'_>], plain: Plain, matter: Matter<'_>, is_zone: bool) -> Outcome {
    if let Some(listed) = rewrites(held) {
        // A name that is sent to itself is let by.
        let stays = listed.answer.as_ref().is_some_and(|answer| lets_by(answer, matter));
        let by = By { depth: listed.depth, line: listed.line };
        return if stays { Outcome::Excepted(by) } else { Outcome::Listed(listed) };
    }
    let excepts = |wanted: bool| {
        let excepts =
            |held: &&Held<'_>| matches!(held.rule.action, Action::Except { important } if important == wanted);
        held.iter().filter(excepts).max_by_key(|held| held.depth).map(Held::by)
    };
    if let Some(by) = excepts(true) {
        return Outcome::Excepted(by);
    }
    let important = held.iter().filter(|held| matches!(held.rule.action, Action::Block { important: true }));
    if let Some(held) = important.max_by_key(|held| held.depth) {
        return Outcome::Listed(held.listed(None));
    }
    if let Some(by) = excepts(false).or(plain.excepted.map(|depth| By { depth, line: None })) {
        return Outcome::Excepted(by);
    }
    let mut best: Option<((u8, Weight, usize), Outcome)> = plain.listed.map(|depth| {
        let listed = Listed { depth, line: None, answer: None };
        ((depth, Weight::Blocks, 0), Outcome::Listed(listed))
    });
    for held in held {
        let (weight, outcome) = match &held.rule.action {
            _ if held.hides => (Weight::Hides, Outcome::Nothing),
            Action::Block { .. } | Action::Zone(ZoneAction::Block) => {
                (Weight::Blocks, Outcome::Listed(held.listed(None)))
            }
            Action::Zone(ZoneAction::Pass) => (Weight::Passes, passes(is_zone, held.by())),
            Action::Zone(ZoneAction::Answer(answer)) => match lets_by(answer, matter) {
                true => (Weight::Passes, passes(is_zone, held.by())),
                false => (Weight::Answers, Outcome::Listed(held.listed(Some(answer.clone())))),
            },
            Action::Except { .. } | Action::Rewrite { .. } | Action::Unrewrite { .. } | Action::Review => continue,
        };
        // Of two as specific as each other the one with more conditions is told.
        let key = (held.depth, weight, held.rule.condition.as_ref().map_or(0, |condition| condition.parts()));
        if best.as_ref().is_none_or(|(than, _)| key > *than) {
            best = Some((key, outcome));
        }
    }
    best.map_or(Outcome::Nothing, |(_, outcome)| outcome)
}

fn passes(is_zone: bool, by: By) -> Outcome {
    if is_zone { Outcome::Pass(by) } else { Outcome::Excepted(by) }
}

/// Whether an answer turns out to leave the question as it is.
pub(super) fn lets_by(answer: &RuleAnswer, matter: Matter<'_>) -> bool {
    match answer {
        RuleAnswer::TcpOnly => !matter.client.by_udp,
        // An old way to write PASSTHRU: the name stands for itself.
        RuleAnswer::Alias(alias) => alias.target_of(matter.name).as_ref() == Some(matter.name),
        RuleAnswer::Nodata | RuleAnswer::Rcode(_) | RuleAnswer::Drop | RuleAnswer::Records(_) => false,
    }
}

impl Held<'_> {
    fn by(&self) -> By {
        By { depth: self.depth, line: Some(self.rule.line) }
    }

    fn listed(&self, answer: Option<RuleAnswer>) -> Listed {
        Listed { depth: self.depth, line: Some(self.rule.line), answer }
    }
}

/// The rewrites that no exception undoes, as one answer. Of a name or a code the first one is the answer; records
/// collect.
fn rewrites(held: &[Held<'_>]) -> Option<Listed> {
    let undoing: Vec<(Option<&Rewritten>, bool)> = held
        .iter()
        .filter_map(|held| match &held.rule.action {
            Action::Unrewrite { answer, important } => Some((answer.as_ref(), *important)),
            _ => None,
        })
        .collect();
    let undone = |answer: &Rewritten, important: bool| {
        undoing.iter().any(|(what, by)| (*by || !important) && what.is_none_or(|what| what == answer))
    };
    let mut left: Vec<(&Held<'_>, &Rewritten)> = held
        .iter()
        .filter_map(|held| match &held.rule.action {
            Action::Rewrite { answer, important } if !undone(answer, *important) => Some((held, answer)),
            _ => None,
        })
        .collect();
    left.sort_by_key(|(held, _)| held.rule.line);
    let (first, _) = left.first()?;
    let mut records = Records::default();
    for (held, answer) in &left {
        match answer {
            Rewritten::Cname(target) => {
                let alias = Alias { target: (**target).clone(), expands: false, ttl: None };
                return Some(held.listed(Some(RuleAnswer::Alias(Arc::new(alias)))));
            }
            Rewritten::Rcode(Rcode::NOERROR) => {}
            Rewritten::Rcode(rcode) => return Some(held.listed(Some(RuleAnswer::Rcode(*rcode)))),
            Rewritten::Record(record) => records.all.push(Record::clone(record)),
        }
    }
    Some(first.listed(Some(RuleAnswer::Records(Arc::new(records)))))
}

/// What the policy zones of `mask` say about the addresses of an answer: the first zone that speaks, its narrowest
/// network. RPZ §6 (draft-vixie-dnsop-dns-rpz-00).
pub(super) fn for_addresses(
    snapshot: &Snapshot,
    addresses: impl Iterator<Item = std::net::IpAddr>,
    mask: &ListSet,
) -> Option<(ListId, u32, std::net::IpAddr, ZoneAction)> {
    let table = &snapshot.index.special;
    let mut best: Option<(ListId, std::cmp::Reverse<u8>, RuleNumber, std::net::IpAddr)> = None;
    for address in addresses {
        table.for_address(address, |length, number| {
            let list = table.rule(number).0;
            let better = |(of, reach, ..): &(ListId, std::cmp::Reverse<u8>, RuleNumber, std::net::IpAddr)| {
                (list, std::cmp::Reverse(length)) < (*of, *reach)
            };
            if mask.contains(list) && best.as_ref().is_none_or(better) {
                best = Some((list, std::cmp::Reverse(length), number, address));
            }
        });
    }
    let (list, _, number, address) = best?;
    let rule = table.rule(number).1;
    match &rule.action {
        Action::Zone(action) => Some((list, rule.line, address, action.clone())),
        Action::Block { .. }
        | Action::Except { .. }
        | Action::Rewrite { .. }
        | Action::Unrewrite { .. }
        | Action::Review => None,
    }
}
