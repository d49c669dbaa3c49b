//! Patterns → which rules a name looks like. Costs nothing where no list has any.
//!
//! All literals are searched for in one pass (Aho–Corasick); regular expressions are asked a hundred at a time, in linear
//! time each. What is searched is the name's text without its final dot.

use aho_corasick::AhoCorasick;
use regex_automata::meta::Regex;
use regex_automata::{Input, PatternSet};

use crate::engine::limits::NAME_OCTETS_MAX;
use crate::engine::list::pattern::compile;
use crate::engine::list::special::{From, Pattern};
use crate::engine::matcher::special::RuleNumber;
use crate::engine::name::Labels;

/// The compiled patterns of all lists.
#[derive(Debug, Default)]
pub(super) struct PatternTable {
    literals: Option<Literals>,
    regexes: Vec<(Regex, Vec<RuleNumber>)>,
}

#[derive(Debug)]
struct Literals {
    automaton: AhoCorasick,
    /// By the automaton's pattern number.
    rules: Vec<(From, RuleNumber)>,
}

/// Regular expressions in one automaton. Chosen: a hundred small ones still fit a lazy automaton's memory.
const REGEXES_TOGETHER: usize = 100;

/// `^.` before a name and `$` behind it, so that an anchor is a piece of text like any other. No name has these octets.
const BEFORE: &[u8] = b"^.";
const AFTER: u8 = b'$';

impl PatternTable {
    pub(super) fn is_empty(&self) -> bool {
        self.literals.is_none() && self.regexes.is_empty()
    }

    /// Gives `found` every rule that `name`, in canonical wire form, looks like.
    pub(super) fn look_up(&self, name: &[u8], mut found: impl FnMut(RuleNumber)) {
        let mut text = [0; NAME_OCTETS_MAX + BEFORE.len() + 1];
        let text = write_text(name, &mut text);
        if let Some(literals) = &self.literals {
            for hit in literals.automaton.find_overlapping_iter(text) {
                let (from, rule) = literals.rules[hit.pattern().as_usize()];
                let holds = match from {
                    From::Start | From::Label => true,
                    // The dot that stands before the name is not the name's.
                    From::Anywhere => hit.start() >= BEFORE.len(),
                    From::Word => parts_words(text[hit.start() - 1]) && parts_words(text[hit.end()]),
                };
                if holds {
                    found(rule);
                }
            }
        }
        let text = &text[BEFORE.len()..text.len() - 1];
        for (regex, rules) in self.regexes.iter().filter(|(regex, _)| regex.is_match(text)) {
            let mut which = PatternSet::new(rules.len());
            regex.which_overlapping_matches(&Input::new(text), &mut which);
            which.iter().for_each(|pattern| found(rules[pattern.as_usize()]));
        }
    }

    pub(super) fn build(patterns: &[(&Pattern, RuleNumber)]) -> PatternTable {
        let (mut texts, mut rules, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for (pattern, rule) in patterns {
            match pattern {
                Pattern::Literal { text, from, ends } => {
                    let before = match from {
                        From::Start => "^.",
                        From::Label => ".",
                        From::Anywhere | From::Word => "",
                    };
                    texts.push(format!("{before}{text}{}", if *ends { "$" } else { "" }));
                    rules.push((*from, *rule));
                }
                Pattern::Regex(source) => sources.push((&**source, *rule)),
            }
        }
        let literals = (!texts.is_empty()).then(|| {
            let automaton = AhoCorasick::new(&texts).expect("the bound on patterns keeps their states countable");
            Literals { automaton, rules }
        });
        let mut regexes = Vec::new();
        for together in sources.chunks(REGEXES_TOGETHER) {
            compile_into(together, &mut regexes);
        }
        PatternTable { literals, regexes }
    }
}

fn parts_words(c: u8) -> bool {
    matches!(c, b'.' | b'-' | AFTER)
}

/// Several expressions in one automaton; should they be too large together, one by one.
fn compile_into(together: &[(&str, RuleNumber)], regexes: &mut Vec<(Regex, Vec<RuleNumber>)>) {
    let (sources, rules): (Vec<&str>, Vec<RuleNumber>) = together.iter().copied().unzip();
    match (compile(&sources), together) {
        (Ok(regex), _) => regexes.push((regex, rules)),
        (Err(why), [_]) => unreachable!("an expression that compiled when it was read does not now: {why}"),
        (Err(_), _) => together.chunks(1).for_each(|one| compile_into(one, regexes)),
    }
}

/// Writes `^.www.example.com$`. A dot inside a label is none between two.
fn write_text<'a>(name: &[u8], text: &'a mut [u8; NAME_OCTETS_MAX + BEFORE.len() + 1]) -> &'a [u8] {
    text[..BEFORE.len()].copy_from_slice(BEFORE);
    let mut at = BEFORE.len();
    for (i, label) in Labels::of(name).labels().enumerate() {
        if i > 0 {
            text[at] = b'.';
            at += 1;
        }
        for &c in label {
            text[at] = if matches!(c, b'.' | b'^' | b'$') { 0 } else { c };
            at += 1;
        }
    }
    text[at] = AFTER;
    &text[..=at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::name::Name;

    #[test]
    fn an_expression_meets_what_it_meets_alone_whatever_stands_beside_it() {
        for (sources, name, met) in [
            // An expression that meets nearly everything, and whose match ends first, hides no other one.
            (&[r"(a|b|c)*d", r"\.cdn\.[a-z]+$"][..], "ads1.cdn.example", &[0, 1][..]),
            (&[r"ads", r"^ads[0-9]+\.", r"ads1", r"example$"], "ads1.example", &[0, 1, 2, 3]),
            (&[r"^b", r"ads", r"^ads$"], "ads.example", &[1]),
            (&[r"x*", r"ADS"], "ads.example", &[0, 1]),
        ] {
            let patterns: Vec<Pattern> = sources.iter().map(|&source| Pattern::Regex(source.into())).collect();
            let numbered: Vec<(&Pattern, RuleNumber)> =
                patterns.iter().zip(0..).map(|(pattern, i)| (pattern, RuleNumber(i))).collect();
            let mut found = Vec::new();
            PatternTable::build(&numbered).look_up(Name::from_text(name).unwrap().as_wire(), |rule| found.push(rule.0));
            found.sort_unstable();
            assert_eq!(found, met, "{sources:?} {name}");
        }
    }
}
