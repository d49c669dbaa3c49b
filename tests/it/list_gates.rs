//! The gates over real lists: the mistakes that were really published wait, and lists about one thing pass.
//!
//! The lists lie beside the project; without them these tests say so and pass.

use lachan::built_in::{must_not_block, own_entries, starter_list};
use lachan::daemon::reload::built_in;
use lachan::engine::category::Layer;
use lachan::engine::gate::{
    Decision, GateSettings, HoldReason, Holes, Learned, Popularity, Proposal, RuleNames, Rules, Share, Supply, TreeKey,
    judge, newly_hit,
};
use lachan::engine::list::{Format, ParseOptions, RuleSet, parse};
use lachan::engine::matcher::public_suffix::is_public_suffix;
use lachan::engine::name::Name;

use crate::shared;

/// As the configuration has them for a security list, with a bound for the ranked names.
const SETTINGS: GateSettings = GateSettings {
    must_not_block_max: Some(0),
    must_not_block_spare: 0,
    popular_max: Some(10),
    questions_max: None,
    shrink_max: Some(Share::percent(30)),
    grow_max: Some(Share::percent(50)),
};

fn rules(text: &str) -> RuleSet {
    parse(text.as_bytes(), ParseOptions { format: Format::Auto, bare_reach: None }).unwrap()
}

/// Our own names and the first `top` of a ranked text.
fn popularity(ranked: &str, top: usize) -> Popularity {
    let built_in = built_in();
    let holes = Holes::new(&built_in.holes(), &built_in.protected_content);
    let ours = own_entries(must_not_block()).map(|line| Name::from_text(line).unwrap());
    Popularity::new(TreeKey(1, 2), holes, ours, ranked, top).0
}

struct List<'a> {
    layer: Layer,
    category: &'a str,
    before: Option<&'a RuleSet>,
    new: &'a RuleSet,
}

impl List<'_> {
    fn ask<T>(&self, f: impl FnOnce(&Proposal<'_>) -> T) -> T {
        let meant = rules(starter_list(self.category).unwrap());
        f(&Proposal {
            settings: &SETTINGS,
            supply: Supply::Fetched,
            layer: self.layer,
            meant: &meant,
            obeys_public_suffixes: false,
            in_force: self.before.map(|rules| rules as &dyn Rules),
            left_out: &RuleNames::default(),
            new: self.new,
        })
    }

    fn reasons(&self, popularity: &Popularity) -> Vec<HoldReason> {
        match self.ask(|proposal| judge(proposal, popularity, &Learned::new(TreeKey(3, 4)))) {
            Decision::Accept { warnings, .. } => warnings,
            Decision::Hold { reasons } => reasons,
        }
    }

    /// Names that should not be blocked and are.
    fn hit(&self, popularity: &Popularity) -> Vec<String> {
        self.ask(|proposal| newly_hit(proposal, popularity, usize::MAX)).1
    }
}

#[test]
fn a_phishing_list_with_zalo_in_it_waits() {
    let Some(text) = shared::data_zst("chongluadao/urls-pihole.txt.zst") else { return };
    let (new, ours) = (rules(&text), popularity("", 0));
    let list = List { layer: Layer::Security, category: "phishing", before: None, new: &new };
    let hit = list.hit(&ours);
    assert!(hit.contains(&"zalo.me".to_owned()), "{hit:?}");
    assert!(matches!(&list.reasons(&ours)[..], [HoldReason::MustNotBlock { .. }]), "{:?}", list.reasons(&ours));
    // They are few, so that as it is configured it goes into force without them.
    let settings = GateSettings { must_not_block_spare: 10, ..SETTINGS };
    let decision =
        list.ask(|proposal| judge(&Proposal { settings: &settings, ..*proposal }, &ours, &Learned::new(TreeKey(3, 4))));
    let Decision::Accept { left_out, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(left_out.names.len(), hit.len());
    assert!(left_out.rules.len() < 20, "{:?}", left_out.rules);
    // Without its mistakes it passes.
    let lines = text.lines().filter(|line| !hit.iter().any(|name| *line == name || *line == format!("www.{name}")));
    let repaired = rules(&lines.collect::<Vec<&str>>().join("\n"));
    assert_eq!(List { new: &repaired, ..list }.reasons(&ours), []);
}

#[test]
fn a_protected_bank_and_a_typo_for_a_tld_hold_nothing() {
    let ours = popularity("", 0);
    let list = |new: &RuleSet| List { layer: Layer::Security, category: "malware", before: None, new }.hit(&ours);
    // `||5004com^` stands in a real list and would be a rule about a top-level domain; no list reaches a bank.
    assert_eq!(list(&rules("||5004com^\n||sacombank.com.vn^\n||bad.example^\n")), [""; 0]);
    let Some(text) = shared::data_zst("shadowwhisperer/RAW/Malware.zst") else { return };
    let hit = list(&rules(&text));
    assert!(!hit.iter().any(|name| name.ends_with("sacombank.com.vn")), "{hit:?}");
}

#[test]
fn no_public_suffix_of_a_million_names_counts_as_hit() {
    let Some(text) = shared::data_zst("sets/mixed_1m.txt.zst") else { return };
    let new = rules(&text);
    let suffixes: Vec<String> = new
        .names()
        .filter(|rule| is_public_suffix(rule.name))
        .map(|rule| Name::from_wire(rule.name).unwrap().to_string())
        .collect();
    assert!(suffixes.len() > 400, "{}", suffixes.len());
    let all = popularity(&suffixes.join("\n"), 10_000);
    let list = List { layer: Layer::Security, category: "malware", before: None, new: &new };
    let hit = list.hit(&all);
    let counted: Vec<&String> = hit.iter().filter(|name| suffixes.contains(name)).collect();
    // What is left is hit by a rule above it that stands on no suffix, as the index would have it: fbsbx.com.
    assert!(counted.len() < 10, "{counted:?}");
    // The union of everything names what it should not, and waits.
    assert!(hit.len() > 20 && !list.reasons(&all).is_empty(), "{}", hit.len());
}

#[test]
fn eight_thousand_popular_names_in_a_new_file_wait() {
    let Some(tiers) = shared::data_zst("popular/tiers.tsv.zst") else { return };
    let dropped: String =
        tiers.lines().take(8_000).map(|line| format!("{}\n", line.split('\t').next().unwrap())).collect();
    let (before, new) = (rules("bad.example\n"), rules(&format!("bad.example\n{dropped}")));
    let list = List { layer: Layer::Content, category: "adult", before: Some(&before), new: &new };
    for (ranked, top) in [("", 0), (tiers.as_str(), 10_000), (tiers.as_str(), 1_000_000)] {
        assert!(!list.reasons(&popularity(ranked, top)).is_empty(), "{top}");
    }
}

#[test]
fn a_real_update_of_a_gambling_list_passes() {
    let (Some(old), Some(new)) = (
        shared::data_zst("updates/hostsvn_gambling_hosts.old.zst"),
        shared::data_zst("updates/hostsvn_gambling_hosts.new.zst"),
    ) else {
        return;
    };
    let Some(tiers) = shared::data_zst("popular/tiers.tsv.zst") else { return };
    let (old, new) = (rules(&old), rules(&new));
    let list = List { layer: Layer::Content, category: "gambling", before: Some(&old), new: &new };
    assert_eq!(list.reasons(&popularity(&tiers, 10_000)), []);
}
