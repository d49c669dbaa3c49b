//! TOML as a tree whose every value knows its file and line, and the merging of several such trees into one.
//!
//! The parser's own types carry octet offsets of one text; here they become places, so that tables of several files can
//! stand side by side. Nothing here knows which keys there are.

use std::ops::Range;

use toml_edit::{Document, Item, TableLike};
use toml_parser::parser::{RecursionGuard, ValidateWhitespace};
use toml_parser::{Expected, ParseError, Source};

use super::errors::{Place, Sink};

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub at: Place,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Boolean(bool),
    /// A float or a date: no key takes one. Holds what to call it.
    Other(&'static str),
    Array(Vec<Node>),
    Table(Table),
}

/// A table in the order of its file; keys are distinct.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

/// A key, where it stands, and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: Place,
    pub node: Node,
}

impl Value {
    /// What to call it in "must be …, not …".
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Boolean(_) => "a boolean",
            Value::Other(kind) => kind,
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// Takes in the tables of another file: tables merge by name, arrays append, anything else may be set once.
    pub fn merge(&mut self, other: Table, title: &str, sink: &Sink) {
        for theirs in other.entries {
            let Some(ours) = self.entries.iter_mut().find(|e| e.key == theirs.key) else {
                self.entries.push(theirs);
                continue;
            };
            let inner = if title.is_empty() { theirs.key.clone() } else { format!("{title}.{}", theirs.key) };
            match (&mut ours.node.value, theirs.node.value) {
                (Value::Table(a), Value::Table(b)) => a.merge(b, &inner, sink),
                (Value::Array(a), Value::Array(b)) => a.extend(b),
                _ => {
                    let place = if title.is_empty() { String::new() } else { format!(" in [{title}]") };
                    let first = sink.show(ours.at);
                    sink.error(theirs.at, format!("`{}`{place} is set twice: here and at {first}", theirs.key));
                }
            }
        }
    }
}

/// Tables and arrays inside each other, as [`Document`] has them.
const DEPTH_MAX: u32 = 80;

/// The first mistake of grammar. [`Document`] goes on after one, and may panic at what it made of the rest ("all items have
/// spans").
fn syntax_error(text: &str) -> Option<ParseError> {
    let source = Source::new(text);
    let (mut nobody, mut error) = ((), None);
    let mut spaces = ValidateWhitespace::new(&mut nobody, source);
    let mut receiver = RecursionGuard::new(&mut spaces, DEPTH_MAX);
    toml_parser::parser::parse_document(&source.lex().into_vec(), &mut receiver, &mut error);
    error
}

/// As [`Document`] says it.
fn message_of(error: &ParseError) -> String {
    let expected = error.expected().map(|all| match all {
        [] => "nothing".to_owned(),
        all => all.iter().map(word_of).collect::<Vec<_>>().join(", "),
    });
    expected.map_or(error.description().to_owned(), |expected| format!("{}, expected {expected}", error.description()))
}

fn word_of(expected: &Expected) -> String {
    match expected {
        Expected::Literal("\n") => "newline".to_owned(),
        Expected::Literal("`") => "'`'".to_owned(),
        Expected::Literal(text) => format!("`{text}`"),
        Expected::Description(text) => (*text).to_owned(),
        _ => "something else".to_owned(),
    }
}

/// Reads one text. A syntax error is reported and gives no table.
pub(super) fn parse(text: &str, file: usize, sink: &Sink) -> Option<Table> {
    let lines = Lines::of(text, file);
    if let Some(error) = syntax_error(text) {
        let at = lines.place(error.unexpected().map_or(0, |span| span.start()));
        sink.error(at, format!("not valid TOML: {}", message_of(&error)));
        return None;
    }
    match Document::parse(text) {
        Ok(document) => Some(table(document.as_table(), lines.place(0), &lines)),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let at = lines.place(span.start);
            let message = error.message().trim().replace('\n', ", ");
            // The parser points at the key and does not name it.
            let key =
                text.get(span).filter(|_| message == "duplicate key").map_or(String::new(), |k| format!(" `{k}`"));
            sink.error(at, format!("not valid TOML: {message}{key}"));
            None
        }
    }
}

fn table(from: &dyn TableLike, at: Place, lines: &Lines) -> Table {
    let entries = from.iter().map(|(key, item)| {
        let key_span = from.key(key).and_then(toml_edit::Key::span);
        let at = lines.place_or(key_span, lines.place_or(item.span(), at));
        Entry { key: key.to_owned(), at, node: item_node(item, at, lines) }
    });
    Table { entries: entries.collect() }
}

fn item_node(item: &Item, near: Place, lines: &Lines) -> Node {
    let at = lines.place_or(item.span(), near);
    let value = match item {
        Item::Value(value) => return value_node(value, near, lines),
        Item::Table(inner) => Value::Table(table(inner, at, lines)),
        Item::ArrayOfTables(all) => Value::Array(
            all.iter()
                .map(|inner| {
                    let at = lines.place_or(inner.span(), at);
                    Node { at, value: Value::Table(table(inner, at, lines)) }
                })
                .collect(),
        ),
        Item::None => Value::Other("nothing"),
    };
    Node { at, value }
}

fn value_node(from: &toml_edit::Value, near: Place, lines: &Lines) -> Node {
    let at = lines.place_or(from.span(), near);
    let value = match from {
        toml_edit::Value::String(s) => Value::String(s.value().clone()),
        toml_edit::Value::Integer(i) => Value::Integer(*i.value()),
        toml_edit::Value::Boolean(b) => Value::Boolean(*b.value()),
        toml_edit::Value::Float(_) => Value::Other("a float"),
        toml_edit::Value::Datetime(_) => Value::Other("a date"),
        toml_edit::Value::Array(array) => Value::Array(array.iter().map(|v| value_node(v, at, lines)).collect()),
        toml_edit::Value::InlineTable(inner) => Value::Table(table(inner, at, lines)),
    };
    Node { at, value }
}

/// Octet offsets → lines and columns of one text.
struct Lines<'a> {
    text: &'a str,
    /// Where each line starts. Sorted; the first is 0.
    starts: Vec<usize>,
    file: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str, file: usize) -> Lines<'a> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Lines { text, starts, file }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line - 1];
        let column = String::from_utf8_lossy(&self.text.as_bytes()[start..offset]).chars().count() + 1;
        Place { file: self.file, line: line as u32, column: column as u32 }
    }

    fn place_or(&self, span: Option<Range<usize>>, otherwise: Place) -> Place {
        span.map_or(otherwise, |span| self.place(span.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> (Table, Vec<String>) {
        let mut sink = Sink::default();
        let mut all = Table::default();
        for (i, text) in texts.iter().enumerate() {
            let file = sink.add_file(format!("{i}.toml"), "/".into());
            if let Some(table) = parse(text, file, &sink) {
                all.merge(table, "", &sink);
            }
        }
        (all, sink.into_parts().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let (all, errors) = read(&["# c\nmode = \"x\"\n\n[a.b]\n  k = [\n    1,\n    true ]\n[[u]]\nz = 1.5\n[[u]]\n"]);
        assert!(errors.is_empty());
        let mode = all.get("mode").unwrap();
        assert_eq!((mode.at.line, mode.at.column, mode.node.at.column), (2, 1, 8));
        let Value::Table(a) = &all.get("a").unwrap().node.value else { panic!() };
        assert_eq!(a.get("b").unwrap().at.line, 4);
        let Value::Table(b) = &a.get("b").unwrap().node.value else { panic!() };
        let Value::Array(k) = &b.get("k").unwrap().node.value else { panic!() };
        assert_eq!((k[0].at.line, k[1].at.line, k[1].value.kind()), (6, 7, "a boolean"));
        let Value::Array(u) = &all.get("u").unwrap().node.value else { panic!() };
        assert_eq!((u[0].at.line, u[1].at.line), (8, 10));
    }

    #[test]
    fn tables_merge_arrays_append_and_a_key_set_twice_names_both_places() {
        let (all, errors) =
            read(&["[c.a]\nn = [\"1\"]\np = \"x\"\n", "[c.a]\nn = [\"2\"]\n\np = \"y\"\n[c.b]\n", "c = 1"]);
        assert_eq!(
            errors,
            [
                "1.toml:4: `p` in [c.a] is set twice: here and at 0.toml:3",
                "2.toml:1: `c` is set twice: here and at 0.toml:1"
            ]
        );
        let Value::Table(c) = &all.get("c").unwrap().node.value else { panic!() };
        assert_eq!(c.entries.len(), 2);
        let Value::Table(a) = &c.get("a").unwrap().node.value else { panic!() };
        let Value::Array(n) = &a.get("n").unwrap().node.value else { panic!() };
        assert_eq!((n[0].at.file, n[1].at.file), (0, 1));
    }

    #[test]
    fn a_syntax_error_has_a_line() {
        for (text, line) in [
            ("a = 1\nb = \n", 2),
            ("a = 1\n\na = 2\n", 3),
            ("[x\n", 1),
            ("a = \"\n", 1),
            ("a =\na.b = 1\n", 1),
            ("x = { a = , a.b = 1 }\n", 1),
            // The library's parser panics here.
            (include_str!("../../fuzz/corpus/order_file/what_toml_edit_panics_at"), 2),
        ] {
            let (_, errors) = read(&[text]);
            assert_eq!(errors.len(), 1, "{text:?}: {errors:?}");
            assert!(errors[0].starts_with(&format!("0.toml:{line}: not valid TOML: ")), "{text:?}: {errors:?}");
        }
    }

    #[test]
    fn a_syntax_error_is_told_as_the_library_tells_it() {
        let texts = ["[x", "a", "= 1", "a = [1 2]", "a = 1 b = 2", "[[x]", &"[".repeat(500)];
        let mut found = 0;
        for text in texts {
            let Some(error) = syntax_error(text) else { continue };
            found += 1;
            let library = Document::parse(text).expect_err("it finds the same");
            assert_eq!(message_of(&error), library.message(), "{text}");
        }
        assert!(found > 3, "{found}");
    }

    #[test]
    fn a_duplicate_key_is_named() {
        for (text, key) in [
            ("a = 1\nb.c = 1\na = 2\n", "`a`"),
            ("[list.x]\nfile = \"a\"\nfile = \"b\"\n", "`file`"),
            ("[list.x]\n[list.x]\n", "`x`"),
        ] {
            let (_, errors) = read(&[text]);
            assert!(errors[0].contains("duplicate key") && errors[0].contains(key), "{text:?}: {errors:?}");
        }
    }
}
