//! The user's language: Vietnamese when the locale says so, else English.

use crate::cli::vietnamese;

/// The two languages that user-facing text exists in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    Vietnamese,
}

impl Language {
    /// By `LC_ALL`, `LC_MESSAGES`, `LANG`; the first that is set decides, as POSIX has it.
    pub fn of_user() -> Language {
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|key| std::env::var(key).ok());
        Language::of_locale(&set.into_iter().find(|value| !value.is_empty()).unwrap_or_default())
    }

    fn of_locale(locale: &str) -> Language {
        let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("vi") { Language::Vietnamese } else { Language::English }
    }

    /// The text in this language.
    pub fn pick<'a>(self, english: &'a str, vietnamese: &'a str) -> &'a str {
        match self {
            Language::English => english,
            Language::Vietnamese => vietnamese,
        }
    }
}

/// An error in the user's language, where it is known in that one; else in English.
pub fn error_text(error: &str) -> String {
    match Language::of_user() {
        Language::English => error.to_owned(),
        Language::Vietnamese => vietnamese::told(error),
    }
}

/// English: "1 rule", "2 rules". Vietnamese words have no plural.
pub fn count_of(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| count_of(n, "rule")), ["0 rules", "1 rule", "2 rules"]);
    }

    #[test]
    fn the_locale_decides() {
        for (locale, language) in [
            ("vi_VN.UTF-8", Language::Vietnamese),
            ("vi", Language::Vietnamese),
            ("en_US.UTF-8", Language::English),
            ("C", Language::English),
            ("", Language::English),
            ("via", Language::English),
        ] {
            assert_eq!(Language::of_locale(locale), language, "{locale}");
        }
    }
}
