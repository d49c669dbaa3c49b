//! What passes and what waits.

use super::*;
use crate::engine::list::{Format, ParseOptions, Reach, own_entry, parse};
use crate::engine::matcher::Part;
use crate::engine::name::Name;

const OURS: &[&str] = &["zalo.me", "vnexpress.net", "wikipedia.org", "facebook.com", "chinhphu.gov.vn"];
const SETTINGS: GateSettings = GateSettings {
    must_not_block_max: Some(0),
    must_not_block_spare: 0,
    popular_max: Some(2),
    questions_max: Some(Share::percent(1)),
    shrink_max: Some(Share::percent(30)),
    grow_max: Some(Share::percent(50)),
};

fn rules(text: &str) -> RuleSet {
    parse(text.as_bytes(), ParseOptions { format: Format::Auto, bare_reach: None }).unwrap()
}

/// What a version with these rules goes without when `spare` names may be left out; `None`: it waits.
fn left_out(spare: u32, before: Option<(&str, &str)>, new: &str) -> Option<Vec<String>> {
    let settings = GateSettings { must_not_block_spare: spare, ..SETTINGS };
    let (in_force, new) = (before.map(|(text, _)| rules(text)), rules(new));
    let out = before.map(|(_, out)| rules(out).names().map(|rule| rule.name.into()).collect()).unwrap_or_default();
    let part = Part::of(&new, &|_| false);
    let proposal = Proposal {
        settings: &settings,
        supply: Supply::Fetched,
        layer: Layer::Security,
        meant: &rules(""),
        obeys_public_suffixes: false,
        in_force: in_force.as_ref().map(|rules| rules as &dyn Rules),
        left_out: &out,
        new: &new,
    };
    let (popularity, learned) = (popularity(), Learned::new(TreeKey(5, 6)));
    let decision = judge(&proposal, &popularity, &learned);
    // On its way into an index a list is judged as its text is.
    assert_eq!(judge(&Proposal { new: &part, ..proposal }, &popularity, &learned), decision);
    match decision {
        Decision::Accept { warnings, left_out } => {
            assert_eq!(warnings, []);
            assert!(left_out.names.len() <= left_out.rules.len());
            Some(left_out.rules.iter().map(ToString::to_string).collect())
        }
        Decision::Hold { .. } => None,
    }
}

#[test]
fn a_few_good_names_are_left_out_and_more_hold_the_version() {
    for (spare, before, new, out) in [
        (2, None, "||bad.example^", Some(&[][..])),
        (2, None, "||bad.example^\n||zalo.me^", Some(&["zalo.me"])),
        (0, None, "||bad.example^\n||zalo.me^", None),
        // Every rule that would block the name or its `www.` goes, and no other one.
        (2, None, "||zalo.me^\n|www.zalo.me^\n||evil.zalo.me^\n@@||x.zalo.me^", Some(&["zalo.me", "www.zalo.me"])),
        (2, None, "||zalo.me^$important\n||bad.example^", Some(&["zalo.me"])),
        (0, None, "||zalo.me^$important\n||bad.example^", None),
        (2, None, "||zalo.me^\n||wikipedia.org^", Some(&["wikipedia.org", "zalo.me"])),
        (2, None, "||zalo.me^\n||wikipedia.org^\n||vnexpress.net^", None),
        // What was in force stays; what was left out is left out again.
        (2, Some(("||zalo.me^", "")), "||zalo.me^\n||bad.example^", Some(&[])),
        (2, Some(("||zalo.me^", "||zalo.me^")), "||zalo.me^\n||bad.example^", Some(&["zalo.me"])),
    ] {
        let expected = out.map(|out| out.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let told = left_out(spare, before, new).map(|mut rules| {
            rules.sort_by_key(|name| (name.len(), name.clone()));
            rules
        });
        let expected = expected.map(|mut rules| {
            rules.sort_by_key(|name| (name.len(), name.clone()));
            rules
        });
        assert_eq!(told, expected, "{spare} {before:?} {new}");
    }
}

/// `count` names that nobody knows.
fn filler(count: usize) -> String {
    (0..count).map(|i| format!("||f{i}.bad.example^\n")).collect()
}

fn popularity() -> Popularity {
    let entries = |all: &[&str]| -> Vec<(Name, Reach)> { all.iter().map(|e| own_entry(e).unwrap()).collect() };
    let holes = Holes::new(&entries(&["sacombank.com.vn"]), &entries(&["gov.vn"]));
    let ranked = "1,google.com\n2,sacombank.com.vn\n3,popular-a.example\n4,popular-b.example\n5,popular-c.example\n";
    let ours = OURS.iter().map(|text| Name::from_text(text).unwrap());
    Popularity::new(TreeKey(1, 2), holes, ours, ranked, 1_000).0
}

struct Case<'a> {
    supply: Supply,
    layer: Layer,
    meant: &'a str,
    before: Option<&'a str>,
    new: &'a str,
    learned: Learned,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Case {
            supply: Supply::Directory,
            layer: Layer::Security,
            meant: "",
            before: None,
            new: "",
            learned: Learned::new(TreeKey(5, 6)),
        }
    }
}

impl Case<'_> {
    fn judge(&self) -> Decision {
        let (meant, new) = (rules(self.meant), rules(self.new));
        let before = self.before.map(rules);
        let proposal = Proposal {
            settings: &SETTINGS,
            supply: self.supply,
            layer: self.layer,
            meant: &meant,
            obeys_public_suffixes: false,
            in_force: before.as_ref().map(|rules| rules as &dyn Rules),
            left_out: &RuleNames::default(),
            new: &new,
        };
        judge(&proposal, &popularity(), &self.learned)
    }

    fn reasons(&self) -> Vec<String> {
        match self.judge() {
            Decision::Accept { warnings, .. } => {
                assert!(self.supply == Supply::Hand || warnings.is_empty(), "{warnings:?}");
                Vec::new()
            }
            Decision::Hold { reasons } => {
                assert!(!reasons.is_empty());
                reasons.iter().map(ToString::to_string).collect()
            }
        }
    }
}

#[test]
fn names_that_should_not_be_blocked_hold_a_version() {
    for (new, held) in [
        ("||bad.example^", false),
        ("||zalo.me^", true),
        ("||zalo.me^\n@@||zalo.me^", false),
        ("0.0.0.0 zalo.me\n0.0.0.0 bad.example\n", true),
        ("0.0.0.0 www.zalo.me\n0.0.0.0 bad.example\n", true),
        ("0.0.0.0 chat.zalo.me\n0.0.0.0 bad.example\n", false),
        ("*.zalo.me\n", true),
        // Protected names are out of a list's reach, and so are public suffixes.
        ("||sacombank.com.vn^", false),
        ("||com.vn^\n||net^\n", false),
        ("||chinhphu.gov.vn^", true),
    ] {
        let case = Case { new, ..Case::default() };
        assert_eq!(!case.reasons().is_empty(), held, "{new:?}: {:?}", case.reasons());
    }
    let content = Case { new: "||chinhphu.gov.vn^", layer: Layer::Content, ..Case::default() };
    assert_eq!(content.reasons(), [""; 0], "no content list reaches gov.vn");
}

#[test]
fn only_what_is_new_counts() {
    let case = Case { before: Some("||zalo.me^"), new: "||zalo.me^\n||bad.example^", ..Case::default() };
    assert_eq!(case.reasons(), [""; 0]);
    let case = Case { before: Some("||vnexpress.net^"), new: "||zalo.me^\n||vnexpress.net^", ..Case::default() };
    assert_eq!(case.reasons(), ["it hits 1 name that should not be blocked (at most 0): zalo.me"]);
    // An exception that is gone makes new what the list named all along.
    let case = Case { before: Some("||zalo.me^\n@@||zalo.me^"), new: "||zalo.me^", ..Case::default() };
    assert_eq!(case.reasons().len(), 1);
}

#[test]
fn a_list_may_name_what_its_category_is_about() {
    let case = Case { meant: "facebook.com", new: "||facebook.com^", ..Case::default() };
    assert_eq!(case.reasons(), [""; 0]);
    let case = Case { meant: "facebook.com", new: "||facebook.com^\n||wikipedia.org^", ..Case::default() };
    assert_eq!(case.reasons(), ["it hits 1 name that should not be blocked (at most 0): wikipedia.org"]);
}

#[test]
fn ranked_names_are_counted_by_a_bound_of_their_own() {
    let two = "||popular-a.example^\n||popular-b.example^\n||sacombank.com.vn^";
    assert_eq!(Case { new: two, ..Case::default() }.reasons(), [""; 0]);
    let three = format!("{two}\n||google.com^");
    assert_eq!(
        Case { new: &three, ..Case::default() }.reasons(),
        ["it hits 3 popular names (at most 2): google.com, popular-a.example, popular-b.example"]
    );
}

#[test]
fn thousands_of_popular_names_in_a_new_file_wait() {
    let list: String = (0..8_000).map(|i| format!("popular{i}.example\n")).collect();
    let ranked: String = (0..8_000).map(|i| format!("{},popular{i}.example\n", i + 1)).collect();
    let (popularity, report) = Popularity::new(TreeKey(1, 2), Holes::default(), std::iter::empty(), &ranked, 1_000_000);
    assert_eq!(report.names, 8_000);
    let new = rules(&list);
    let empty = RuleSet::default();
    let mut proposal = Proposal {
        settings: &SETTINGS,
        supply: Supply::Directory,
        layer: Layer::Content,
        meant: &empty,
        obeys_public_suffixes: false,
        in_force: None,
        left_out: &RuleNames::default(),
        new: &new,
    };
    let learned = Learned::new(TreeKey(5, 6));
    let Decision::Hold { reasons } = judge(&proposal, &popularity, &learned) else { panic!("it goes into force") };
    assert!(reasons[0].to_string().ends_with(", …"), "{}", reasons[0]);
    assert!(
        matches!(&reasons[0], HoldReason::Popular { count: 8_000, names, .. } if names.len() == GATE_NAMES_SHOWN_MAX)
    );
    assert_eq!(newly_hit(&proposal, &popularity, 3).0, 8_000);
    // The operator's own file is the operator's word.
    proposal.supply = Supply::Hand;
    assert_eq!(
        judge(&proposal, &popularity, &learned),
        Decision::Accept { warnings: reasons, left_out: LeftOut::default() }
    );
}

#[test]
fn a_version_that_lost_or_gained_too_much_waits() {
    for (before, now, want) in [
        (1_000, 700, ""),
        (1_000, 699, "it shrinks from 1000 to 699 rules, by 30.1 % (at most 30 %)"),
        (1_000, 1_500, ""),
        (1_000, 1_501, "it grows from 1000 to 1501 rules, by 50.1 % (at most 50 %)"),
        (999, 1, ""),
        (999, 5_000, ""),
    ] {
        let (before_text, new) = (filler(before), filler(now));
        let case = Case { before: Some(&before_text), new: &new, ..Case::default() };
        assert_eq!(case.reasons().concat(), want, "{before} → {now}");
        let case = Case { supply: Supply::Hand, ..case };
        assert_eq!(
            case.judge(),
            Decision::Accept { warnings: Vec::new(), left_out: LeftOut::default() },
            "{before} → {now} by hand"
        );
    }
    assert_eq!(
        Case { new: &filler(5_000), ..Case::default() }.reasons(),
        [""; 0],
        "a first version has no size before"
    );
}

#[test]
fn an_emptied_list_waits_and_so_does_an_empty_one_from_afar() {
    for (supply, before, new, held) in [
        (Supply::Hand, None, "", false),
        (Supply::Hand, Some("||a.example^"), "", true),
        (Supply::Hand, Some("||a.example^"), "||b.example^", false),
        (Supply::Directory, None, "", false),
        (Supply::Directory, Some("||a.example^"), "! none", true),
        (Supply::Fetched, None, "", true),
        (Supply::Fetched, Some("||a.example^"), "! none", true),
        (Supply::Fetched, None, "||b.example^", false),
    ] {
        let case = Case { supply, before, new, ..Case::default() };
        assert_eq!(matches!(case.judge(), Decision::Hold { .. }), held, "{supply:?} {before:?} {new:?}");
    }
}

#[test]
fn what_people_ask_for_holds_a_version() {
    let learned = |asked: u64| {
        let mut learned = Learned::new(TreeKey(5, 6));
        for i in 0..1_000 {
            let name = if i < asked { "api.much-asked.example" } else { "other.example" };
            learned.note(1, Some(Name::from_text(name).unwrap().as_wire()));
        }
        learned
    };
    let new = "||much-asked.example^";
    let case = |asked, new| Case { new, learned: learned(asked), ..Case::default() };
    assert_eq!(case(10, new).reasons(), [""; 0]);
    assert_eq!(
        case(31, new).reasons(),
        ["it would block 3.1 % of what was asked and answered since yesterday (at most 1 %)"]
    );
    assert_eq!(Case { before: Some(new), ..case(31, new) }.reasons(), [""; 0]);
    assert_eq!(case(31, "||much-asked.example^\n@@||api.much-asked.example^").reasons(), [""; 0]);
    // Too few questions to tell.
    let mut few = Learned::new(TreeKey(5, 6));
    (0..999).for_each(|_| few.note(1, Some(Name::from_text("api.much-asked.example").unwrap().as_wire())));
    assert_eq!(Case { new, learned: few, ..Case::default() }.reasons(), [""; 0]);
}

#[test]
fn a_protected_name_that_everybody_asks_for_holds_nothing() {
    let mut learned = Learned::new(TreeKey(5, 6));
    (0..2_000).for_each(|_| learned.note(1, Some(Name::from_text("www.sacombank.com.vn").unwrap().as_wire())));
    assert_eq!(Case { new: "||sacombank.com.vn^", learned, ..Case::default() }.reasons(), [""; 0]);
}

#[test]
fn bounds_can_be_off() {
    let (before, new, empty) = (rules(&filler(2_000)), rules("||zalo.me^\n||google.com^"), RuleSet::default());
    let proposal = Proposal {
        settings: &GateSettings::OPEN,
        supply: Supply::Directory,
        layer: Layer::Security,
        meant: &empty,
        obeys_public_suffixes: false,
        in_force: Some(&before),
        left_out: &RuleNames::default(),
        new: &new,
    };
    let decision = judge(&proposal, &popularity(), &Learned::new(TreeKey(5, 6)));
    assert_eq!(decision, Decision::Accept { warnings: Vec::new(), left_out: LeftOut::default() });
}

#[test]
fn shares_are_told_as_people_write_them() {
    for (share, text) in [
        (Share::percent(30), "30 %"),
        (Share::of(31, 1_000), "3.1 %"),
        (Share::of(1, 8), "12.5 %"),
        (Share::of(1, 3_000), "0.03 %"),
        (Share::of(5, 0), "500 %"),
        (Share::of(0, 0), "0 %"),
    ] {
        assert_eq!(share.to_string(), text);
    }
}
