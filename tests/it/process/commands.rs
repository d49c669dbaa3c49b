//! The commands, as a person types them: what they print and how they end.

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::serve;
use crate::harness::client::Ask;
use crate::harness::process::{Ran, Served, lachan, ran, run, with_upstream};
use crate::harness::resolver::{Files, config_path, write_files};
use crate::harness::upstream::Upstream;
use crate::harness::wait_for;
use crate::programs::free_port;

const ZONE: &str = "one.example. 300 IN A 192.0.2.1\ntwo.example. 300 IN A 192.0.2.2\n\
                    cover.example. 300 IN CNAME www.one.example.\nwww.one.example. 300 IN A 192.0.2.3\n\
                    forcesafesearch.google.com. 300 IN A 192.0.2.4\n\
                    search.example. 300 IN CNAME www.google.com.\nwww.google.com. 300 IN A 192.0.2.5\n";
const LIST: &str = "# a list of our own\n\none.example\n";

fn json(told: &Ran) -> Value {
    assert_eq!(told.code, 0, "{told:?}");
    serde_json::from_str(&told.stdout).unwrap_or_else(|why| panic!("{why}: {}", told.stdout))
}

#[test]
fn check_tells_every_mistake_with_its_line() {
    let text = r#"time_zone = "Asia/Hanoi"

[listen]
dns = ["127.0.0.1"]

[cache]
sise = "64 MiB"

[list.adult]
category = "adutl"
file = "builtin:adult"

[profile.default]
youtube = "strikt"

[client.one]
networks = ["10.0.0.0/33"]
profile = "schule"
"#;
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &Files { config: text.to_owned(), files: &[] });
    let config = config_path(directory.path()).to_str().unwrap().to_owned();
    let told = run(&["check", "-c", &config]);
    assert_eq!(told.code, 1, "{told:?}");
    for (line, part) in [
        (1, "Asia/Hanoi"),
        (4, "127.0.0.1:53"),
        (7, "size"),
        (10, "adult"),
        (14, "strict"),
        (17, "10.0.0.0/33"),
        (18, "schule"),
    ] {
        let place = format!("lachan.toml:{line}:");
        let found = told.stdout.lines().find(|l| l.contains(&place));
        assert!(found.is_some_and(|l| l.contains(part)), "no {place} … {part} in:\n{}", told.stdout);
    }
    assert!(told.stdout.contains("7 errors"), "{}", told.stdout);
}

#[test]
fn check_tells_broken_lists_together_with_other_mistakes() {
    let text = "[cache]\nsise = \"64 MiB\"\n\n[list.gone]\ncategory = \"adult\"\nfile = \"gone.txt\"\n\n\
                [list.page]\ncategory = \"adutl\"\nfile = \"page.txt\"\n\n\
                [list.spare]\ncategory = \"adult\"\nfile = \"spare.txt\"\nrequired = false\n";
    let directory = tempfile::tempdir().unwrap();
    write_files(
        directory.path(),
        &Files { config: text.to_owned(), files: &[("page.txt", "<!DOCTYPE html>\n<html></html>\n")] },
    );
    let config = config_path(directory.path()).to_str().unwrap().to_owned();
    let check = || {
        let told = run(&["check", "-c", &config]);
        assert_eq!(told.code, 1, "{told:?}");
        told.stdout
    };
    let has = |said: &str, parts: &[&str]| {
        let found = said.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {parts:?} in:\n{said}");
    };
    let said = check();
    has(&said, &["lachan.toml:2:", "sise"]);
    has(&said, &["lachan.toml:4:", "`gone`", "gone.txt", "No such file"]);
    has(&said, &["lachan.toml:8:", "`page`", "web page"]);
    has(&said, &["lachan.toml:9:", "adutl"]);
    has(&said, &["4 errors"]);

    // Without other mistakes too, and what stands upstream is looked at all the same.
    let lists = text.replace("sise", "size").replace("adutl", "adult");
    std::fs::write(&config, format!("upstream_ca_file = \"ca.pem\"\n{lists}")).unwrap();
    let said = check();
    has(&said, &["lachan.toml:5:", "`gone`"]);
    has(&said, &["lachan.toml:9:", "`page`"]);
    has(&said, &["ca.pem"]);
    has(&said, &["3 errors"]);

    // Parts that cannot be listed hide nothing else.
    std::fs::write(&config, text).unwrap();
    std::fs::write(directory.path().join("conf.d"), "not a directory").unwrap();
    let said = check();
    has(&said, &["lachan.toml:", "conf.d"]);
    has(&said, &["lachan.toml:2:", "sise"]);
    has(&said, &["lachan.toml:4:", "`gone`"]);
}

#[test]
fn check_is_content_with_what_is_good() {
    let (_upstream, served) = serve(ZONE, "one.example\nnot a name at all\n||two.example^$important\n");
    let told = run(&["check", "-c", &served.config()]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains(": good ("), "{}", told.stdout);
    assert!(told.stdout.contains("line 2"), "what made no rule is shown: {}", told.stdout);
    let missing = run(&["check", "-c", "missing.toml"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stdout.contains("missing.toml"), "{}", missing.stdout);
}

#[test]
fn explain_names_list_file_and_line() {
    let (_upstream, served) = serve(ZONE, LIST);
    let config = served.config();
    let online = json(&served.command(&["explain", "www.one.example", "--json"]));
    let offline = json(&run(&["explain", "www.one.example", "--json", "--offline", "-c", &config]));
    for told in [&online, &offline] {
        for (key, value) in [
            ("name", "www.one.example"),
            ("type", "A"),
            ("profile", "default"),
            ("verdict", "block"),
            ("rung", "security"),
            ("category", "malware"),
            ("list", "mine"),
            ("rule", "one.example"),
        ] {
            assert_eq!(told[key], value, "{key} of {told}");
        }
        assert_eq!((told["line"].as_u64(), told["ede"].as_u64()), (Some(3), Some(15)), "{told}");
        assert!(told["file"].as_str().unwrap().ends_with("mine.txt"), "{told}");
        assert!(!told["tried"].as_array().unwrap().is_empty(), "{told}");
    }

    let target = json(&served.command(&["explain", "cover.example", "--json"]));
    assert_eq!((target["verdict"].as_str(), target["target"].as_str()), (Some("block"), Some("www.one.example")));
    let clean = json(&served.command(&["explain", "https://two.example/page?x=1", "--json", "--type", "AAAA"]));
    assert_eq!((clean["verdict"].as_str(), clean["type"].as_str()), (Some("allow"), Some("AAAA")));
    assert_eq!(clean.get("list"), None, "what does not apply is absent");
    let search = json(&served.command(&["explain", "www.google.com.vn", "--json"]));
    assert_eq!(
        (search["verdict"].as_str(), search["target"].as_str()),
        (Some("rewrite"), Some("forcesafesearch.google.com"))
    );
}

#[test]
fn explain_speaks_to_people() {
    let (_upstream, served) = serve(ZONE, LIST);
    let told = served.command(&["explain", "one.example"]);
    assert_eq!(told.code, 0);
    let first = told.stdout.lines().next().unwrap();
    assert!(first.contains("one.example") && first.ends_with('.'), "one plain sentence first: {first}");
    assert!(told.stdout.contains("mine.txt:3"), "{}", told.stdout);
    assert!(told.stdout.contains("to change this:"), "{}", told.stdout);
    let admin = served.admin.to_string();
    let vietnamese = ran(lachan(&["explain", "one.example", "--admin", &admin]).env("LANG", "vi_VN.UTF-8"));
    assert!(vietnamese.stdout.contains("muốn thay đổi:"), "{}", vietnamese.stdout);
}

#[test]
fn explain_says_what_clients_get() {
    let upstream = Upstream::start(ZONE);
    let config = "[operator]\nallow = [\"ok.one.example\"]\n[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n\
                  [list.games]\ncategory = \"games\"\nfile = \"games.txt\"\n\
                  [profile.default]\nblock = [\"adult\"]\ndeny = [\"denied.example\"]\n\
                  [profile.school]\nblock = [\"games\"]\nyoutube = \"strict\"\nblock_response = \"nodata\"\n\
                  allow = [\"ok.two.example\", \"one.example\"]\n\
                  [client.school]\nnetworks = [\"127.0.0.8\"]\nprofile = \"school\"\n";
    let files = [("mine.txt", LIST), ("games.txt", "two.example\n")];
    let served = Served::start(&Files { config: with_upstream(config, upstream.v4), files: &files });
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for name in [
        "one.example",
        "ok.one.example",
        "two.example",
        "ok.two.example",
        "cover.example",
        "denied.example",
        "www.google.com",
        "search.example",
        "www.youtube.com",
        "localhost",
        "adult.block.lachan.example",
        "games.block.lachan.example",
        "canary.block.lachan.example",
        "use-application-dns.net",
    ] {
        for client in ["127.0.0.1", "127.0.0.8"] {
            let told = json(&served.command(&["explain", name, "--json", "--client", client]));
            let verdict = told["verdict"].as_str().unwrap();
            let got = Ask { from: Some(client.parse().unwrap()), ..Ask::new(name, RecordType::A) }.send(served.v4);
            let ede = got.ede().first().map(|(code, _)| u64::from(*code));
            assert_eq!(told["ede"].as_u64(), ede, "{name} for {client}: {told}");
            assert_eq!(verdict == "block", ede.is_some(), "{name} for {client}: {told}");
            let cname = got.answers().first().is_some_and(|record| record.starts_with(&format!("{name} CNAME ")));
            assert_eq!(verdict == "rewrite", cname && name != "cover.example", "{name} for {client}: {told}");
            *seen.entry(format!("{verdict} {}", told["rung"].as_str().unwrap())).or_default() += 1;
        }
    }
    // The table is worth something only while it holds every way to end.
    assert!(seen.len() >= 8, "{seen:?}");
}

#[test]
fn explain_says_who_may_not_ask() {
    for (strangers, verdict, ede, says) in
        [("refuse", "block", Some(18), "gets REFUSED"), ("drop", "drop", None, "gets no answer")]
    {
        let upstream = Upstream::start(ZONE);
        let config = format!("[access]\nallow = [\"127.0.0.0/8\"]\nstrangers = \"{strangers}\"\n");
        let served = Served::start(&Files { config: with_upstream(&config, upstream.v4), files: &[] });
        let config = served.config();
        let arguments = ["explain", "two.example", "--client", "192.0.2.7"];
        let online = json(&served.command(&[&arguments[..], &["--json"]].concat()));
        let offline = json(&run(&[&arguments[..], &["--json", "--offline", "-c", &config]].concat()));
        for told in [&online, &offline] {
            assert_eq!((told["verdict"].as_str(), told["rung"].as_str()), (Some(verdict), Some("access")), "{told}");
            assert_eq!((told["client"].as_str(), told["ede"].as_u64()), (Some("192.0.2.7"), ede), "{told}");
        }
        let told = served.command(&arguments).stdout;
        assert!(told.starts_with("192.0.2.7 may not ask") && told.contains(says), "{told}");
        assert!(told.contains("[access] allow"), "{told}");
        let inside = json(&served.command(&["explain", "two.example", "--client", "127.0.0.9", "--json"]));
        assert_eq!(inside["verdict"], "allow");
    }
}

#[test]
fn explain_takes_what_stands_in_an_address_bar() {
    let (_upstream, served) = serve(ZONE, LIST);
    for text in ["one.example:443", "//one.example/x", "http://me@one.example:8080/p", "ONE.example."] {
        assert_eq!(json(&served.command(&["explain", text, "--json"]))["name"], "one.example", "{text}");
    }
    for text in ["192.0.2.1", "[::1]", "https://192.0.2.1/x", "192.0.2.1:53", "2001:db8::1"] {
        let told = served.command(&["explain", text]);
        assert_eq!(told.code, 2, "{text}: {told:?}");
        assert!(told.stderr.contains("is an address, not a name"), "{text}: {told:?}");
    }
    for qtype in ["65", "TYPE65", "https"] {
        assert_eq!(json(&served.command(&["explain", "one.example", "-t", qtype, "--json"]))["type"], "HTTPS");
    }
}

#[test]
fn usage_and_no_daemon_have_codes_of_their_own() {
    let upstream = Upstream::start(ZONE);
    // A port that was free a moment ago: nobody answers there.
    let closed = free_port().to_string();
    for (arguments, code) in [
        (&["explain", "two.example", "--admin", &closed][..], 3),
        (&["lists", "status", "--admin", &closed], 3),
        (&["safesearch", "test", "--admin", &closed], 3),
        // A node whose resolver says nothing must not draw traffic.
        (&["healthcheck", "--admin", &closed], 1),
        (&["explain", "bad..name", "--admin", &closed], 2),
        (&["explain", "two.example", "--type", "NONSENSE", "--admin", &closed], 2),
        (&["explain"], 2),
        (&["nonsense"], 2),
        (&["version"], 0),
        (&["--version"], 0),
        (&["--help"], 0),
    ] {
        let told = run(arguments);
        assert_eq!(told.code, code, "{arguments:?}: {told:?}");
        assert!(!told.stdout.is_empty() || !told.stderr.is_empty(), "{arguments:?} says nothing");
    }
    let version = run(&["version"]);
    assert_eq!(version.stdout.trim(), concat!("lachan ", env!("CARGO_PKG_VERSION")));
    drop(upstream);
}

#[test]
fn healthcheck_tells_serve_from_degraded() {
    let (upstream, served) = serve(ZONE, LIST);
    let told = served.command(&["healthcheck"]);
    assert_eq!((told.code, told.stdout.trim()), (0, "ready"));
    drop(upstream);
    // Nobody answers any more: the first failures make the server down, and the node degraded, not gone.
    let degraded = wait_for("a degraded state", || {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(Ask::new(&format!("n{n}.example"), RecordType::A).send(served.v4).rcode(), 2);
        let told = served.command(&["healthcheck"]);
        (told.code == 3).then_some(told)
    });
    assert!(degraded.stdout.starts_with("degraded"), "{degraded:?}");
    let blocked = Ask::new("one.example", RecordType::A);
    assert_eq!(blocked.send(served.v6).rcode(), 3, "blocks go on");
}

#[test]
fn lists_status_shows_each_list() {
    let (_upstream, served) = serve(ZONE, "one.example\nnot a name at all\n");
    let told = served.command(&["lists", "status"]);
    assert_eq!(told.code, 0, "{told:?}");
    let row = told.stdout.lines().find(|line| line.starts_with("mine ")).expect("a row for the list");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..5], ["mine", "malware", "1", "1", "domains"], "{row}");
    let lists = json(&served.command(&["lists", "status", "--json"]));
    assert_eq!(lists[0]["rules"], 1);
}

#[test]
fn safesearch_test_passes_with_and_without_an_upstream() {
    let (upstream, served) = serve(ZONE, LIST);
    let told = served.command(&["safesearch", "test"]);
    let rows = |told: &Ran| told.stdout.lines().filter(|line| line.starts_with("google")).count();
    assert!(rows(&told) >= 1, "{}", told.stdout);
    let google = told.stdout.lines().find(|line| line.starts_with("google")).unwrap();
    assert_eq!(google.matches("pass").count(), 4, "{google}");
    drop(upstream);
    // Google's addresses are in the table, those of others are not: that is said.
    let told = served.command(&["safesearch", "test"]);
    assert_eq!(told.code, 1, "{told:?}");
    let google = told.stdout.lines().find(|line| line.starts_with("google")).unwrap();
    assert_eq!(google.matches("pass").count(), 4, "{google}");
    let last = told.stdout.lines().last().unwrap();
    assert!(last.contains("brave, duckduckgo, ecosia, pixabay, qwant"), "{last}");
    assert!(last.contains("No upstream") && !last.contains("google") && !last.contains("bing"), "{last}");
}

#[test]
fn a_broken_configuration_asks_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &Files { config: "[listen]\nadmn = \"off\"\n[cash]\n".into(), files: &[] });
    let broken = config_path(directory.path()).to_str().unwrap().to_owned();
    for (config, names) in
        [(broken.as_str(), "lachan.toml:2: unknown key `admn`"), ("gone.toml", "gone.toml: cannot be read")]
    {
        for command in
            [&["explain", "two.example"][..], &["lists", "status"], &["safesearch", "test"], &["healthcheck"]]
        {
            let told = run(&[command, &["-c", config]].concat());
            assert_eq!(told.code, 3, "{command:?}: {told:?}");
            let said = format!("{}{}", told.stdout, told.stderr);
            assert!(said.contains(names) && said.contains("--admin"), "{command:?}: {said}");
        }
    }
    // With an address the file does not matter.
    let (_upstream, served) = serve(ZONE, LIST);
    let told = served.command(&["explain", "two.example", "-c", &broken]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(served.command(&["healthcheck", "-c", "gone.toml"]).code, 0);
}

#[test]
fn nobody_listening_is_no_reason_to_panic() {
    let (_upstream, served) = serve(ZONE, LIST);
    let (admin, config) = (served.admin.to_string(), served.config());
    for (arguments, code) in [
        (&["lists", "status", "--admin", &admin][..], 0),
        (&["explain", "one.example", "--admin", &admin], 0),
        (&["explain", "one.example", "--json", "--admin", &admin], 0),
        (&["safesearch", "test", "--admin", &admin], 1),
        (&["healthcheck", "--admin", &admin], 0),
        (&["check", "-c", &config], 0),
        (&["check", "-c", "gone.toml"], 1),
        (&["explain", "bad..name", "--admin", &admin], 2),
        (&["nonsense"], 2),
        (&["version"], 0),
        (&["--version"], 0),
        (&["--help"], 0),
        (&["help", "explain"], 0),
    ] {
        // Each stream's other end is closed before the first word, the other one is read.
        for is_stdout in [true, false] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = lachan(arguments);
            let told = match is_stdout {
                true => command.stdout(writer).stderr(std::process::Stdio::piped()).spawn(),
                false => command.stderr(writer).stdout(std::process::Stdio::piped()).spawn(),
            };
            let told = told.unwrap().wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&told.stderr);
            assert!(!said.contains("panic"), "{arguments:?}: {said}");
            assert_eq!(told.status.code(), Some(code), "{arguments:?}, stdout {is_stdout}: {said}");
        }
    }
}

#[test]
fn words_that_cannot_be_written_are_missed() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = lachan(&["version"]);
    let told = command.stdout(full).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("cannot write to standard output"), "{told:?}");
}

#[test]
fn help_examples_stand_in_columns() {
    for arguments in [&["--help"][..], &["explain", "--help"]] {
        let told = run(arguments).stdout;
        let (_, examples) = told.split_once("Examples:\n").expect("there are examples");
        let columns: Vec<usize> = examples
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (command, words) = line.trim_start().split_once("  ")?;
                Some(command.len() + words.len() - words.trim_start().len())
            })
            .collect();
        assert!(columns.len() > 2 && columns.iter().all(|c| *c == columns[0]), "{columns:?}:\n{examples}");
    }
}

#[test]
fn one_rule_is_not_called_rules() {
    let (_upstream, served) = serve(ZONE, LIST);
    assert!(served.banner.contains("1 rule in 1 list, 6 profiles;"), "{}", served.banner);
    assert!(served.command(&["lists", "status"]).stdout.contains(", 1 rule, "));
    assert!(run(&["check", "-c", &served.config()]).stdout.contains("good (1 rule)"));
}

#[test]
fn lists_and_check_speak_vietnamese_too() {
    let (_upstream, served) = serve(ZONE, "one.example\nnot a name at all\n");
    let (admin, config) = (served.admin.to_string(), served.config());
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &Files { config: "[listen]\nadmn = \"off\"\n".into(), files: &[] });
    let broken = config_path(directory.path()).to_str().unwrap().to_owned();
    let mistake = "lachan.toml:2: không có khóa `admn` trong [listen]; có phải ý bạn là `admin`?";
    for (arguments, words) in [
        (&["lists", "status", "--admin", &admin][..], &["lần nạp gần nhất", "bỏ qua"][..]),
        (&["lists", "update", "--admin", &admin], &["không danh sách nào có `url`"]),
        (&["limits", "top", "--admin", &admin], &["Chưa cấu hình giới hạn tốc độ"]),
        (&["check", "-c", &config], &["lưu ý: ", "hợp lệ (1 luật)"]),
        (&["explain", "192.0.2.1", "--admin", &admin], &["là địa chỉ"]),
        (&["explain", "two.example", "-c", "gone.toml"], &["cấu hình không cho biết"]),
        (&["explain", "a..example"], &["\"a..example\" không phải tên miền: có nhãn trống (hai dấu chấm liền nhau?)"]),
        (&["explain", "two.example", "--type", "ADRES"], &["không biết kiểu bản ghi \"ADRES\"; hãy ghi A, AAAA"]),
        (&["healthcheck", "-c", "gone.toml"], &["không rõ: "]),
        (&["healthcheck", "-c", &broken], &[mistake]),
        (&["safesearch", "test", "-c", &broken], &[mistake]),
    ] {
        let told = ran(lachan(arguments).env("LANG", "vi_VN.UTF-8"));
        let said = format!("{}{}", told.stdout, told.stderr);
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
}
