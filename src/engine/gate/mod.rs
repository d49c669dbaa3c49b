//! Gates: whether a new version of a list may go into force by itself, or waits for a person.
//!
//! Pure: two rule sets, what is popular and what was learnt in; a decision with its figures out. Who keeps the version that
//! waits, and how a person approves it, is the daemon's. A version that is held changes nothing: the last good one serves.

mod diff;
mod learned;
mod left_out;
mod popular;
mod rules;
mod tree;

use serde::{Deserialize, Serialize};

use crate::engine::category::Layer;
use crate::engine::gate::popular::Kind;
use crate::engine::gate::tree::Marks;
use crate::engine::limits::{GATE_NAMES_SHOWN_MAX, GATE_RULES_MIN, LEARNED_QUESTIONS_MIN};
use crate::engine::list::RuleSet;
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::name::Name;

pub use diff::{Difference, difference};
pub use learned::Learned;
pub use left_out::{LeftOut, RuleNames};
pub use popular::{Holes, Popularity, RankedReport};
pub use rules::Rules;
pub use tree::TreeKey;

/// A part of a whole, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share(pub u64);

/// The bounds of one list. `None` turns a bound off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GateSettings {
    /// Names of our own `must_not_block` that a version may newly hit.
    pub must_not_block_max: Option<u32>,
    /// When they are more than that: so many are left out of the version, and it need not wait for them.
    #[serde(default)]
    pub must_not_block_spare: u32,
    /// Names of the operator's ranked file that a version may newly hit.
    pub popular_max: Option<u32>,
    /// Share of what is asked and answered that a version may newly block.
    pub questions_max: Option<Share>,
    /// Share of the rules in force that may be gone.
    pub shrink_max: Option<Share>,
    /// Share of the rules in force that may come on top.
    pub grow_max: Option<Share>,
}

impl GateSettings {
    /// Every bound off.
    pub const OPEN: GateSettings = GateSettings {
        must_not_block_max: None,
        must_not_block_spare: 0,
        popular_max: None,
        questions_max: None,
        shrink_max: None,
        grow_max: None,
    };
}

/// How a version came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// A file that the configuration names: the operator's own hand. It is never held; what a gate finds is told.
    Hand,
    /// Whatever lies in a directory, or fits a pattern.
    Directory,
    /// From a URL.
    Fetched,
}

/// A version that wants to go into force.
#[derive(Clone, Copy)]
pub struct Proposal<'a> {
    pub settings: &'a GateSettings,
    pub supply: Supply,
    pub layer: Layer,
    /// Rules of our own starter list of the category: a list of social networks is there to name them.
    pub meant: &'a RuleSet,
    /// `public_suffixes = "obey"`.
    pub obeys_public_suffixes: bool,
    /// `None`: this is the list's first version, so everything in it is new.
    pub in_force: Option<&'a dyn Rules>,
    /// Rules of the version in force that were left out of it.
    pub left_out: &'a RuleNames,
    pub new: &'a dyn Rules,
}

/// Whether a version goes into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It does, but for what is left out; `warnings` are what would have held it had it not come by the operator's hand.
    Accept { warnings: Vec<HoldReason>, left_out: LeftOut },
    /// It waits for `lists approve`. Never empty.
    Hold { reasons: Vec<HoldReason> },
}

/// Why a version waits, with its figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "kebab-case")]
pub enum HoldReason {
    /// It newly hits names that should not be blocked; the first of them.
    MustNotBlock { count: u32, max: u32, names: Vec<String> },
    /// It newly hits names of the ranked file; the most popular of them.
    Popular { count: u32, max: u32, names: Vec<String> },
    /// It would block this share of what people ask and get answered now.
    Questions { share: Share, max: Share },
    /// It lost more of its rules than a version usually does.
    Shrinks { before: usize, now: usize, max: Share },
    /// It gained more rules than a version usually does.
    Grows { before: usize, now: usize, max: Share },
    /// It holds no rule any more.
    Emptied { before: usize },
    /// A person went back to the version in force.
    Pinned,
}

/// Decides about a version.
pub fn judge(proposal: &Proposal<'_>, popularity: &Popularity, learned: &Learned) -> Decision {
    // A broken list never means an empty list (I6): whoever empties one on purpose approves it.
    let before = proposal.in_force.map_or(0, Rules::count);
    if proposal.new.count() == 0 && (before > 0 || proposal.supply == Supply::Fetched) {
        return Decision::Hold { reasons: vec![HoldReason::Emptied { before }] };
    }
    let whole = popular(proposal, popularity, &RuleNames::default());
    let left_out = left_out::of(proposal, popularity, &whole);
    let out = left_out.rule_names();
    let mut reasons = if out.is_empty() { whole.clone() } else { popular(proposal, popularity, &out) };
    let others = questions(proposal, &popularity.holes, learned, &out).into_iter();
    let others: Vec<HoldReason> = others.chain(size(proposal).filter(|_| proposal.supply != Supply::Hand)).collect();
    reasons.extend(others.iter().cloned());
    match proposal.supply {
        _ if reasons.is_empty() => Decision::Accept { warnings: reasons, left_out },
        Supply::Hand => Decision::Accept { warnings: reasons, left_out },
        // Whoever approves it gets all of it, and is told of all of it.
        Supply::Directory | Supply::Fetched => Decision::Hold { reasons: whole.into_iter().chain(others).collect() },
    }
}

/// Popular names that a version newly hits, our own first; for `lists diff`. Sorted as [`Popularity`] has them, at most
/// `shown`, and how many there are in all.
pub fn newly_hit(proposal: &Proposal<'_>, popularity: &Popularity, shown: usize) -> (usize, Vec<String>) {
    let mut all = NamesHit::default();
    each_newly_hit(proposal, popularity, &RuleNames::default(), |_, name| all.note(name, shown));
    (all.count as usize, all.shown)
}

#[derive(Default)]
struct NamesHit {
    count: u32,
    shown: Vec<String>,
}

impl NamesHit {
    fn note(&mut self, name: &dyn std::fmt::Display, shown: usize) {
        self.count += 1;
        if self.shown.len() < shown {
            self.shown.push(name.to_string());
        }
    }
}

/// `out` are rules that the version goes without; so everywhere here.
fn popular(proposal: &Proposal<'_>, popularity: &Popularity, out: &RuleNames) -> Vec<HoldReason> {
    let GateSettings { must_not_block_max, popular_max, .. } = *proposal.settings;
    let (mut own, mut ranked) = (NamesHit::default(), NamesHit::default());
    if must_not_block_max.is_none() && popular_max.is_none() {
        return Vec::new();
    }
    each_newly_hit(proposal, popularity, out, |kind, name| match kind {
        Kind::MustNotBlock => own.note(name, GATE_NAMES_SHOWN_MAX),
        Kind::Ranked => ranked.note(name, GATE_NAMES_SHOWN_MAX),
    });
    let over = |hit: NamesHit, max: Option<u32>| max.filter(|&max| hit.count > max).map(|max| (hit, max));
    let own = over(own, must_not_block_max).map(|(NamesHit { count, shown: names }, max)| HoldReason::MustNotBlock {
        count,
        max,
        names,
    });
    let ranked = over(ranked, popular_max).map(|(NamesHit { count, shown: names }, max)| HoldReason::Popular {
        count,
        max,
        names,
    });
    own.into_iter().chain(ranked).collect()
}

fn each_newly_hit(proposal: &Proposal<'_>, popularity: &Popularity, out: &RuleNames, mut f: impl FnMut(Kind, &Name)) {
    let spared = spared(proposal);
    let new = popularity.mark(proposal.new, &|name| spared(name) || out.contains(name));
    if !new.is_touched {
        return;
    }
    // What was left out was not blocked, so that it is new in every version that has it.
    let was_out = |name: &[u8]| spared(name) || proposal.left_out.contains(name);
    let before = proposal.in_force.map(|rules| popularity.mark(rules, &was_out));
    let meant = popularity.mark(proposal.meant, spared);
    let was = |marks: &Option<Marks>, node| marks.as_ref().is_some_and(|marks| marks.holds_or_www(node));
    let is_newly_hit = |node| new.holds_or_www(node) && !was(&before, node) && !meant.holds_or_www(node);
    popularity.hit(proposal.layer, is_newly_hit).for_each(|(kind, name)| f(kind, &name));
}

fn questions(proposal: &Proposal<'_>, holes: &Holes, learned: &Learned, out: &RuleNames) -> Option<HoldReason> {
    let max = proposal.settings.questions_max?;
    if learned.total() < LEARNED_QUESTIONS_MIN {
        return None;
    }
    let share = newly_blocked(proposal, holes, learned, out);
    (share > max).then_some(HoldReason::Questions { share, max })
}

/// How much of what was asked and answered a version would newly block; as much as was learnt.
pub fn newly_blocked(proposal: &Proposal<'_>, holes: &Holes, learned: &Learned, out: &RuleNames) -> Share {
    let (tree, counted) = learned.tree();
    let spared = spared(proposal);
    let new = tree.mark(proposal.new, &|name| spared(name) || out.contains(name));
    if !new.is_touched {
        return Share(0);
    }
    let was_out = |name: &[u8]| spared(name) || proposal.left_out.contains(name);
    let before = proposal.in_force.map(|rules| tree.mark(rules, &was_out));
    let protected = tree.mark(&holes.protected, &|_| false);
    let protected_content = tree.mark(&holes.protected_content, &|_| false);
    let is_content = proposal.layer == Layer::Content;
    let blocked: u64 = counted
        .iter()
        .filter(|&&(node, _)| {
            let is_out_of_reach = protected.holds(node) || (is_content && protected_content.holds(node));
            new.holds(node) && !is_out_of_reach && !before.as_ref().is_some_and(|before| before.holds(node))
        })
        .map(|(_, count)| count)
        .sum();
    Share::of(blocked, learned.total())
}

fn size(proposal: &Proposal<'_>) -> Option<HoldReason> {
    let (before, now) = (proposal.in_force?.count(), proposal.new.count());
    if before < GATE_RULES_MIN {
        return None;
    }
    let change = Share::of(before.abs_diff(now) as u64, before as u64);
    let GateSettings { shrink_max, grow_max, .. } = *proposal.settings;
    if now < before {
        shrink_max.filter(|&max| change > max).map(|max| HoldReason::Shrinks { before, now, max })
    } else {
        grow_max.filter(|&max| change > max).map(|max| HoldReason::Grows { before, now, max })
    }
}

/// Whether a listing rule on this name does nothing.
fn spared(proposal: &Proposal<'_>) -> &'static dyn Fn(&[u8]) -> bool {
    if proposal.obeys_public_suffixes { &|_| false } else { &is_public_suffix }
}

impl Share {
    pub const fn percent(percent: u64) -> Share {
        Share(percent * 100)
    }

    /// `part` of `whole`; nothing of nothing.
    pub fn of(part: u64, whole: u64) -> Share {
        let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
        Share(u64::try_from(hundredths).unwrap_or(u64::MAX))
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole} %"),
            _ if rest % 10 == 0 => write!(f, "{whole}.{} %", rest / 10),
            _ => write!(f, "{whole}.{rest:02} %"),
        }
    }
}

impl std::fmt::Display for HoldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HoldReason::MustNotBlock { count, max, names } => {
                write!(f, "it hits {} that should not be blocked (at most {max}): ", names_text(*count, ""))?;
                write_names(*count, names, f)
            }
            HoldReason::Popular { count, max, names } => {
                write!(f, "it hits {} (at most {max}): ", names_text(*count, "popular "))?;
                write_names(*count, names, f)
            }
            HoldReason::Questions { share, max } => {
                write!(f, "it would block {share} of what was asked and answered since yesterday (at most {max})")
            }
            HoldReason::Shrinks { before, now, max } => {
                let change = Share::of(before.abs_diff(*now) as u64, *before as u64);
                write!(f, "it shrinks from {before} to {now} rules, by {change} (at most {max})")
            }
            HoldReason::Emptied { before: 0 } => f.write_str("it holds no rule"),
            HoldReason::Emptied { before } => write!(f, "it holds no rule any more, {before} before"),
            HoldReason::Pinned => f.write_str("the list is pinned to the version in force by `lists rollback`"),
            HoldReason::Grows { before, now, max } => {
                let change = Share::of(before.abs_diff(*now) as u64, *before as u64);
                write!(f, "it grows from {before} to {now} rules, by {change} (at most {max})")
            }
        }
    }
}

fn names_text(count: u32, kind: &str) -> String {
    if count == 1 { format!("1 {kind}name") } else { format!("{count} {kind}names") }
}

fn write_names(count: u32, names: &[String], f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str(&names.join(", "))?;
    if count as usize > names.len() { f.write_str(", …") } else { Ok(()) }
}

#[cfg(test)]
mod tests;
