//! Adblock rules as far as DNS sees them: `||name^`, `|name^`, `.name^`, patterns, `/regex/`, `@@` before and modifiers
//! behind.
//!
//! The rest of the language is about pages, and a resolver that guessed at it would block sites for one picture: what
//! cannot be said about names is skipped. Where a mask is a name and a reach it becomes a plain rule.

use crate::engine::list::modifiers::{self, Modifiers};
use crate::engine::list::names::{NameReaches, Says, net, parse_line as parse_names, push_name, push_net, why_no_name};
use crate::engine::list::special::{Action, From, Owner, Pattern, Rewritten, SpecialRule};
use crate::engine::list::{Effect, Reach, RuleSet, SkipReason, pattern};
use crate::engine::query::Rcode;

/// What a line of this format did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It made a rule.
    Rule,
    /// It made the last rules of the set, which say not what is blocked but which rules of the list are void.
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
    let (pattern, modifiers) = split_modifiers(rule);
    let Some(modifiers) = modifiers else {
        push_pattern(set, pattern, Says { reach: bare, effect, line, single_label: false }, false)?;
        return Ok(Outcome::Rule);
    };
    let modifiers = modifiers::parse(modifiers)?;
    let before = set.mark();
    let restricted = modifiers.condition.parts() > 0;
    if is_everything(pattern) {
        if !restricted {
            return Err(SkipReason::TooWide);
        }
        // Whoever or whatever the modifiers name, and that alone: all names are below the root.
        set.push_wire(b"\0", Reach::Subtree, effect, line);
    } else {
        // A name of one label is never blocked from a list; a rule of an own purpose may name a machine.
        let single_label = restricted || modifiers.rewrite.is_some();
        push_pattern(set, pattern, Says { reach: bare, effect, line, single_label }, true)?;
    }
    let outcome = if modifiers.badfilter { Outcome::Void } else { Outcome::Rule };
    make_special(set, before, effect, modifiers)?;
    Ok(outcome)
}

/// A mask that any name matches.
fn is_everything(pattern: &[u8]) -> bool {
    matches!(pattern, b"" | b"|" | b"||" | b"^" | b"||^" | b"*" | b"*^" | b"||*" | b"||*^")
}

/// Turns the rules since `before` into special ones where the modifiers ask for more than a plain rule says.
fn make_special(
    set: &mut RuleSet,
    before: crate::engine::list::Mark,
    effect: Effect,
    modifiers: Modifiers,
) -> Result<(), SkipReason> {
    let Modifiers { important, condition, rewrite, .. } = modifiers;
    let is_plain = !important && condition.parts() == 0 && rewrite.is_none();
    if is_plain {
        return Ok(());
    }
    let only_important = condition.parts() == 0 && rewrite.is_none();
    if set.addresses_since(before) > 0 {
        // An address of an answer has no type and no rewrite; and there is nothing more important than it.
        return if only_important { Ok(()) } else { set.take_back(before, SkipReason::Modifier) };
    }
    let condition = (condition.parts() > 0).then(|| Box::new(condition));
    let action = match (rewrite, effect) {
        (Some(answer), Effect::List) => {
            Action::Rewrite { answer: answer.unwrap_or(Rewritten::Rcode(Rcode::NOERROR)), important }
        }
        (Some(answer), Effect::Except) => Action::Unrewrite { answer, important },
        (None, Effect::List) => Action::Block { important },
        (None, Effect::Except) => Action::Except { important },
    };
    set.make_special(before, |rule| SpecialRule { condition: condition.clone(), action: action.clone(), ..rule });
    Ok(())
}

/// `pattern$modifiers`: the last `$` that is not escaped parts them. A regular expression may hold any octet, so there
/// only one behind its closing slash does.
fn split_modifiers(rule: &[u8]) -> (&[u8], Option<&[u8]>) {
    if is_regex(rule) {
        // `/…/$replace=/…/` ends with a slash too.
        let ends = rule.ends_with(b"/") && !rule.windows(10).any(|w| w == b"/$replace=");
        return match (ends, rule.windows(2).rposition(|w| w == b"/$")) {
            (false, Some(slash)) => (&rule[..=slash], Some(&rule[slash + 2..])),
            _ => (rule, None),
        };
    }
    let mut at = rule.len();
    while let Some(dollar) = rule[..at].iter().rposition(|&c| c == b'$') {
        if dollar == 0 || rule[dollar - 1] != b'\\' {
            return (&rule[..dollar], Some(&rule[dollar + 1..]));
        }
        at = dollar;
    }
    (rule, None)
}

/// Adds what a pattern means. `modified`: modifiers follow, so a bare name is a piece of text, as in the reference.
fn push_pattern(set: &mut RuleSet, pattern: &[u8], says: Says, modified: bool) -> Result<(), SkipReason> {
    if is_everything(pattern) {
        return Err(SkipReason::TooWide);
    }
    let says_name = |reach| Says { reach, single_label: true, ..says };
    if is_regex(pattern) {
        let source = &pattern[1..pattern.len() - 1];
        if let Some((name, reach)) = pattern::plain_name(source) {
            return push_name(set, &name, says_name(reach));
        }
        let source = str::from_utf8(source).map_err(|_| SkipReason::NotUtf8)?;
        return push_look(set, pattern::regex(source)?, says);
    }
    let (from, body) = strip_anchor(pattern);
    let (body, ends) = strip_end(body);
    let bracketed = body.strip_prefix(b"[").and_then(|b| b.strip_suffix(b"]"));
    if let Some(net) = net(bracketed.unwrap_or(body)) {
        return push_net(set, net, says.effect, says.line);
    }
    if has_path(body) {
        return Err(SkipReason::Path);
    }
    let children = body.strip_prefix(b"*.").or_else(|| body.strip_prefix(b"."));
    match (from, ends) {
        // `||*.name^`, `.name^`: something, a dot, the name.
        (From::Label | From::Anywhere, true) if children.is_some_and(is_name) => {
            push_name(set, children.expect("the guard saw that it is there"), says_name(Reach::Children))
        }
        (From::Label, true) if is_name(body) => push_name(set, body, says_name(Reach::Subtree)),
        (From::Start, true) if is_name(body) => push_name(set, body, Says { reach: Reach::Exact, ..says }),
        (From::Anywhere, false) if says.effect == Effect::List && !modified => push_unanchored(set, body, says),
        _ if is_blank_in(body) => Err(SkipReason::NotAName),
        _ => push_look(set, pattern::mask(body, from, ends)?, says),
    }
}

/// A line without any sign. AdGuard: a name is exactly itself, anything else a piece of text. `*.name` is a piece of
/// text there too and is kept to what people mean by it, all below the name.
fn push_unanchored(set: &mut RuleSet, body: &[u8], says: Says) -> Result<(), SkipReason> {
    let reaches = NameReaches { bare: says.reach, star: Reach::Children, dot: None };
    match parse_names(set, body, says.line, reaches) {
        Err(SkipReason::NotAName | SkipReason::Pattern) if !is_blank_in(body) => {
            push_look(set, pattern::mask(body, From::Anywhere, false)?, says)
        }
        // `_728x90.`, `-banner-`: no name begins or ends so.
        Err(SkipReason::SingleLabel) if [body[0], body[body.len() - 1]].iter().any(u8::is_ascii_punctuation) => {
            push_look(set, pattern::mask(body, From::Anywhere, false)?, says)
        }
        read => read,
    }
}

fn push_look(set: &mut RuleSet, pattern: Pattern, says: Says) -> Result<(), SkipReason> {
    let action = match says.effect {
        Effect::List => Action::Block { important: false },
        Effect::Except => Action::Except { important: false },
    };
    set.push_special(SpecialRule { owner: Owner::Pattern(pattern), condition: None, action, line: says.line })
}

/// Whether a body can only be one whole name; what its octets are, `push_name` sees.
fn is_name(body: &[u8]) -> bool {
    !body.is_empty() && !body.contains(&b'*') && !body.ends_with(b".") && !body.starts_with(b".")
}

fn is_blank_in(body: &[u8]) -> bool {
    body.iter().any(|c| matches!(c, b' ' | b'\t'))
}

/// Takes `||`, `|`, `://` or one `/` off the start.
fn strip_anchor(pattern: &[u8]) -> (From, &[u8]) {
    if let Some(body) = pattern.strip_prefix(b"||") {
        (From::Label, body)
    } else if let Some(body) = pattern.strip_prefix(b"|").or_else(|| pattern.strip_prefix(b"://")) {
        (From::Start, body)
    } else if let Some(body) = pattern.strip_prefix(b"/").filter(|body| body.ends_with(b".")) {
        // The reference reads `/sub.` as a label of that name.
        (From::Label, body)
    } else {
        (From::Anywhere, pattern)
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

fn has_path(body: &[u8]) -> bool {
    body.contains(&b'^') || why_no_name(body) == SkipReason::Path || body.starts_with(b"/")
}
