//! What people are told: who they are to the resolver, what was said for a while, until when in their own time, and what is
//! broken.

use hickory_proto::rr::RecordType as T;
use serde_json::Value;

use crate::harness::client::Ask;
use crate::harness::process::{Ran, Served, lachan, ran, with_upstream};
use crate::harness::resolver::{Files, write_files};
use crate::harness::upstream::Upstream;
use crate::programs::free_port;

const ZONE: &str =
    "adult.example. 300 IN A 192.0.2.2\ngood.example. 300 IN A 192.0.2.3\none.example. 300 IN A 192.0.2.4\n";

/// Europe/Berlin, so that no default happens to be right; a class whose lesson is on all day, every day.
const CONFIG: &str = "time_zone = \"Europe/Berlin\"\nstate_directory = \"state\"\n[contact]\norganization = \"Trường Ví Dụ\"\n\
[list.adult]\ncategory = \"adult\"\nfile = \"adult.txt\"\n[profile.default]\nblock = [\"adult\"]\n[profile.school]\n\
block = [\"adult\"]\n[profile.school.window.lesson]\ncategories = [\"adult\"]\n\
days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]\nfrom = \"00:00\"\nto = \"23:59\"\n\
[client.class]\nnetworks = [\"127.0.0.0/29\", \"127.0.0.8/32\"]\nids = [\"lop-6a\"]\nprofile = \"school\"\n";

fn serve(upstream: &Upstream, more: &str) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let config = with_upstream(&format!("{CONFIG}{more}"), upstream.v4);
    write_files(directory.path(), &Files { config, files: &[("adult.txt", "adult.example\n")] });
    Served::start_in(directory)
}

fn said(ran: &Ran, code: i32, part: &str) {
    assert!(ran.code == code && (ran.stdout.contains(part) || ran.stderr.contains(part)), "{code} {part:?}: {ran:?}");
}

/// A command in Vietnamese against this process.
fn vietnamese(served: &Served, arguments: &[&str]) -> Ran {
    let admin = served.admin.to_string();
    ran(lachan(&[arguments, &["--admin", &admin]].concat()).env("LANG", "vi_VN.UTF-8"))
}

/// Times of Berlin, and none of UTC.
fn is_local(text: &str) -> bool {
    (text.contains("+01:00") || text.contains("+02:00")) && !text.contains("Z,") && !text.contains("Z;")
}

#[test]
fn explain_tells_who_asks_which_pause_is_on_and_until_when() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "");
    let pause = ["pause", "add", "--client", "class", "--for", "1 h", "--reason", "tìm tài liệu", "--by", "Cô Lan"];
    let made = served.command(&pause);
    said(&made, 0, "for client `class`");
    assert!(is_local(&made.stdout), "{made:?}");
    assert!(is_local(&served.command(&["pause", "list"]).stdout));

    let config = served.config();
    let asked = ["explain", "adult.example", "--client", "127.0.0.8"];
    let offline = ran(&mut lachan(&[&asked[..], &["--offline", "-c", &config]].concat()));
    let line = CONFIG.lines().position(|line| line == "[client.class]").unwrap() + 1;
    for told in [served.command(&asked), offline] {
        for part in [
            "adult.example is allowed until ",
            "because content filtering and SafeSearch are paused for client `class`, by Cô Lan: tìm tài liệu.",
            "Without the pause: adult.example is blocked as adult content.",
            "  pause      1, for client `class`, until ",
            "`lachan pause remove 1` ends the pause; the operator may.",
            "[client.class], by the network 127.0.0.8/32 (",
            &format!("lachan.toml:{line})"),
            "school (of the [client.*] with the longest prefix)",
            "category: paused",
            "safe-search: paused",
            // Open, but for the last minute of the day in Berlin.
            "  windows    lesson: ",
        ] {
            said(&told, 0, part);
        }
        assert!(is_local(&told.stdout), "{told:?}");
    }
    let told = vietnamese(&served, &asked);
    for part in [
        "adult.example được phép đến ",
        "vì lọc nội dung và SafeSearch đang tạm tắt cho máy `class`, do Cô Lan: tìm tài liệu.",
        "  tạm tắt    1, cho máy `class`, đến ",
        "[client.class], theo mạng 127.0.0.8/32 (",
        "loại nội dung: đang tạm tắt",
        "  khung giờ  lesson: ",
        "  kết luận   cho phép",
    ] {
        said(&told, 0, part);
    }

    // By identity, by nothing, and by a profile that was asked for.
    said(&served.command(&["explain", "good.example", "--client", "lop-6a"]), 0, "[client.class], by its identity (");
    let told = served.command(&["explain", "good.example", "--client", "127.0.0.99"]);
    said(&told, 0, "default (no [client.*] and no subscriber: the default)");
    said(&served.command(&["explain", "good.example", "--profile", "school"]), 0, "school (as asked for)");

    // What the cache has is told, and what was not asked offline.
    said(&told, 0, "  cached     ");
    assert_eq!(Ask::new("one.example", T::A).send(served.v4).rcode(), 0);
    said(&served.command(&["explain", "one.example"]), 0, "  cached     yes, ");
    let offline = ran(&mut lachan(&["explain", "one.example", "--offline", "-c", &config]));
    said(&offline, 0, "  cached     offline: not known");
}

#[test]
fn explain_asks_at_an_address_of_ours() {
    let upstream = Upstream::start(ZONE);
    let served = serve(
        &upstream,
        "[client.desk]\nlisteners = [\"192.0.2.54\"]\nprofile = \"unfiltered\"\n[realm.bng]\nnumber = 1\n\
         listeners = [\"192.0.2.61\"]\n[client.village]\nnetworks = [\"100.64.12.0/24\"]\nrealm = \"bng\"\nprofile = \"school\"\n",
    );
    let config = served.config();
    for (client, to, parts) in [
        (
            "127.0.0.99",
            "192.0.2.54",
            ["[client.desk], by the address it asks (", "unfiltered (of the [client.*] at this listener)"],
        ),
        (
            "127.0.0.99",
            "192.0.2.55",
            ["adult.example is blocked", "default (no [client.*] and no subscriber: the default)"],
        ),
        // Whom a network tells, no address tells otherwise.
        ("127.0.0.8", "192.0.2.54", ["[client.class], by the network 127.0.0.8/32 (", "school (of the"]),
        ("100.64.12.7", "192.0.2.61", ["[client.village], by the network 100.64.12.0/24 (", "school (of the"]),
        ("100.64.12.7", "192.0.2.54", ["[client.desk], by the address it asks (", "unfiltered (of the"]),
    ] {
        let asked = ["explain", "adult.example", "--client", client, "--to", to];
        let offline = ran(&mut lachan(&[&asked[..], &["--offline", "-c", &config]].concat()));
        for told in [served.command(&asked), offline] {
            parts.iter().for_each(|part| said(&told, 0, part));
        }
    }
    said(&served.command(&["explain", "adult.example", "--to", "192.0.2.54:53"]), 2, "--to <ADDR>");
}

#[test]
fn explain_offline_knows_the_orders_and_words_that_are_kept() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "");
    let order = [
        "orders",
        "add",
        "one.example",
        "--reference",
        "1/A05",
        "--authority",
        "A05",
        "--legal-basis",
        "NĐ 147/2024",
        "--expires",
        "2099-12-31",
        "--publishable",
        "--act-now",
        "--by",
        "An",
    ];
    let made = served.command(&order);
    said(&made, 0, "1/A05 (A05): provisional");
    assert!(is_local(&made.stdout), "{made:?}");
    said(&served.command(&["deny", "add", "good.example", "--for", "1 h", "--reason", "x", "--by", "An"]), 0, "deny 1");
    let config = served.config();
    let offline = |name: &str| ran(&mut lachan(&["explain", name, "--offline", "-c", &config]));
    for told in [served.command(&["explain", "one.example"]), offline("one.example")] {
        said(&told, 0, "one.example is blocked by the legal order 1/A05 of A05.");
        said(&told, 0, "  order      1/A05 (A05); provisional; until ");
        assert!(is_local(&told.stdout), "{told:?}");
    }
    for told in [served.command(&["explain", "good.example"]), offline("good.example")] {
        said(&told, 0, "  said       1, for everyone, until ");
    }
    // Nothing there was touched: the process goes on with its own.
    said(&served.command(&["orders", "check"]), 0, "nothing waits");
    assert!(!served.log().contains("ERROR"), "{}", served.log());
    let letter = served.command(&["orders", "letter", "1/A05", "--by", "An"]);
    said(&letter, 0, "**Trường Ví Dụ**");
    let metrics = served.get("/metrics");
    for series in [
        "lachan_orders{state=\"provisional\"} 1",
        "lachan_orders_acting 1",
        "lachan_order_alarms{kind=\"lapses\"} 0",
        "lachan_audit_broken 0",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
    assert!(served.metric_sum("lachan_order_next_deadline_timestamp_seconds") > 0);
    assert!(!metrics.contains("1/A05") && !metrics.contains("one.example"));
}

#[test]
fn a_subscriber_that_nobody_told_of_is_not_called_default_beside_its_client() {
    let upstream = Upstream::start(ZONE);
    let directory = tempfile::tempdir().unwrap();
    let more = "[subscribers]\napi_token_file = \"api.token\"\n";
    let config = with_upstream(&format!("{CONFIG}{more}"), upstream.v4);
    let files = [("adult.txt", "adult.example\n"), ("api.token", "a-token-that-is-long-enough")];
    write_files(directory.path(), &Files { config, files: &files });
    let served = Served::start_in(directory);
    let config = served.config();
    let asked = ["explain", "adult.example", "--client", "127.0.0.8"];
    said(&served.command(&asked), 0, "nobody told of this address: its [client.*] decides");
    said(
        &served.command(&["explain", "adult.example", "--client", "127.0.0.99"]),
        0,
        "this address: the default profile",
    );
    let offline = ran(&mut lachan(&[&asked[..], &["--offline", "-c", &config]].concat()));
    said(&offline, 0, "not looked at: the running resolver has the table");
    // A token as `subscribers get` shows it, and the feed that told of it.
    let token = "0123456789abcdef0123456789abcdef";
    said(&served.command(&["explain", "adult.example", "--client", token]), 1, "no client has the identity");
    let set = ["subscribers", "set", "--token", token, "--profile", "school", "-c", &config];
    said(&served.command(&set), 0, "done");
    let told = served.command(&["explain", "adult.example", "--client", token]);
    for part in ["known", "token 01234567", "school (chosen for the subscriber)", "api: last at "] {
        said(&told, 0, part);
    }
    assert!(is_local(&told.stdout), "{told:?}");
}

#[test]
fn the_end_of_a_lesson_ends_a_word() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "");
    let add = ["allow", "add", "adult.example", "--profile", "school", "--reason", "x", "--by", "an"];
    let made = served.command(&[&add[..], &["--until-window"]].concat());
    // The window is open but for the last minute of the day in Berlin.
    if made.code == 1 {
        return said(&made, 1, "is open now");
    }
    said(&made, 0, "T23:59:00+0");
    said(&served.command(&[&add[..], &["--until-window=lesson"]].concat()), 0, "T23:59:00+0");
    said(
        &served.command(&[&add[..], &["--until-window=night"]].concat()),
        1,
        "has no window `night`; there are lesson",
    );
    said(&served.command(&[&add[..], &["--until-window", "--for", "1 h"]].concat()), 2, "cannot be used with");
}

#[test]
fn a_broken_audit_log_is_told_wherever_somebody_looks() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "");
    for name in ["a.example", "b.example", "c.example"] {
        said(&served.command(&["deny", "add", name, "--for", "1 h", "--reason", "x", "--by", "An"]), 0, "deny");
    }
    said(&served.command(&["orders", "check"]), 0, "nothing waits");
    assert_eq!(served.get("/readyz"), "ready\n");
    let directory = served.kill();
    let log = directory.path().join("state/audit/audit-000000000001.jsonl");
    let mut octets = std::fs::read(&log).unwrap();
    octets[30] ^= 1;
    std::fs::write(&log, octets).unwrap();
    let served = Served::start_in(directory);
    assert!(served.metric_sum("lachan_audit_broken") == 1, "{}", served.log());
    said(&served.command(&["orders", "check"]), 1, "the audit log is broken: ");
    // Filtering goes on, and who may take the node out is not told to.
    let ready = served.get("/readyz");
    assert!(ready.starts_with("ready\n") && ready.contains("the audit log is broken: "), "{ready}");
    said(&served.command(&["healthcheck"]), 0, "ready");
    assert_eq!(Ask::new("a.example", T::A).send(served.v4).rcode(), 3);
}

#[test]
fn an_audit_log_that_is_not_there_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let verify = || ran(lachan(&["audit", "verify"]).env("STATE_DIRECTORY", folder.path()));
    said(&verify(), 3, "audit: there is no audit log; -c FILE");
    std::fs::create_dir(&audit).unwrap();
    std::fs::write(audit.join("key.pub"), "AAAA\n").unwrap();
    said(&verify(), 3, "audit: there is no file of an audit log in it");
    let verify = ran(lachan(&["audit", "verify"]).env("STATE_DIRECTORY", folder.path()).env("LANG", "vi_VN.UTF-8"));
    said(&verify, 3, "không có tệp nhật ký kiểm toán nào");
}

#[test]
fn a_list_that_is_built_in_has_no_version_to_go_back_to() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "[list.gambling]\ncategory = \"gambling\"\nfile = \"builtin:gambling\"\n");
    said(
        &served.command(&["lists", "rollback", "gambling"]),
        1,
        "list `gambling` is built in and changes with the program alone",
    );
}

#[test]
fn what_is_too_long_to_be_said_is_told_by_its_length() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "");
    let deny = |reason: &str| {
        served.command(&[
            "deny",
            "add",
            "x.example",
            "--client",
            "class",
            "--for",
            "5 m",
            "--by",
            "An",
            "--reason",
            reason,
        ])
    };
    said(&deny(&"x".repeat(100_000)), 1, "octets, at most 60000: shorten the reason");
    said(&deny(&"x".repeat(5_000)), 1, "`--reason` is 5000 octets, at most ");
}

#[test]
fn json_keeps_its_words() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "");
    let told: Value =
        serde_json::from_str(&served.command(&["explain", "good.example", "--client", "127.0.0.8", "--json"]).stdout)
            .unwrap();
    assert_eq!((&told["configured"]["name"], &told["configured"]["by"]), (&"class".into(), &"prefix".into()), "{told}");
    assert_eq!((&told["profile_from"], &told["windows"][0]["window"]), (&"prefix".into(), &"lesson".into()), "{told}");
    assert!(told["cache"]["has"].is_string() && told["at"].as_str().unwrap().contains("+0"), "{told}");
}

#[test]
fn whoever_reads_vietnamese_is_told_what_went_wrong_in_it() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, "");
    let add = |more: &[&str]| {
        vietnamese(&served, &[&["deny", "add", "a.example", "--reason", "x", "--by", "an"][..], more].concat())
    };
    for (told, expected) in [
        (add(&["--for", "1 h", "--profile", "no"]), "không có hồ sơ `no`; hiện có: default, school"),
        (add(&["--for", "1 h", "--client", "no"]), "không có [client.no]"),
        (add(&["--until", "soon"]), "không phải thời điểm; hãy viết 17:30"),
        (add(&["--until", "2020-01-01T00:00:00Z"]), "đã qua rồi"),
        (add(&[]), "hãy cho biết khi nào kết thúc: `--for 45m`"),
        (vietnamese(&served, &["lists", "disable", "no"]), "không có danh sách `no`; hiện có: adult"),
        (vietnamese(&served, &["orders", "approve", "9", "--by", "an"]), "không có yêu cầu `9`"),
        (vietnamese(&served, &["deny", "remove", "9"]), "không có deny 9 đang có hiệu lực"),
        (vietnamese(&served, &["explain", "a.example", "--client", "lop-9z"]), "không máy nào có danh tính `lop-9z`"),
    ] {
        said(&told, 1, expected);
    }
    let closed = free_port().to_string();
    let nobody = ran(lachan(&["lists", "status", "--admin", &closed]).env("LANG", "vi_VN.UTF-8"));
    said(&nobody, 3, "không có chương trình nào trả lời tại");
    let help = ran(lachan(&["--help"]).env("LANG", "vi_VN.UTF-8"));
    for part in ["Cách dùng: lachan", "Lệnh:", "Cho biết vì sao một tên bị chặn", "Mã thoát: 0 có"] {
        said(&help, 0, part);
    }
    said(&ran(&mut lachan(&["--help"])), 0, "Usage: lachan");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lachan.toml");
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        ran(lachan(&["check", "-c", config.to_str().unwrap()]).env("LANG", "vi_VN.UTF-8"))
    };
    said(
        &check("[profile.a]\nblok = []\n"),
        1,
        "lachan.toml:2: không có khóa `blok` trong [profile.a]; có phải ý bạn là `block`?",
    );
    said(&check("[profile.a]\nblok = []\n"), 1, "lachan.toml: 1 lỗi");
    said(&check("[profile.default]\nblock = [\"adult\"]\n"), 0, "chặn `adult` nhưng không [list.*] nào thuộc loại này");
    said(&check("[profile.default]\nblock = [\"adult\"]\n"), 0, "chưa có [list.*]");
}
