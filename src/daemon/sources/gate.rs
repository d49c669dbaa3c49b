//! Between "parsed well" and "in force": may a new version of a list take the old one's place?
//!
//! A pure decision. What is held leaves the list at its last good version (I6).

use crate::engine::compile::{ListSettings, ListSource};
use crate::engine::list::RuleSet;

/// What is known of the version in force without reading it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub rules: usize,
}

/// What becomes of a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Accept,
    /// Why, in a sentence for the operator.
    Hold(String),
}

/// Judges a version that reads well. `old` is the last good one from the same source; a list's first has none.
pub fn judge(settings: &ListSettings, old: Option<Summary>, new: &RuleSet) -> Judgement {
    let is_url = matches!(settings.source, ListSource::Url(_));
    match old {
        Some(old) if old.rules > 0 && new.rule_count() == 0 => Judgement::Hold(format!(
            "it holds no rule any more, {} before; to empty it on purpose take it out of the configuration",
            old.rules
        )),
        // A file may wait for its first line; nobody publishes nothing.
        None if is_url && new.rule_count() == 0 => Judgement::Hold("it holds no rule".to_owned()),
        Some(_) | None => Judgement::Accept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::category::CategoryId;
    use crate::engine::list::{Format, ParseOptions, parse};

    #[test]
    fn an_emptied_list_is_held_and_so_is_an_empty_one_from_afar() {
        let options = ParseOptions { format: Format::Auto, bare_reach: None };
        let (file, url) = (ListSource::File("a".into()), ListSource::Url("https://lists.example/".into()));
        for (source, old, text, is_held) in [
            (&file, None, "", false),
            (&file, Some(0), "", false),
            (&file, Some(3), "", true),
            (&file, Some(3), "one.example.com\n", false),
            (&url, None, "", true),
            (&url, None, "one.example.com\n", false),
            (&url, Some(3), "# none\n", true),
            (&url, Some(3), "one.example.com\n", false),
        ] {
            let settings = ListSettings {
                name: "a".into(),
                category: CategoryId(0),
                options,
                source: source.clone(),
                required: true,
                obey_public_suffixes: false,
            };
            let new = parse(text.as_bytes(), options).unwrap();
            let judgement = judge(&settings, old.map(|rules| Summary { rules }), &new);
            assert_eq!(judgement != Judgement::Accept, is_held, "{source:?} {old:?} {text:?}");
        }
    }
}
