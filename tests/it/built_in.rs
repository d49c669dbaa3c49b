//! The files compiled in: they read clean, and they leave alone what people need.

use std::collections::HashSet;

use lachan::built_in::{
    STARTER_LISTS, must_not_block, own_entries, protected, protected_content, safe_search_csv, starter_list,
};
use lachan::engine::category::Categories;
use lachan::engine::list::{Format, ParseOptions, Reach, RuleSet, own_entry, parse};
use lachan::engine::name::Name;
use lachan::engine::safe_search::SafeSearch;

use crate::shared;

fn read(list: &str) -> RuleSet {
    let text = starter_list(list).unwrap_or_else(|| panic!("no starter list {list}"));
    let options = ParseOptions { format: Format::Domains, bare_reach: None };
    parse(text.as_bytes(), options).unwrap_or_else(|why| panic!("{list}: {why}"))
}

fn names(list: &str) -> Vec<Name> {
    read(list).names().map(|rule| Name::from_wire(rule.name).unwrap()).collect()
}

fn protected_entries() -> Vec<(Name, Reach)> {
    own_entries(protected()).map(|entry| own_entry(entry).unwrap()).collect()
}

#[test]
fn every_starter_list_reads_without_a_skipped_line() {
    for list in STARTER_LISTS {
        let rules = read(list);
        assert_eq!(rules.report.shown, [], "{list}");
        assert!(rules.rule_count() > 0, "{list}");
        assert!(rules.names().all(|rule| rule.reach == Reach::Subtree), "{list}");
        let distinct: HashSet<_> = rules.names().map(|rule| rule.name.to_vec()).collect();
        assert_eq!(distinct.len(), rules.rule_count(), "{list} names something twice");
    }
}

#[test]
fn every_category_with_lists_has_a_starter() {
    let categories = Categories::built_in();
    for (_, category) in categories.iter() {
        // `unsafe-search` is the SafeSearch table's.
        let expected = category.name != "unsafe-search";
        assert_eq!(starter_list(&category.name).is_some(), expected, "{}", category.name);
    }
    assert!(starter_list("canary").is_some());
    assert!(starter_list("nothing").is_none());
}

#[test]
fn every_protected_entry_is_a_name_and_none_says_less_than_another() {
    let entries = protected_entries();
    for (i, (name, reach)) in entries.iter().enumerate() {
        assert!(name.label_count() >= 2, "{name}");
        let wider = entries
            .iter()
            .enumerate()
            .find(|(j, (other, other_reach))| *j != i && *other_reach == Reach::Subtree && name.is_at_or_below(other));
        assert_eq!(wider, None, "{name} ({reach:?})");
    }
    let content: Vec<_> = own_entries(protected_content()).collect();
    assert_eq!(content, ["gov.vn", "edu.vn"]);
}

#[test]
fn what_must_not_be_blocked_is_names_each_told_once() {
    let names: Vec<Name> = own_entries(must_not_block())
        .map(|line| Name::from_text(line).unwrap_or_else(|why| panic!("{line}: {why}")))
        .collect();
    assert!(names.len() >= 1_300, "{}", names.len());
    let distinct: HashSet<&Name> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "it names something twice");
    for name in &names {
        assert!(name.label_count() >= 2, "{name}");
    }
    for text in ["zalo.me", "vnexpress.net", "wikipedia.org", "google.com"] {
        assert!(distinct.contains(&Name::from_text(text).unwrap()), "{text}");
    }
}

#[test]
fn no_starter_entry_meets_a_protected_name() {
    let entries = protected_entries();
    for list in STARTER_LISTS {
        for name in names(list) {
            for (protected, reach) in &entries {
                assert!(!protected.is_at_or_below(&name), "{list}: {name} covers {protected}");
                let inside = *reach == Reach::Subtree && name.is_at_or_below(protected);
                assert!(!inside, "{list}: {name} is inside protected {protected} and would do nothing");
            }
        }
    }
}

#[test]
fn no_starter_entry_covers_a_safe_search_host_or_target() {
    let table = SafeSearch::from_csv(safe_search_csv()).unwrap();
    // The category `video` takes YouTube whole, restricted or not: that is its purpose.
    for list in STARTER_LISTS.iter().filter(|list| **list != "video") {
        for name in names(list) {
            for needed in table.targets().chain(table.rules().map(|rule| &rule.host)) {
                assert!(!needed.is_at_or_below(&name), "{list}: {name} covers {needed}");
            }
        }
    }
}

#[test]
fn no_starter_entry_is_a_public_suffix() {
    for list in STARTER_LISTS {
        for name in names(list) {
            assert!(name.label_count() >= 2, "{list}: {name}");
        }
    }
    let Some(text) = shared::data_zst("psl/public_suffix_list.dat.zst") else { return };
    let suffixes: HashSet<Name> = text
        .lines()
        .filter(|line| !line.starts_with("//") && !line.is_empty())
        .filter_map(|line| Name::from_text(line.trim_start_matches("*.").trim_start_matches('!')).ok())
        .collect();
    for list in STARTER_LISTS {
        for name in names(list) {
            assert!(!suffixes.contains(&name), "{list}: {name}");
        }
    }
}

#[test]
fn what_vietnam_needs_is_in_no_starter_that_everyone_gets() {
    let Some(text) = shared::data("popular/vn_must_not_block.txt") else { return };
    let needed: Vec<Name> = text.lines().filter_map(|line| Name::from_text(line.trim()).ok()).collect();
    assert!(needed.len() > 50, "{}", needed.len());
    // The others are a profile's choice: Zalo is a chat, FPT Play shows films.
    for list in STARTER_LISTS.iter().filter(|list| !["chat", "video", "social", "games"].contains(list)) {
        for name in names(list) {
            for needed in &needed {
                assert!(!needed.is_at_or_below(&name), "{list}: {name} covers {needed}");
            }
        }
    }
}
