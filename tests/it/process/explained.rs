//! Every kind of rule, from every kind of source, is explained with its list, file, line and text: by the running resolver,
//! and without one.

use std::path::Path;

use serde_json::Value;

use crate::harness::process::{Ran, Served, run, with_upstream};
use crate::harness::publisher::Publisher;
use crate::harness::resolver::write_files;
use crate::harness::upstream::Upstream;

const ZONE: &str = "by-ip.example. 300 IN A 198.51.100.7\nby-net.example. 300 IN A 203.0.113.9\n\
                    by-zone-ip.example. 300 IN A 192.0.2.53\n\
                    plain.example. 300 IN A 192.0.2.1\n";

const ADBLOCK: &str = "\
[Adblock Plus]
||suffix.example^
||listed.example^
@@||good.listed.example^
||typed.example^$dnstype=A
@@||typed.good.listed.example^$dnstype=A
/^ads[0-9]+\\.re\\./
mask-*-end.example
||moved.example^$dnsrewrite=192.0.2.200
||vip.example^$important
198.51.100.7
203.0.113.0/24
";

const ZONE_FILE: &str = "\
$TTL 60
@ SOA localhost. root.localhost. ( 1 43200 3600 86400 300 )
  NS localhost.
qname.rpz.example CNAME .
*.wild.rpz.example CNAME *.
ok.wild.rpz.example CNAME rpz-passthru.
drop.rpz.example CNAME rpz-drop.
data.rpz.example A 192.0.2.201
32.53.2.0.192.rpz-ip CNAME .
32.9.0.0.127.rpz-client-ip CNAME .
";

const KEYWORDS: &str = "# words\nquaykeo\n";
const DNSMASQ: &str = "address=/masq.example/\nserver=/good.masq.example/#\n";

/// Name, client, verdict, list, line, the rule's text; rules of the answer are told online only.
const CASES: &[(&str, &str, &str, &str, u64, &str, bool)] = &[
    ("www.suffix.example", "127.0.0.1", "block", "adblock", 2, "||suffix.example^", false),
    ("good.listed.example", "127.0.0.1", "allow", "adblock", 4, "@@||good.listed.example^", false),
    ("typed.example", "127.0.0.1", "block", "adblock", 5, "||typed.example^$dnstype=A", false),
    (
        "typed.good.listed.example",
        "127.0.0.1",
        "allow",
        "adblock",
        6,
        "@@||typed.good.listed.example^$dnstype=A",
        false,
    ),
    ("ads7.re.example", "127.0.0.1", "block", "adblock", 7, "/^ads[0-9]+\\.re\\./", false),
    ("mask-1-end.example", "127.0.0.1", "block", "adblock", 8, "mask-*-end.example", false),
    ("moved.example", "127.0.0.1", "rewrite", "adblock", 9, "||moved.example^$dnsrewrite=192.0.2.200", false),
    ("vip.example", "127.0.0.1", "block", "adblock", 10, "||vip.example^$important", false),
    ("by-ip.example", "127.0.0.1", "block", "adblock", 11, "198.51.100.7", true),
    ("by-net.example", "127.0.0.1", "block", "adblock", 12, "203.0.113.0/24", true),
    ("qname.rpz.example", "127.0.0.1", "block", "zone", 4, "qname.rpz.example CNAME .", false),
    ("a.wild.rpz.example", "127.0.0.1", "block", "zone", 5, "*.wild.rpz.example CNAME *.", false),
    ("ok.wild.rpz.example", "127.0.0.1", "allow", "zone", 6, "ok.wild.rpz.example CNAME rpz-passthru.", false),
    ("drop.rpz.example", "127.0.0.1", "drop", "zone", 7, "drop.rpz.example CNAME rpz-drop.", false),
    ("data.rpz.example", "127.0.0.1", "rewrite", "zone", 8, "data.rpz.example A 192.0.2.201", false),
    ("by-zone-ip.example", "127.0.0.1", "block", "zone", 9, "32.53.2.0.192.rpz-ip CNAME .", true),
    ("anything.example", "127.0.0.9", "block", "zone", 10, "32.9.0.0.127.rpz-client-ip CNAME .", false),
    ("www.quaykeo.example", "127.0.0.1", "block", "words", 2, "quaykeo", false),
    ("www.masq.example", "127.0.0.1", "block", "masq", 1, "address=/masq.example/", false),
    ("good.masq.example", "127.0.0.1", "allow", "masq", 2, "server=/good.masq.example/#", false),
];

const LISTS: &[(&str, &str, &str)] = &[
    ("adblock", "", ADBLOCK),
    ("zone", "format = \"rpz\"", ZONE_FILE),
    ("words", "format = \"keywords\"\nblock_keywords = [\"quaykeo\"]", KEYWORDS),
    ("masq", "format = \"dnsmasq\"", DNSMASQ),
];

/// The tables of all lists; `source` gives each its file or URL.
fn tables(source: impl Fn(&str) -> String) -> String {
    let table = |(list, keys, _): &(&str, &str, &str)| {
        format!("[list.{list}]\ncategory = \"malware\"\n{}\n{keys}\n", source(list))
    };
    LISTS.iter().map(table).collect()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|why| panic!("{why}: {ran:?}"))
}

/// What is expected of a rule's text and file.
#[derive(Clone, Copy)]
enum Told<'a> {
    Text {
        file: &'a str,
    },
    /// The text is another now, or not here.
    Sentence(&'a str),
}

/// Asks for every case, of the running resolver and of a configuration.
fn check(served: &Served, told: Told<'_>) {
    let config = served.config();
    let state = served.state().display().to_string();
    for (name, client, verdict, list, line, rule, needs_answer) in CASES {
        let online = json(&served.command(&["explain", name, "--json", "--client", client]));
        let offline = &["explain", name, "--json", "--client", client, "--offline", "-c", &config];
        let offline = json(&crate::harness::process::ran(
            crate::harness::process::lachan(offline).env("STATE_DIRECTORY", &state),
        ));
        for (how, said) in [("online", &online), ("offline", &offline)] {
            if *needs_answer && how == "offline" {
                continue;
            }
            assert_eq!((&said["verdict"], &said["list"]), (&(*verdict).into(), &(*list).into()), "{how} {said}");
            assert_eq!(said["line"], *line, "{how} {said}");
            let sentence = said["sentence_en"].as_str().unwrap();
            match told {
                Told::Text { file } => {
                    assert_eq!(said["rule"], *rule, "{how} {said}");
                    assert!(said["file"].as_str().unwrap().contains(file), "{how} {file}: {said}");
                    assert!(!sentence.contains('('), "{how} {said}");
                }
                Told::Sentence(why) => {
                    assert!(sentence.contains(why), "{how} {why}: {said}");
                    assert!(said["rule"].is_string(), "{how} {said}");
                }
            }
        }
    }
}

fn write_lists(folder: &Path) {
    for (list, _, text) in LISTS {
        std::fs::write(folder.join(format!("{list}.txt")), text).unwrap();
    }
}

fn config(upstream: &Upstream, tables: &str) -> String {
    with_upstream(&format!("{tables}\n[access]\nallow = [\"127.0.0.0/8\", \"::1\"]\n"), upstream.v4)
}

fn serve(upstream: &Upstream, tables: &str) -> Served {
    let directory = tempfile::tempdir().unwrap();
    write_lists(directory.path());
    serve_in(upstream, tables, directory)
}

fn serve_in(upstream: &Upstream, tables: &str, directory: tempfile::TempDir) -> Served {
    let files = crate::harness::resolver::Files { config: config(upstream, tables), files: &[] };
    write_files(directory.path(), &files);
    Served::start_in(directory)
}

#[test]
fn every_kind_of_rule_of_a_file_is_explained() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, &tables(|list| format!("file = \"{list}.txt\"")));
    check(&served, Told::Text { file: ".txt" });
    // Whoever is told by words reads the file, the line and the text.
    let words = served.command(&["explain", "good.listed.example"]).stdout;
    for part in ["the list `adblock` has an exception for it.", "adblock.txt:4", "@@||good.listed.example^"] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn every_kind_of_rule_of_a_directory_is_explained_with_the_file_that_it_is_in() {
    let upstream = Upstream::start(ZONE);
    let directory = tempfile::tempdir().unwrap();
    for (list, _, text) in LISTS {
        let folder = directory.path().join(list);
        std::fs::create_dir(&folder).unwrap();
        // Lines are counted from the start of their own file.
        let first = match *list {
            "zone" => "@ SOA a. b. ( 1 2 3 4 5 )\nfirst.example CNAME .\n",
            "masq" => "address=/first.example/\n",
            "words" => "firstword\n",
            _ => "first.example\n",
        };
        std::fs::write(folder.join("a.txt"), first).unwrap();
        std::fs::write(folder.join("b.txt"), text).unwrap();
    }
    let served = serve_in(&upstream, &tables(|list| format!("file = \"{list}/\"")), directory);
    check(&served, Told::Text { file: "/b.txt" });
}

#[test]
fn every_kind_of_rule_of_a_fetched_list_is_explained_from_what_is_kept() {
    let publisher = Publisher::start(&["127.0.0.1"]);
    for (list, _, text) in LISTS {
        publisher.publish(&format!("/{list}.txt"), Some(text));
    }
    let upstream = Upstream::start(ZONE);
    let directory = tempfile::tempdir().unwrap();
    publisher.write_ca(&directory.path().join("ca.pem"));
    let port = publisher.address.port();
    let source = |list: &str| format!("url = \"https://127.0.0.1:{port}/{list}.txt\"\nallow_private = true");
    let tables = format!("upstream_ca_file = \"ca.pem\"\n{}", tables(source));
    let served = serve_in(&upstream, &tables, directory);
    let updated = served.command(&["lists", "update"]);
    assert_eq!(updated.code, 0, "{updated:?} {}", served.log());
    println!("{}", served.command(&["lists", "status"]).stdout);
    check(&served, Told::Text { file: "https://127.0.0.1:" });
}

#[test]
fn every_kind_of_rule_of_a_compiled_file_is_explained_as_long_as_its_text_is_what_was_compiled() {
    let upstream = Upstream::start(ZONE);
    let folder = tempfile::tempdir().unwrap();
    write_lists(folder.path());
    // One of them has several files.
    std::fs::create_dir(folder.path().join("masq.d")).unwrap();
    std::fs::rename(folder.path().join("masq.txt"), folder.path().join("masq.d/masq.txt")).unwrap();
    let source = |list: &str| match list {
        "masq" => "file = \"masq.d/\"".to_owned(),
        _ => format!("file = \"{list}.txt\""),
    };
    let (from, out) = (folder.path().join("source.toml"), folder.path().join("all.lachan"));
    std::fs::write(&from, tables(source)).unwrap();
    let ran = run(&["lists", "compile", "-c", from.to_str().unwrap(), "-o", out.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let table = format!("[list.all]\nformat = \"compiled\"\nfile = \"{}\"\n", out.display());
    let served = serve(&upstream, &table);
    check(&served, Told::Text { file: folder.path().to_str().unwrap() });

    for (list, _, text) in LISTS {
        let file = if *list == "masq" { "masq.d/masq.txt".to_owned() } else { format!("{list}.txt") };
        std::fs::write(folder.path().join(file), format!("# another line\n{text}")).unwrap();
    }
    served.reload("ok");
    check(&served, Told::Sentence("has changed since it was read"));
}
