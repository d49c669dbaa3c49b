//! Lists of keywords: words that names on such a list tend to have.
//!
//! A word in a name is a reason to look, not to block: each keyword only counts what it meets, unless the configuration
//! names it in `block_keywords`. A keyword is a whole word of a label, parted by its ends and hyphens: `sex` is in
//! `free-sex.example` and not in `essex.example`.

use crate::engine::limits::LABEL_OCTETS_MAX;
use crate::engine::list::special::{Action, From, Owner, Pattern, SpecialRule};
use crate::engine::list::{RuleSet, SkipReason};
use crate::engine::name::Name;

/// Shorter ones are in every other name.
const KEYWORD_OCTETS_MIN: usize = 3;

/// Reads one line. `text` is trimmed, without comment, and not empty.
pub(super) fn parse_line(set: &mut RuleSet, text: &[u8], line: u32) -> Result<(), SkipReason> {
    let text = str::from_utf8(text).map_err(|_| SkipReason::NotUtf8)?;
    let keyword = normal(text).ok_or(SkipReason::NotAName)?;
    if keyword.len() < KEYWORD_OCTETS_MIN {
        return Err(SkipReason::TooWide);
    }
    let pattern = Pattern::Literal { text: keyword.into(), from: From::Word, ends: false };
    set.push_special(SpecialRule { owner: Owner::Pattern(pattern), condition: None, action: Action::Review, line })
}

/// A keyword as names have it: lower case, and what is not ASCII as IDNA writes a label of it. `None`: no label has it.
pub fn normal(text: &str) -> Option<String> {
    let name = Name::from_text(text).ok()?;
    let wire = name.as_wire();
    let is_label = usize::from(wire[0]) + 2 == wire.len() && usize::from(wire[0]) <= LABEL_OCTETS_MAX;
    is_label.then(|| String::from_utf8_lossy(&wire[1..wire.len() - 1]).into_owned())
}
