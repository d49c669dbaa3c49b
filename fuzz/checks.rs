//! What must hold for any octets. The fuzz targets call these, and so does the test that replays their corpora.

use lachan::engine::limits::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};
use lachan::engine::list::{Format, ParseOptions, Reach, parse};
use lachan::engine::matcher::suffix::Hits;
use lachan::engine::matcher::{Builder, HashSeed, public_suffix};
use lachan::engine::name::Name;
use lachan::engine::verdict::ListId;

/// Reading a list never panics; every rule is a canonical name of a line there is, and finds itself when compiled.
pub fn list_parse(octets: &[u8]) {
    for format in [Format::Auto, Format::Hosts, Format::Domains, Format::Adblock] {
        for bare_reach in [None, Some(Reach::Exact)] {
            let Ok(rules) = parse(octets, ParseOptions { format, bare_reach }) else { continue };
            let mut builder = Builder::new(HashSeed(7, 8));
            builder.add(ListId(0), &rules, &public_suffix::is_public_suffix).expect("the input is small");
            let index = builder.build();
            let mut hits = Hits::new();
            for rule in rules.names() {
                let name = Name::from_wire(rule.name).expect("a rule's name is wire form");
                assert_eq!(name.as_wire(), rule.name, "a rule's name is canonical");
                assert!((1..=rules.report.lines).contains(&rule.line));
                index.names.look_up(rule.name, &mut hits);
            }
            let skipped: u32 = rules.report.skipped.iter().map(|(_, count)| count).sum();
            assert!(skipped <= rules.report.lines);
        }
    }
}

/// A text that is a name is one again when its own text is read, and its wire form is within the bounds.
pub fn name_text(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let Ok(name) = Name::from_text(text) else { return };
    let wire = name.as_wire();
    assert!(wire.len() <= NAME_OCTETS_MAX);
    assert_eq!(Name::from_wire(wire).as_ref(), Ok(&name));
    assert_eq!(Name::from_text(&name.to_string()).as_ref(), Ok(&name));
    assert!(name.to_string().split('.').all(|label| (1..=LABEL_OCTETS_MAX).contains(&label.len())));
}
