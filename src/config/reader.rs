//! A typed reader over one table: asks for keys by name and type, reports what does not fit, and at the end what nobody
//! asked for.
//!
//! The keys that were asked for *are* the known keys, so that the two cannot drift apart.

use super::errors::{Place, Sink, Spanned, nearest, suggestion};
use super::tree::{Entry, Node, Table, Value};

/// One table being read.
pub(super) struct Section<'a> {
    /// As written in the file, `[profile.default]`; empty for the top.
    title: String,
    /// Where the table begins; of an absent one, nothing reports it.
    pub at: Place,
    table: Option<&'a Table>,
    known: Vec<&'static str>,
    sink: &'a Sink,
}

impl<'a> Section<'a> {
    pub fn top(table: &'a Table, at: Place, sink: &'a Sink) -> Section<'a> {
        Section { title: String::new(), at, table: Some(table), known: Vec::new(), sink }
    }

    /// "`key` in \[title\]", for messages.
    fn name_of(&self, key: &str) -> String {
        if self.title.is_empty() { format!("`{key}`") } else { format!("`{key}` in {}", self.title) }
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.note(key);
        self.inner(key)
    }

    /// The entry of a table in this one.
    fn inner(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        self.table?.get(key)
    }

    /// For the test that holds the reference complete.
    fn note(&self, _key: &str) {
        #[cfg(test)]
        self.sink.asked.borrow_mut().insert((self.title.clone(), _key.to_owned()));
    }

    fn wrong_type(&self, key: &str, want: &str, node: &Node) {
        self.sink.error(node.at, format!("{} must be {want}, not {}", self.name_of(key), node.value.kind()));
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let node = &self.entry(key)?.node;
        match node.value {
            Value::Boolean(value) => Some(value),
            _ => {
                self.wrong_type(key, "true or false", node);
                None
            }
        }
    }

    pub fn spanned_boolean(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let at = self.table.and_then(|table| table.get(key)).map(|entry| entry.node.at);
        self.boolean(key).zip(at).map(|(value, at)| Spanned { at, value })
    }

    pub fn integer(&mut self, key: &'static str, allowed: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let node = &self.entry(key)?.node;
        match node.value {
            Value::Integer(value) if allowed.contains(&value) => Some(value),
            Value::Integer(value) => {
                let name = self.name_of(key);
                let (low, high) = (allowed.start(), allowed.end());
                self.sink.error(node.at, format!("{name} is {value}, must be {low} to {high}"));
                None
            }
            _ => {
                self.wrong_type(key, "an integer", node);
                None
            }
        }
    }

    /// A string, made into a value by `read`.
    pub fn string<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<Spanned<T>> {
        let node = &self.entry(key)?.node;
        match &node.value {
            Value::String(text) => self.read(key, node.at, text, &read),
            _ => {
                self.wrong_type(key, "a string", node);
                None
            }
        }
    }

    /// A number with a unit, `"30 s"`; a bare integer is taken as well, without one.
    pub fn quantity<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<Spanned<T>> {
        let node = &self.entry(key)?.node;
        match &node.value {
            Value::String(text) => self.read(key, node.at, text, &read),
            Value::Integer(number) => self.read(key, node.at, &number.to_string(), &read),
            _ => {
                self.wrong_type(key, "a number with its unit, as a string", node);
                None
            }
        }
    }

    /// One word of a few.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<Spanned<T>> {
        self.string(key, |text| one_of(text, words))
    }

    /// Every key of the table, whatever it is called, with one word of a few each; nothing of it is unknown then.
    pub fn choices<T: Copy>(&mut self, words: &[(&'static str, T)]) -> Vec<(Spanned<String>, T)> {
        self.note("CATEGORY");
        let Some(table) = self.table.take() else { return Vec::new() };
        let read = |entry: &Entry| {
            let Value::String(text) = &entry.node.value else {
                self.wrong_type(&entry.key, "a string", &entry.node);
                return None;
            };
            let word = self.read(&entry.key, entry.node.at, text, &|text| one_of(text, words))?;
            Some((Spanned { at: entry.at, value: entry.key.clone() }, word.value))
        };
        table.entries.iter().filter_map(read).collect()
    }

    /// An array of strings. An element that does not fit is reported and left out.
    pub fn strings<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Spanned<T>>> {
        let node = &self.entry(key)?.node;
        let Value::Array(elements) = &node.value else {
            self.wrong_type(key, "an array of strings", node);
            return None;
        };
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            match &element.value {
                Value::String(text) => values.extend(self.read(key, element.at, text, &read)),
                _ => self.wrong_type(key, "an array of strings", element),
            }
        }
        Some(values)
    }

    /// As [`Section::strings`], and an array without elements is reported.
    pub fn some_strings<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Spanned<T>>> {
        if let Some(Entry { node, .. }) = self.table.and_then(|t| t.get(key))
            && matches!(&node.value, Value::Array(elements) if elements.is_empty())
        {
            self.sink.error(node.at, format!("{} is empty, must have at least one element", self.name_of(key)));
        }
        self.strings(key, read)
    }

    fn read<T>(
        &self,
        key: &str,
        at: Place,
        text: &str,
        read: &impl Fn(&str) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        match read(text) {
            Ok(value) => Some(Spanned { at, value }),
            Err(why) => {
                self.sink.error(at, format!("{}: {why}", self.name_of(key)));
                None
            }
        }
    }

    /// `[key]`; when absent or of a wrong type, a section without keys.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        let title = format!("[{}]", self.path_of(key));
        let mut inner = Section { title, at: self.at, table: None, known: Vec::new(), sink: self.sink };
        if let Some(entry) = self.inner(key) {
            inner.at = entry.at;
            match &entry.node.value {
                Value::Table(table) => inner.table = Some(table),
                _ => self.wrong_type(key, &format!("a table: [{}]", self.path_of(key)), &entry.node),
            }
        }
        inner
    }

    /// A table's name with those it stands in: `subscribers.radius`.
    fn path_of(&self, key: &str) -> String {
        let outer = self.title.trim_matches(['[', ']']);
        if outer.is_empty() { key.to_owned() } else { format!("{outer}.{key}") }
    }

    /// Every table that stands in this one, whatever its name.
    pub fn all_sections(&mut self) -> Vec<(Spanned<String>, Section<'a>)> {
        self.table.map_or_else(Vec::new, |table| self.tables_of(table, self.title.trim_matches(['[', ']'])))
    }

    /// `[key.NAME]`, each with its name.
    pub fn named_sections(&mut self, key: &'static str) -> Vec<(Spanned<String>, Section<'a>)> {
        let Some(entry) = self.inner(key) else { return Vec::new() };
        let Value::Table(all) = &entry.node.value else {
            self.wrong_type(key, &format!("tables: [{}.NAME]", self.path_of(key)), &entry.node);
            return Vec::new();
        };
        self.tables_of(all, &self.path_of(key))
    }

    fn tables_of(&self, all: &'a Table, key: &str) -> Vec<(Spanned<String>, Section<'a>)> {
        let mut sections = Vec::with_capacity(all.entries.len());
        for inner in &all.entries {
            let Value::Table(table) = &inner.node.value else {
                let kind = inner.node.value.kind();
                let name = &inner.key;
                self.sink.error(
                    inner.at,
                    format!("`{name}` in [{key}] must be a table of its own, [{key}.NAME], not {kind}"),
                );
                continue;
            };
            let name = Spanned { at: inner.at, value: inner.key.clone() };
            let title = format!("[{key}.{}]", inner.key);
            sections
                .push((name, Section { title, at: inner.at, table: Some(table), known: Vec::new(), sink: self.sink }));
        }
        sections
    }

    /// `[[key]]`, in order; `None` when the key is absent.
    pub fn repeated_sections(&mut self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let entry = self.inner(key)?;
        let path = self.path_of(key);
        let want = format!("an array of tables: [[{path}]]");
        let Value::Array(all) = &entry.node.value else {
            self.wrong_type(key, &want, &entry.node);
            return Some(Vec::new());
        };
        let mut sections = Vec::with_capacity(all.len());
        for node in all {
            let Value::Table(table) = &node.value else {
                self.wrong_type(key, &want, node);
                continue;
            };
            let title = format!("[[{path}]]");
            sections.push(Section { title, at: node.at, table: Some(table), known: Vec::new(), sink: self.sink });
        }
        Some(sections)
    }

    /// Reports keys that mean nothing without `other`, when that is not there.
    pub fn only_with(&self, other: &str, keys: &[&str]) {
        for entry in keys.iter().filter_map(|key| self.table?.get(key)).filter(|_| !self.has(other)) {
            self.sink.error(entry.at, format!("{} is for a table with `{other}`", self.name_of(&entry.key)));
        }
    }

    /// Reports a key that says the same as another one, when both are there.
    pub fn not_with(&self, key: &str, other: &str) {
        if let Some(entry) = self.table.and_then(|t| t.get(other)).filter(|_| self.has(key)) {
            self.sink.error(entry.at, format!("{} has `{key}` and `{other}`; give one of them", self.title));
        }
    }

    /// Reports the absence of a key that must be there.
    pub fn missing(&self, key: &str, example: &str) {
        self.sink.error(self.at, format!("{} needs `{key}`, for example `{key} = {example}`", self.title));
    }

    /// Whether the key is there with a string.
    pub fn has_string(&self, key: &str) -> bool {
        self.table.and_then(|t| t.get(key)).is_some_and(|entry| matches!(entry.node.value, Value::String(_)))
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.table.is_none_or(|table| table.entries.is_empty())
    }

    /// Whether the key is there, whatever its value.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.get(key).is_some())
    }

    /// Reports keys nobody asked for. `top_level` are the keys that stand before the first table.
    pub fn finish(self, top_level: &[&str]) {
        let Some(table) = self.table else { return };
        for entry in table.entries.iter().filter(|e| !self.known.contains(&e.key.as_str())) {
            let key = entry.key.as_str();
            let named = self.name_of(key);
            let misplaced = nearest(key, self.known.iter().copied()).is_none() && top_level.contains(&key);
            let more = if misplaced {
                "; it belongs above the first [table] of the file".to_owned()
            } else {
                suggestion(key, self.known.iter().copied())
            };
            self.sink.error(entry.at, format!("unknown key {named}{more}"));
        }
    }
}

/// Finds `text` among `words`.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    if let Some(&(_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(value);
    }
    let known: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
    let near = nearest(text, known.iter().copied()).map_or(String::new(), |w| format!("; did you mean `{w}`?"));
    Err(format!("{text:?} is not one of {}{near}", known.join(", ")))
}
