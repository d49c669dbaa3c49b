//! Every key of a configuration file: its type, default and unit, what it does, and an example. `lachan config reference` prints it.
//!
//! One table. A test holds it complete against what is read: a key that is read and not here fails it, and so does one that is here
//! and not read; every example is read without a mistake.

mod keys;

pub use keys::TABLES;

/// A table of the file.
#[derive(Debug)]
pub struct TableOfKeys {
    /// As it is written, `[profile.NAME]`; empty for what stands above the first table.
    pub title: &'static str,
    pub what: Text,
    pub keys: &'static [Key],
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    /// What its value is, with its unit and bounds.
    pub kind: &'static str,
    /// What holds without it.
    pub default: &'static str,
    pub what: Text,
    /// A value as it is written.
    pub example: &'static str,
}

/// The same in both languages.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    pub en: &'static str,
    pub vi: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::errors::{Place, Sink};
    use crate::config::{spec, tree};

    /// What is read of a file with one of every table, and what is wrong with it.
    fn read(text: &str) -> (BTreeSet<(String, String)>, Vec<String>) {
        let mut sink = Sink::default();
        let file = sink.add_file("t.toml".into(), "/base".into());
        let table = tree::parse(text, file, &sink).expect("the text is TOML");
        spec::read(&table, Place { file, line: 1, column: 1 }, &sink);
        let asked = sink.asked.take();
        (asked, sink.into_parts().0.iter().map(ToString::to_string).collect())
    }

    /// A file with every table and, where it must be, every example.
    fn skeleton(without: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for TableOfKeys { title, keys, .. } in TABLES {
            text.push_str(&format!("{title}\n"));
            for Key { name, example, .. } in keys.iter().filter(|key| !without.contains(&(title, key.name))) {
                text.push_str(&format!("{name} = {example}\n"));
            }
        }
        text
    }

    /// Keys that say the same otherwise, so that one file cannot have both: those of the first file, and of the second.
    const FIRST: &[(&str, &str)] =
        &[("[list.NAME]", "file"), ("[list.NAME]", "gate"), ("[tls]", "ddr"), ("[subscribers.store]", "url_file")];

    #[test]
    fn what_is_read_is_what_is_told() {
        let text = skeleton(FIRST);
        let (mut asked, errors) = read(&text);
        assert_eq!(errors, Vec::<String>::new(), "{text}");
        let otherwise = "[tls]\nddr = \"off\"\n[list.NAME]\ngate = \"off\"\nfile = \"x\"\ncategory = \"adult\"\n";
        asked.extend(read(otherwise).0);
        let told: BTreeSet<(String, String)> = TABLES
            .iter()
            .flat_map(|table| table.keys.iter().map(|key| (table.title.to_owned(), key.name.to_owned())))
            .collect();
        let unknown: Vec<_> = told.difference(&asked).collect();
        assert!(unknown.is_empty(), "in the reference, and not read: {unknown:?}");
        let untold: Vec<_> = asked.difference(&told).collect();
        assert!(untold.is_empty(), "read, and not in the reference: {untold:?}");
    }

    #[test]
    fn everything_is_said_in_both_languages() {
        for TableOfKeys { title, what, keys } in TABLES {
            let texts = keys.iter().map(|key| (key.name, &key.what)).chain([("", what)]);
            for (key, Text { en, vi }) in texts {
                assert!(en.len() > 10 && vi.len() > 10 && en != vi, "{title} {key}");
            }
            let mut names = BTreeSet::new();
            for key in *keys {
                assert!(
                    !key.kind.is_empty() && !key.default.is_empty() && names.insert(key.name),
                    "{title} {}",
                    key.name
                );
            }
        }
    }
}
