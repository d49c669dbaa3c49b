//! What people do while the resolver runs: temporary words, legal orders, and the log of it all.

use hickory_proto::rr::RecordType as T;
use serde_json::Value;

use crate::harness::client::Ask;
use crate::harness::process::{Ran, Served, ran, with_upstream};
use crate::harness::resolver::{Files, write_files};
use crate::harness::upstream::Upstream;

const ZONE: &str = "bad.example. 300 IN A 192.0.2.1\nadult.example. 300 IN A 192.0.2.2\ngood.example. 300 IN A 192.0.2.3\n\
                    one.example. 300 IN A 192.0.2.4\ntwo.example. 300 IN A 192.0.2.5\nx.blogspot.com. 300 IN A 192.0.2.6\n";

/// A process with a malware and an adult list, and its state beside.
fn serve(upstream: &Upstream) -> Served {
    let config = "state_directory = \"state\"\n[list.bad]\ncategory = \"malware\"\nfile = \"bad.txt\"\n\
                  [list.adult]\ncategory = \"adult\"\nfile = \"adult.txt\"\n[profile.default]\nblock = [\"adult\"]\n\
                  [profile.school]\n";
    let directory = tempfile::tempdir().unwrap();
    let files = [("bad.txt", "bad.example\n"), ("adult.txt", "adult.example\n")];
    write_files(directory.path(), &Files { config: with_upstream(config, upstream.v4), files: &files });
    Served::start_in(directory)
}

fn blocks(served: &Served, name: &str) -> bool {
    Ask::new(name, T::A).send(served.v4).rcode() == 3
}

fn said(ran: &Ran, code: i32, part: &str) {
    assert!(ran.code == code && (ran.stdout.contains(part) || ran.stderr.contains(part)), "{code} {part:?}: {ran:?}");
}

/// The first word after `before` that is a number.
fn id(ran: &Ran) -> String {
    let number = |word: &&str| word.trim_end_matches(':').parse::<u64>().is_ok();
    ran.stdout.split_whitespace().find(number).unwrap_or_else(|| panic!("{ran:?}")).trim_end_matches(':').to_owned()
}

fn explain(served: &Served, name: &str) -> Value {
    serde_json::from_str(&served.command(&["explain", name, "--json"]).stdout).unwrap()
}

/// `audit …` over the state of a process; it needs none that runs.
fn audit(served: &Served, arguments: &[&str]) -> Ran {
    let config = served.config();
    ran(&mut crate::harness::process::lachan(&[&["-c", &config, "audit"], arguments].concat()))
}

#[test]
fn a_word_acts_at_once_outlives_the_process_and_is_told() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream);
    let add =
        |what: &[&str]| served.command(&[what, &["--reason", "lesson 5", "--by", "Cô Lan", "--for", "1 h"]].concat());
    assert!(blocks(&served, "adult.example") && !blocks(&served, "good.example"));
    let allowed = add(&["allow", "add", "adult.example", "--profile", "default"]);
    said(&allowed, 0, "allow 1: adult.example, for profile `default`, until ");
    assert!(!blocks(&served, "adult.example"));
    said(&add(&["deny", "add", "=good.example"]), 0, "deny 2: =good.example, for everyone");
    assert!(blocks(&served, "good.example"));
    // What it does not change is said at once.
    let in_vain = add(&["allow", "add", "bad.example", "--profile", "default"]);
    said(&in_vain, 1, "It is blocked all the same. bad.example is blocked as ");
    said(&in_vain, 1, "[operator] allow");
    said(&add(&["allow", "add", "bad.example"]), 0, "allow 4");
    assert!(!blocks(&served, "bad.example"));

    for (arguments, told) in [
        (&["allow", "add", "adult.example", "--reason", "x"][..], "say when it ends"),
        (&["allow", "add", "adult.example", "--reason", " ", "--for", "1h"], "`--reason` is empty"),
        (&["allow", "add", "a..b", "--reason", "x", "--for", "1h"], "is no name"),
        (&["deny", "add", "a.b", "--reason", "x", "--for", "1h", "--profile", "no"], "there is no profile `no`"),
        (&["deny", "add", "a.b", "--reason", "x", "--for", "1h", "--client", "no"], "there is no [client.no]"),
        (&["deny", "add", "a.b", "--reason", "x", "--for", "9999 d"], "at most 366 days"),
        (&["deny", "remove", "1"], "no deny 1 is in force"),
        (&["deny", "add", "com", "--reason", "x", "--for", "1h"], "com is a public suffix"),
        (&["allow", "add", "*.com.vn", "--reason", "x", "--for", "1h", "--profile", "school"], "`--public-suffix`"),
        (&["allow", "add", "a.b", "--reason", "x", "--until-window"], "say `--profile` or `--client`"),
        (
            &["allow", "add", "a.b", "--reason", "x", "--until-window", "--profile", "school"],
            "profile `school` has no window",
        ),
    ] {
        said(&served.command(arguments), 1, told);
    }

    let told = explain(&served, "adult.example");
    let temporary = &told["temporary"];
    assert_eq!(
        (&temporary["id"], &temporary["author"], &temporary["reason"]),
        (&1.into(), &"Cô Lan".into(), &"lesson 5".into())
    );
    assert!(told["change_en"].as_str().unwrap().contains("`lachan allow remove 1`"), "{told}");
    let told = explain(&served, "good.example");
    assert!(told["sentence_vi"].as_str().unwrap().contains("cho mọi người, do Cô Lan: lesson 5"), "{told}");
    assert_eq!((&told["rung"], &told["ede"]), (&"operator".into(), &15.into()));

    let pause = ["pause", "add", "--for", "1 h", "--reason", "exam", "--by", "an"];
    said(&served.command(&pause), 1, "say `--everyone`");
    let pause = served.command(&[&pause[..], &["--everyone"]].concat());
    said(&pause, 0, "content and SafeSearch off");
    assert_eq!(explain(&served, "adult.example")["pause"]["reason"], "exam");

    // A power cut forgets nothing.
    let served = Served::start_in(served.kill());
    assert!(!blocks(&served, "adult.example") && blocks(&served, "good.example"), "{}", served.log());
    said(&served.command(&["allow", "list"]), 0, "adult.example, for profile `default`");
    said(&served.command(&["pause", "list"]), 0, "by an: exam");
    said(&served.command(&["pause", "remove", &id(&pause), "--by", "an"]), 0, "has ended");
    said(&served.command(&["allow", "remove", "1", "--by", "an"]), 0, "has ended");
    assert!(blocks(&served, "adult.example"));
    said(&served.command(&["deny", "remove", "2", "--by", "an"]), 0, "has ended");
    assert!(!blocks(&served, "good.example"));

    // 3 allows, 1 deny, 1 pause; a pause, an allow and a deny removed.
    said(&audit(&served, &["verify"]), 0, "the audit log is whole: 8 lines in 1 files, 1 to 8");
    said(&audit(&served, &["show", "-n", "1"]), 0, "deny.remove 2: {");
    let key = audit(&served, &["key"]).stdout;
    said(&audit(&served, &["verify", "--key", key.trim()]), 0, "whole");
    let log = served.directory.path().join("state/audit/audit-000000000001.jsonl");
    let mut octets = std::fs::read(&log).unwrap();
    let third = octets.iter().enumerate().filter(|(_, octet)| **octet == b'\n').nth(1).unwrap().0 + 30;
    octets[third] ^= 1;
    std::fs::write(&log, octets).unwrap();
    said(&audit(&served, &["verify"]), 1, "audit-000000000001.jsonl:3: its hash is not that of its octets");
    said(&audit(&served, &["verify", log.to_str().unwrap()]), 1, ":3: ");
}

#[test]
fn a_word_ends_by_itself() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream);
    let add = ["deny", "add", "good.example", "--reason", "x", "--by", "an", "--for", "2 s"];
    said(&served.command(&add), 0, "deny 1");
    crate::harness::wait_for("the end of a deny", || (!blocks(&served, "good.example")).then_some(()));
    said(&served.command(&["deny", "list"]), 0, "none is in force");
}

#[test]
fn an_order_takes_two_persons_and_ends_by_its_authoritys_word_alone() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream);
    let order = |reference: &str, names: &[&str], more: &[&str]| {
        let common =
            ["--authority", "Bộ Công an, A05", "--legal-basis", "NĐ 147/2024/NĐ-CP", "--by", "An", "--expires"];
        served.command(
            &[&["orders", "add", "--reference", reference], &common[..], &["2099-12-31"], more, names].concat(),
        )
    };
    said(
        &order("1/A05", &["one.example", "=good.example"], &["--publishable"]),
        0,
        "1/A05 (Bộ Công an, A05): received",
    );
    assert!(!blocks(&served, "one.example"));
    said(&served.command(&["orders", "approve", "1/A05", "--by", " AN "]), 1, "a second person approves it");
    assert!(!blocks(&served, "one.example"));
    said(&served.command(&["orders", "check", "1/A05", "--by", "An"]), 0, "1/A05 (Bộ Công an, A05): checked");
    said(&served.command(&["orders", "verify", "1/A05", "--by", "An"]), 1, "NOT BLOCKED");
    said(&served.command(&["orders", "approve", "1/A05", "--by", "Bình"]), 0, "in-force");
    said(&served.command(&["orders", "approve", "1/A05", "--by", "Cường"]), 1, "approved order 1/A05 already");
    assert!(blocks(&served, "one.example") && blocks(&served, "www.one.example") && blocks(&served, "good.example"));
    let told = explain(&served, "one.example");
    assert_eq!(
        (&told["rung"], &told["ede"], &told["order"]["reference"]),
        (&"order".into(), &16.into(), &"1/A05".into())
    );
    assert_eq!(told["sentence_vi"], "one.example bị chặn theo yêu cầu 1/A05 của Bộ Công an, A05.");
    assert!(told["change_en"].as_str().unwrap().contains("only the authority"), "{told}");
    // No allow reaches it, and who makes one hears so.
    let vain = ["allow", "add", "one.example", "--for", "1 h", "--reason", "x", "--by", "an"];
    said(&served.command(&vain), 1, "It is blocked all the same. one.example is blocked by the legal order 1/A05");

    // A secret one: `explain` says that there is an order, a viewer sees hashes.
    said(&order("2/A05", &["two.example", "one.example"], &["--act-now"]), 0, "ordered already by 1/A05");
    assert!(blocks(&served, "two.example"));
    let told = explain(&served, "two.example");
    assert_eq!((&told["order"]["reference"], &told["order"]["state"]), (&Value::Null, &"provisional".into()), "{told}");
    let seen = served.command(&["orders", "show", "2/A05", "--role", "viewer"]);
    assert!(seen.stdout.contains("hidden:") && !seen.stdout.contains("two.example"), "{seen:?}");
    said(&served.command(&["orders", "show", "2/A05"]), 0, "two.example");
    said(&served.command(&["orders", "check"]), 0, "nothing waits");

    let letter = served.command(&["orders", "letter", "1/A05", "--by", "An", "--sent"]);
    for part in
        ["Kính gửi:** Bộ Công an, A05", "Đã ngăn chặn 2/2 tên miền", "| 1 | one.example | Đã chặn (NXDOMAIN, EDE 16)"]
    {
        said(&letter, 0, part);
    }
    said(&served.command(&["orders", "list"]), 0, "1/A05 (Bộ Công an, A05): reported");

    // What clients may remember of before is known, and still is after a restart.
    let remembered = |served: &Served| {
        let shown = served.command(&["orders", "show", "1/A05", "--json"]);
        serde_json::from_str::<Value>(&shown.stdout).unwrap_or_else(|why| panic!("{why}: {shown:?}"))["remembered"]
            .clone()
    };
    let told = remembered(&served);
    let secs = told["cached"][0]["secs"].as_u64();
    assert!(told["cached"][0]["name"] == "one.example" && secs.is_some_and(|secs| (1..=300).contains(&secs)), "{told}");
    // The process has not run for an hour, so the cache does not know all.
    assert_eq!((&told["worst"]["secs"], &told["worst"]["by"]), (&3_600.into(), &"limit".into()), "{told}");
    said(&letter, 0, &format!("| không quá {} giây |", secs.unwrap()));
    said(&served.command(&["orders", "show", "1/A05"]), 0, "clients may remember an older answer until ");
    said(
        &served.command(&["orders", "letter", "1/A05", "--by", "An", "--lang", "en"]),
        0,
        "3. Slowest client: it forgets",
    );

    // Neither a power cut nor a file that is gone ends one.
    let directory = served.kill();
    let orders = directory.path().join("state/orders");
    for file in std::fs::read_dir(&orders).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let served = Served::start_in(directory);
    assert!(blocks(&served, "one.example") && blocks(&served, "two.example"), "{}", served.log());
    assert_eq!(remembered(&served), told);
    said(&served.command(&["orders", "check"]), 1, "order 1/A05: its file ");

    // A name is free when no order holds it.
    let revoke = |reference: &str| {
        served.command(&["orders", "revoke", reference, "--by", "An", "--reason", "letter 99/A05 took it back"])
    };
    said(&revoke("1/A05"), 0, "revoked");
    assert!(blocks(&served, "one.example") && !blocks(&served, "good.example"));
    said(&revoke("2/A05"), 0, "revoked");
    assert!(!blocks(&served, "one.example") && !blocks(&served, "two.example"));
    said(&revoke("2/A05"), 1, "nothing changes it any more");
    said(&audit(&served, &["verify"]), 0, "whole");
    said(&audit(&served, &["show"]), 0, "order.revoke 2/A05");
}

#[test]
fn an_annex_is_taken_line_by_line_and_widened_by_nothing() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream);
    let annex = "STT;Tên miền\n1;one.example\n2;hxxps://good[.]example/page\n3;192.0.2.4\n4;one.example\n5;blogspot.com\n\
                 6;vietcombank.com.vn\n7;đây không phải\n8;two.example\n";
    served.write("annex.csv", annex);
    let file = served.directory.path().join("annex.csv");
    let import = |reference: &str, more: &[&str]| {
        let common = ["--authority", "A05", "--legal-basis", "NĐ 147/2024", "--by", "An", "--expires", "open"];
        let review = ["--review-at", "2099-01-01", "--act-now"];
        let lead = ["orders", "import", file.to_str().unwrap(), "--reference", reference];
        served.command(&[&lead[..], &common, &review, more].concat())
    };
    let looked = import("1/A05", &["--dry-run"]);
    for part in [
        "3: hxxps://good[.]example/page: a URL: DNS cannot block a page; --host-of-urls blocks all of good.example",
        "4: 192.0.2.4: an address",
        "5: one.example: one.example is already on line 2",
        "6: blogspot.com: a shared platform (*.blogspot.com would be blocked too)",
        "7: vietcombank.com.vn: a protected name; --override vietcombank.com.vn",
        "2 lines taken, 6 not",
    ] {
        said(&looked, 1, part);
    }
    assert!(!blocks(&served, "one.example"));
    said(&import("1/A05", &["--override", "vietcombank.com.vn"]), 1, "3 lines taken, 5 not");
    assert!(blocks(&served, "one.example") && blocks(&served, "two.example") && !blocks(&served, "good.example"));
    assert!(blocks(&served, "vietcombank.com.vn") && !blocks(&served, "x.blogspot.com"));
    said(&import("1/A05", &[]), 1, "order 1/A05 is there already");
    said(&import("2/A05", &["--host-of-urls"]), 1, "2: one.example: taken; ordered already by 1/A05");
    assert!(blocks(&served, "good.example"));

    // A second column of names is not passed over in silence.
    served.write("annex.csv", "STT;Tên miền;Tên khác\n1;one.example;three.example\n");
    said(&import("3/A05", &["--dry-run"]), 1, "column C (\"Tên khác\") holds 1 names too, which were not taken");
    said(&import("3/A05", &["--dry-run", "--column", "Tên miền"]), 0, "1 lines taken, 0 not");

    served.write("annex.xlsx", "no workbook");
    let broken = served.directory.path().join("annex.xlsx");
    let broken =
        ["orders", "import", broken.to_str().unwrap(), "--reference", "3", "--authority", "a", "--legal-basis", "b"];
    said(&served.command(&[&broken[..], &["--expires", "2099-01-01"]].concat()), 2, "it is no workbook");
}
