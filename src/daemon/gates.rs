//! What the gates need and remember: popular names, what was learnt, and what was decided about each list.
//!
//! Whether a version may go into force is [`engine::gate`](crate::engine::gate)'s to say. Decisions — what waits, what a
//! person approved, what is pinned or taken out — are kept in the state directory, so that a restart neither publishes a
//! version that waits nor forgets an approval. Where versions themselves are kept is [`sources`](crate::daemon::sources)'.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::built_in;
use crate::config::{PopularSettings, Version, read_steady};
use crate::daemon::{clock, learner, state};
use crate::engine::category::{Categories, CategoryId, Layer};
use crate::engine::compile::{BuiltIn, ListSettings};
use crate::engine::gate::{
    self, Decision, GateSettings, HoldReason, Holes, Learned, Popularity, Proposal, RuleNames, Rules, Supply, TreeKey,
    judge, newly_hit,
};
use crate::engine::limits::{GATE_NAMES_SHOWN_MAX, POPULAR_FILE_OCTETS_MAX};
use crate::engine::list::{Format, ParseOptions, RuleSet, parse};
use crate::engine::name::Name;

/// Name of the file with the decisions, in the state directory.
const DECISIONS: &str = "gates.json";
/// Its size, in octets: a thousand lists with twenty names each fit.
const DECISIONS_OCTETS_MAX: u64 = 8 << 20;

/// One for the process.
pub struct Gates {
    key: TreeKey,
    popular: Mutex<Popular>,
    learned: learner::Shared,
    decisions: Mutex<Decisions>,
}

struct Popular {
    names: Arc<Popularity>,
    categories: Categories,
    /// What `names` was made of.
    settings: Option<(PopularSettings, Version)>,
    problem: Option<String>,
}

/// What was decided, by the list's name.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Decisions {
    #[serde(default)]
    lists: BTreeMap<String, ListDecisions>,
    /// `None`: nothing is kept over a restart.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// What was decided about one list. Versions are named by the SHA-256 of their text.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDecisions {
    /// The version that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The version that a person approved last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<String>,
    /// The version that a person went back to: no other takes its place by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// What the version in force goes without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// Taken out since then; seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_since: Option<u64>,
}

/// A version that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub sha256: String,
    /// Seconds since 1970.
    pub since: u64,
    pub rules: usize,
    pub reasons: Vec<HoldReason>,
    /// The bounds that it was judged by; with others it is judged again.
    pub bounds: Option<GateSettings>,
}

/// Names that should not be blocked, and the rules of a version that would block them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Of the version.
    pub sha256: String,
    /// Seconds since 1970.
    pub since: u64,
    pub names: Vec<String>,
    /// The names that the rules stand on.
    pub rules: Vec<String>,
}

/// A version that asks to go into force.
pub struct Candidate<'a> {
    pub settings: &'a ListSettings,
    pub supply: Supply,
    pub sha256: &'a str,
    /// Of the same source; `None` for a list's first version.
    pub in_force: Option<&'a dyn Rules>,
    pub new: &'a dyn Rules,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reasons: Vec<String> = self.reasons.iter().map(ToString::to_string).collect();
        write!(f, "a new version of {} rules is held: {}", self.rules, reasons.join("; "))
    }
}

impl Gates {
    pub fn new(key: TreeKey, built_in: &BuiltIn) -> Gates {
        let (names, _) = popularity(key, built_in, "", 0);
        let popular =
            Popular { names: Arc::new(names), categories: Categories::built_in(), settings: None, problem: None };
        Gates {
            key,
            popular: Mutex::new(popular),
            learned: Arc::new(Mutex::new(Learned::new(key))),
            decisions: Mutex::default(),
        }
    }

    /// What is learnt; for the learner's thread.
    pub fn learned(&self) -> &learner::Shared {
        &self.learned
    }

    /// Takes the configuration's word. The ranked file is read when it is another than before; `version` is its, taken
    /// before. Blocks.
    pub fn configure(&self, categories: &Categories, settings: &PopularSettings, version: Version, built_in: &BuiltIn) {
        let now = (settings.clone(), version);
        let mut popular = self.popular();
        popular.categories = categories.clone();
        if popular.settings.as_ref() == Some(&now) {
            return;
        }
        let read = settings.file.as_deref().map_or(Ok(String::new()), read_ranked);
        popular.problem = None;
        match read {
            Ok(text) => {
                let (names, problem) = popularity(self.key, built_in, &text, settings.top);
                popular.names = Arc::new(names);
                popular.problem = settings.file.as_ref().zip(problem).map(|(file, why)| told(file, &why));
            }
            // Whatever was read before still counts.
            Err(why) => popular.problem = settings.file.as_ref().map(|file| told(file, &why)),
        }
        popular.settings = Some(now);
    }

    /// What is wrong with the ranked file.
    pub fn problem(&self) -> Option<String> {
        self.popular().problem.clone()
    }

    /// Remembers decisions in a state directory from now on, and takes up those that are there.
    pub fn keep_in(&self, state_directory: &Path) {
        if self.decisions().file.is_none() {
            self.look_into(state_directory);
            self.decisions().file = Some(state_directory.join(DECISIONS));
        }
    }

    /// Takes up the decisions that are in a state directory, and writes none there.
    pub fn look_into(&self, state_directory: &Path) {
        let file = state_directory.join(DECISIONS);
        let mut decisions = self.decisions();
        match std::fs::exists(&file).map(|is_there| is_there.then(|| read_decisions(&file))) {
            Ok(Some(Ok(kept))) => decisions.lists.extend(kept.lists),
            Ok(Some(Err(why))) => {
                tracing::error!("{}: {why}; what was decided about lists is forgotten", file.display());
            }
            Ok(None) | Err(_) => {}
        }
    }

    /// Decides whether a version goes into force. What a person decided about this very version stands.
    ///
    /// # Errors
    /// Why it waits. The caller keeps it, and leaves the list at its last good version.
    pub fn admit(&self, candidate: &Candidate<'_>) -> Result<Vec<HoldReason>, Box<Held>> {
        let Candidate { settings, sha256, .. } = *candidate;
        let known = self.of(&settings.name);
        if known.pinned.as_deref() == Some(sha256) || known.approved.as_deref() == Some(sha256) {
            self.change(&settings.name, |list| {
                list.held = None;
                if known.approved.as_deref() == Some(sha256) {
                    // All of it.
                    list.left_out = None;
                }
            });
            return Ok(Vec::new());
        }
        let bounds = Some(settings.gate);
        let is_pinned = known.pinned.is_some();
        let stands = |held: &Held| {
            held.sha256 == sha256 && held.bounds == bounds && held.reasons.contains(&HoldReason::Pinned) == is_pinned
        };
        if let Some(held) = known.held.filter(stands) {
            return Err(Box::new(held));
        }
        let mut reasons = match self.judge(candidate) {
            Decision::Accept { warnings, left_out } if !is_pinned => {
                let left_out = noted(left_out, sha256);
                self.change(&settings.name, |list| {
                    list.held = None;
                    list.left_out = left_out;
                });
                return Ok(warnings);
            }
            Decision::Accept { .. } => Vec::new(),
            Decision::Hold { reasons } => reasons,
        };
        if is_pinned {
            reasons.insert(0, HoldReason::Pinned);
        }
        let held = Held {
            sha256: sha256.to_owned(),
            since: clock::unix_secs(),
            rules: candidate.new.count(),
            reasons,
            bounds,
        };
        self.change(&settings.name, |list| list.held = Some(held.clone()));
        Err(Box::new(held))
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Decision {
        self.with_proposal(candidate, |proposal, popular| judge(proposal, popular, &learner::lock(&self.learned)))
    }

    /// Popular names that a version newly hits: how many, and the first of them.
    pub fn newly_hit(&self, candidate: &Candidate<'_>) -> (usize, Vec<String>) {
        self.with_proposal(candidate, |proposal, popular| newly_hit(proposal, popular, GATE_NAMES_SHOWN_MAX))
    }

    /// What a version that a person goes back to goes without. `None`: nothing, or too much to be a few mistakes.
    pub fn left_out_of(&self, candidate: &Candidate<'_>) -> Option<LeftOut> {
        match self.judge(candidate) {
            Decision::Accept { left_out, .. } => noted(left_out, candidate.sha256),
            Decision::Hold { .. } => None,
        }
    }

    /// Rules that a list goes without.
    pub fn rules_left_out(&self, list: &str) -> RuleNames {
        let left_out = self.of(list).left_out.map(|left_out| left_out.rules).unwrap_or_default();
        left_out.iter().filter_map(|text| Some(Name::from_text(text).ok()?.as_wire().into())).collect()
    }

    fn with_proposal<T>(&self, candidate: &Candidate<'_>, f: impl FnOnce(&Proposal<'_>, &Popularity) -> T) -> T {
        let Candidate { settings, supply, in_force, new, .. } = *candidate;
        let (names, layer, category) = {
            let popular = self.popular();
            let (layer, category) = category(&popular.categories, settings.category);
            (Arc::clone(&popular.names), layer, category)
        };
        let meant = starter_rules(&category);
        let obeys_public_suffixes = settings.obey_public_suffixes;
        let proposal = Proposal {
            settings: &settings.gate,
            supply,
            layer,
            meant: &meant,
            obeys_public_suffixes,
            in_force,
            left_out: &self.rules_left_out(&settings.name),
            new,
        };
        f(&proposal, &names)
    }

    pub fn of(&self, list: &str) -> ListDecisions {
        self.decisions().lists.get(list).cloned().unwrap_or_default()
    }

    pub fn is_disabled(&self, list: &str) -> bool {
        self.of(list).disabled_since.is_some()
    }

    /// Changes what is decided about a list, and writes it down.
    pub fn change<T>(&self, list: &str, f: impl FnOnce(&mut ListDecisions) -> T) -> T {
        let mut decisions = self.decisions();
        let mut now = decisions.lists.get(list).cloned().unwrap_or_default();
        let result = f(&mut now);
        let before = match now == ListDecisions::default() {
            true => decisions.lists.remove(list),
            false => decisions.lists.insert(list.to_owned(), now.clone()),
        };
        if before.unwrap_or_default() != now {
            decisions.write();
        }
        result
    }

    fn popular(&self) -> MutexGuard<'_, Popular> {
        self.popular.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decisions(&self) -> MutexGuard<'_, Decisions> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Decisions {
    fn write(&self) {
        let Some(file) = &self.file else { return };
        let written = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        if let Err(why) = written.and_then(|octets| state::write_whole(file, &octets)) {
            tracing::error!("{}: what was decided about lists is not kept for the next start: {why}", file.display());
        }
    }
}

fn read_decisions(file: &Path) -> Result<Decisions, String> {
    let octets = read_steady(file, DECISIONS_OCTETS_MAX).map_err(|why| why.to_string())?;
    serde_json::from_slice(&octets).map_err(|why| why.to_string())
}

fn read_ranked(file: &Path) -> Result<String, String> {
    let octets = read_steady(file, POPULAR_FILE_OCTETS_MAX).map_err(|why| why.to_string())?;
    String::from_utf8(octets).map_err(|_| "it is not UTF-8".to_owned())
}

fn told(file: &Path, why: &str) -> String {
    format!("`popular_file` in [gate], {}: {why}", file.display())
}

/// Our own names and those of a ranked file's text; what is wrong with the latter.
fn popularity(key: TreeKey, built_in: &BuiltIn, ranked: &str, top: usize) -> (Popularity, Option<String>) {
    let own = built_in::own_entries(built_in::must_not_block());
    let own = own.map(|line| Name::from_text(line).expect("a test reads each of these lines as a name"));
    let holes = Holes::new(&built_in.holes(), &built_in.protected_content);
    let (names, report) = Popularity::new(key, holes, own, ranked, top);
    let problem = match report.names {
        0 if report.skipped > 0 => Some("it holds no name; it should be `rank,name` or a name a line".to_owned()),
        names if report.skipped > names => {
            Some(format!("{} of its lines are no names; it should be `rank,name` or a name a line", report.skipped))
        }
        _ => None,
    };
    (names, problem)
}

fn noted(left_out: gate::LeftOut, sha256: &str) -> Option<LeftOut> {
    let texts = |names: &[Name]| names.iter().map(ToString::to_string).collect();
    let gate::LeftOut { names, rules } = left_out;
    (!rules.is_empty()).then(|| LeftOut {
        sha256: sha256.to_owned(),
        since: clock::unix_secs(),
        names: texts(&names),
        rules: texts(&rules),
    })
}

fn category(categories: &Categories, id: CategoryId) -> (Layer, String) {
    let found = categories.iter().find(|(known, _)| *known == id).map(|(_, c)| (c.layer, c.name.clone()));
    // Unknown only between a reload and its configuration; the stricter layer is meant then.
    found.unwrap_or((Layer::Security, String::new()))
}

/// The rules of the starter list of a category: names that its lists are there to name.
fn starter_rules(category: &str) -> RuleSet {
    let options = ParseOptions { format: Format::Domains, bare_reach: None };
    built_in::starter_list(category).and_then(|text| parse(text.as_bytes(), options).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
