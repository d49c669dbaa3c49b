//! Rules about how a name looks: masks with `*` or a missing end, and regular expressions.
//!
//! What is a plain name in disguise (`/(^|\.)ads\.example$/`) is read as one. The rest becomes a [`Pattern`]: a literal
//! where there is no `*`, else a regular expression of a kind that takes linear time, whose size is capped.

use regex_automata::MatchKind;
use regex_automata::meta;
use regex_automata::util::syntax;

use crate::engine::limits::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX, PATTERN_OCTETS_MAX};
use crate::engine::list::special::{From, Pattern};
use crate::engine::list::{Reach, SkipReason};

/// Characters of a name's text.
const HOST: fn(u8) -> bool = |c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');

/// The shortest text that may stand alone: shorter ones are in every other name. AdGuard's bound.
const TEXT_OCTETS_MIN: usize = 3;

/// Names that have nothing in common: what is about all of them is about everything.
const UNLIKE: [&str; 4] = ["www.example.com", "a1.b2-c3.vn", "h4.net", "k_x-9.q7.co.uk"];

/// Reads a mask without its anchors: host characters and `*`.
pub(super) fn mask(body: &[u8], from: From, ends: bool) -> Result<Pattern, SkipReason> {
    let (body, from) = strip_star_prefix(body, from);
    let (body, ends) = match body.iter().rposition(|&c| c != b'*') {
        Some(last) if last + 1 < body.len() => (&body[..=last], false),
        _ => (body, ends),
    };
    if !body.iter().all(|&c| HOST(c) || c == b'*') {
        return Err(SkipReason::Pattern);
    }
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    if body.iter().filter(|&&c| c != b'*').count() < TEXT_OCTETS_MIN {
        return Err(SkipReason::TooWide);
    }
    // Longer than any name, or any label, can be.
    let too_long = |label: &[u8]| label.len() > LABEL_OCTETS_MAX && !label.contains(&b'*');
    if body.len() > NAME_OCTETS_MAX || body.split(|&c| c == b'.').any(too_long) {
        return Err(SkipReason::NotAName);
    }
    if !body.contains(&b'*') {
        return Ok(Pattern::Literal { text: text.into(), from, ends });
    }
    let start = match from {
        From::Start => "^",
        From::Label => "(?:^|\\.)",
        From::Anywhere | From::Word => "",
    };
    let end = if ends { "$" } else { "" };
    let middle: String = text
        .chars()
        .map(|c| match c {
            '*' => ".*".to_owned(),
            '.' => "\\.".to_owned(),
            c => c.to_string(),
        })
        .collect();
    regex(&format!("{start}{middle}{end}"))
}

/// `*text` begins anywhere.
fn strip_star_prefix(body: &[u8], from: From) -> (&[u8], From) {
    match body.iter().position(|&c| c != b'*') {
        Some(0) | None => (body, from),
        Some(first) => (&body[first..], From::Anywhere),
    }
}

/// A regular expression without its slashes.
pub(super) fn regex(source: &str) -> Result<Pattern, SkipReason> {
    // No name has a blank.
    if source.contains([' ', '\t']) {
        return Err(SkipReason::Pattern);
    }
    let regex = compile(&[source]).map_err(|_| SkipReason::Pattern)?;
    if UNLIKE.iter().all(|name| regex.is_match(*name)) {
        return Err(SkipReason::TooWide);
    }
    Ok(Pattern::Regex(source.into()))
}

/// One automaton for several expressions: ASCII, without regard to case, none of them large.
///
/// # Errors
/// One of them is no expression of RE2's kind, or they are too large together.
pub(in crate::engine) fn compile(sources: &[&str]) -> Result<meta::Regex, Box<meta::BuildError>> {
    meta::Regex::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false).case_insensitive(true).nest_limit(50))
        .configure(
            meta::Config::new()
                .utf8_empty(false)
                // Every expression that matches, not the first one alone.
                .match_kind(MatchKind::All)
                .nfa_size_limit(Some(PATTERN_OCTETS_MAX * sources.len()))
                .onepass(false)
                .dfa(false)
                .hybrid_cache_capacity(1 << 20),
        )
        .build_many(sources)
        .map_err(Box::new)
}

/// The name that an expression without its slashes stands for, when it is about nothing else.
pub(super) fn plain_name(source: &[u8]) -> Option<(Vec<u8>, Reach)> {
    let source = source.strip_suffix(b"$")?;
    let starts: &[(&[u8], Reach)] = &[
        (br"(^|\.)", Reach::Subtree),
        (br"(?:^|\.)", Reach::Subtree),
        (br"(\.|^)", Reach::Subtree),
        (br"^(.*\.)?", Reach::Subtree),
        (br"^(.+\.)?", Reach::Subtree),
        (br"^", Reach::Exact),
        (br"\.", Reach::Children),
    ];
    let (escaped, reach) = starts.iter().find_map(|(start, reach)| Some((source.strip_prefix(*start)?, *reach)))?;
    let mut name = Vec::with_capacity(escaped.len());
    let mut octets = escaped.iter();
    while let Some(&c) = octets.next() {
        match c {
            b'\\' => match octets.next() {
                Some(&c @ (b'.' | b'-')) => name.push(c),
                _ => return None,
            },
            b'.' => return None,
            c if HOST(c) => name.push(c),
            _ => return None,
        }
    }
    name.contains(&b'.').then_some((name, reach))
}
