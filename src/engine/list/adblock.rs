//! Adblock rules that are about whole names: `||name^`, `|name^`, `.name^`, and `@@` before them.
//!
//! The rest of the language is about pages, and a resolver that guessed at it would block sites for one picture. What
//! cannot be said exactly about names is skipped, with two readings that are narrower than the reference's:
//! `||name` without `^` also means `name.other.tld` and `nameabc.tld` there and only the name and all below here; and
//! `$important` does not outrank an exception of the same list here.

use crate::engine::list::names::{NameReaches, Says, net, parse_line as parse_names, push_name, push_net, why_no_name};
use crate::engine::list::{Effect, Reach, RuleSet, SkipReason};

/// What a line of this format did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It made a rule.
    Rule,
    /// It made the last rule of the set, which says not what is blocked but which rule of the list is void.
    Void,
}

/// Whether a line can only be of this format, whatever format the list has.
pub(super) fn is_line(text: &[u8]) -> bool {
    text.starts_with(b"|") || text.starts_with(b"@@") || text.iter().any(|c| matches!(c, b'^' | b'$' | b'|'))
}

/// `/…/`, `/…/$modifiers`.
pub(super) fn is_regex(rule: &[u8]) -> bool {
    rule.len() > 2 && rule[0] == b'/' && (rule.ends_with(b"/") || rule.windows(2).any(|w| w == b"/$"))
}

/// Reads one rule. `text` is trimmed, without comment, and not empty.
pub(super) fn parse_line(set: &mut RuleSet, text: &[u8], line: u32, bare: Reach) -> Result<Outcome, SkipReason> {
    let (rule, effect) = match text.strip_prefix(b"@@") {
        Some(rule) => (rule, Effect::Except),
        None => (text, Effect::List),
    };
    // A regular expression has no modifiers and may hold any octet.
    if is_regex(rule) {
        return Err(SkipReason::Pattern);
    }
    let (pattern, modifiers) = split_modifiers(rule);
    if matches!(pattern, b"" | b"|" | b"||" | b"^" | b"||^" | b"*" | b"*^" | b"||*" | b"||*^") {
        return Err(if modifiers.is_none() { SkipReason::TooWide } else { SkipReason::Modifier });
    }
    let outcome = match modifiers {
        None => Outcome::Rule,
        Some(modifiers) => judge_modifiers(modifiers)?,
    };
    push_pattern(set, pattern, effect, line, bare)?;
    Ok(outcome)
}

/// `pattern$modifiers`: the last `$` that is not escaped parts them.
fn split_modifiers(rule: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut at = rule.len();
    while let Some(dollar) = rule[..at].iter().rposition(|&c| c == b'$') {
        if dollar == 0 || rule[dollar - 1] != b'\\' {
            return (&rule[..dollar], Some(&rule[dollar + 1..]));
        }
        at = dollar;
    }
    (rule, None)
}

/// AdGuard's DNS syntax: "If a rule contains a modifier not listed in this document, the whole rule must be ignored";
/// of the listed ones we honour those that say nothing about types, clients and answers.
fn judge_modifiers(modifiers: &[u8]) -> Result<Outcome, SkipReason> {
    let mut outcome = Outcome::Rule;
    for modifier in modifiers.split(|&c| c == b',') {
        match modifier {
            b"important" => {}
            b"badfilter" => outcome = Outcome::Void,
            _ => return Err(SkipReason::Modifier),
        }
    }
    Ok(outcome)
}

/// Where a pattern must begin.
#[derive(PartialEq, Eq)]
enum Anchor {
    /// `||`: at the start or after a dot.
    Label,
    /// `|`, `://`: at the start.
    Start,
    Nowhere,
}

fn push_pattern(set: &mut RuleSet, pattern: &[u8], effect: Effect, line: u32, bare: Reach) -> Result<(), SkipReason> {
    let (anchor, body) = strip_anchor(pattern);
    let (body, ended) = strip_end(body);
    if body.is_empty() {
        return Err(SkipReason::TooWide);
    }
    let bracketed = body.strip_prefix(b"[").and_then(|b| b.strip_suffix(b"]"));
    if let Some(net) = net(bracketed.unwrap_or(body)) {
        return push_net(set, net, effect, line);
    }
    let says = |reach| Says { reach, effect, line, single_label: true };
    let children = body.strip_prefix(b"*.").or_else(|| body.strip_prefix(b"."));
    match (anchor, ended) {
        // `||*.name^`, `.name^`: something, a dot, the name.
        (Anchor::Label | Anchor::Nowhere, true) if children.is_some() => {
            let name = children.expect("the guard saw that it is there");
            push_pattern_name(set, name, says(Reach::Children))
        }
        (Anchor::Label, true) => push_pattern_name(set, body, says(Reach::Subtree)),
        // Without an end it is a prefix: `||ads.` has no reading as a name, `||ads.example` a narrower one.
        (Anchor::Label, false) if body.ends_with(b".") => Err(SkipReason::Pattern),
        (Anchor::Label, false) => push_pattern_name(set, body, Says { single_label: false, ..says(Reach::Subtree) }),
        (Anchor::Start, true) => push_pattern_name(set, body, Says { single_label: false, ..says(Reach::Exact) }),
        (Anchor::Start, false) => Err(if has_path(body) { SkipReason::Path } else { SkipReason::Pattern }),
        // `ample.org^`: the end of any name.
        (Anchor::Nowhere, true) => Err(if has_path(body) { SkipReason::Path } else { SkipReason::Pattern }),
        (Anchor::Nowhere, false) if effect == Effect::List => {
            // AdGuard: a bare name is exactly itself. `*.name` is a piece of text there and is kept to what people mean
            // by it, all below the name; `.name` could be anything.
            let reaches = NameReaches { bare, star: Reach::Children, dot: None };
            parse_names(set, body, line, reaches).map_err(|why| page_pattern(body, why))
        }
        (Anchor::Nowhere, false) => push_pattern_name(set, body, Says { single_label: false, ..says(bare) }),
    }
}

fn strip_anchor(pattern: &[u8]) -> (Anchor, &[u8]) {
    if let Some(body) = pattern.strip_prefix(b"||") {
        (Anchor::Label, body)
    } else if let Some(body) = pattern.strip_prefix(b"|").or_else(|| pattern.strip_prefix(b"://")) {
        (Anchor::Start, body)
    } else {
        (Anchor::Nowhere, pattern)
    }
}

/// Takes `^`, `|`, `^|`, `^*` or `/*` off the end, which all mean that the name ends there.
fn strip_end(body: &[u8]) -> (&[u8], bool) {
    for end in [&b"^|"[..], b"^*", b"/*", b"^", b"|"] {
        if let Some(rest) = body.strip_suffix(end) {
            return (rest, true);
        }
    }
    (body, false)
}

fn push_pattern_name(set: &mut RuleSet, name: &[u8], says: Says) -> Result<(), SkipReason> {
    push_name(set, name, says).map_err(|why| if name.contains(&b'^') { SkipReason::Path } else { why })
}

fn has_path(body: &[u8]) -> bool {
    body.contains(&b'^') || why_no_name(body) == SkipReason::Path
}

/// A piece of an address of a page (`&ad_box=`, `-banner-`) is no bad line in this format, only none for us.
fn page_pattern(body: &[u8], why: SkipReason) -> SkipReason {
    let one_word = !body.iter().any(|c| matches!(c, b' ' | b'\t'));
    if why == SkipReason::NotAName && one_word { SkipReason::Pattern } else { why }
}
