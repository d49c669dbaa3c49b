//! Hours as a person asks about them: `schedule show`, `explain --at`, and what `services list` and `config reference` print.

use serde_json::Value;

use crate::harness::process::{Ran, Served, lachan, ran, run, with_upstream};
use crate::harness::resolver::{Files, config_path, write_files};
use crate::harness::upstream::Upstream;

const CONFIG: &str = r#"
time_zone = "Asia/Ho_Chi_Minh"
[list.games]
category = "games"
file = "games.txt"
[profile.school]
block = []
[profile.school.window.night]
categories = ["games"]
days = ["sun", "mon", "tue", "wed", "thu"]
from = "22:00"
to = "06:00"
[profile.school.window.exam]
mode = "allow-only"
days = ["sat"]
from = "07:30"
to = "09:00"
"#;

fn json(told: &Ran) -> Value {
    assert_eq!(told.code, 0, "{told:?}");
    serde_json::from_str(&told.stdout).unwrap_or_else(|why| panic!("{why}: {}", told.stdout))
}

/// Name, moment, verdict, window, when it closes.
type Case = (&'static str, &'static str, &'static str, Option<&'static str>, Option<&'static str>);

/// 2026-11-26 is a Thursday.
const CASES: &[Case] = &[
    ("www.game.example", "2026-11-26T21:59:59+07:00", "allow", None, None),
    ("www.game.example", "2026-11-26T22:00:00+07:00", "block", Some("night"), Some("2026-11-27T06:00:00+07:00")),
    ("www.game.example", "2026-11-26T22:00:00Z", "block", Some("night"), Some("2026-11-27T06:00:00+07:00")),
    ("www.game.example", "2026-11-27T06:00:00+07:00", "allow", None, None),
    ("other.example", "2026-11-26T22:00:00+07:00", "allow", None, None),
    ("other.example", "2026-11-28T08:00:00+07:00", "block", Some("exam"), Some("2026-11-28T09:00:00+07:00")),
    ("www.game.example", "2035-01-04T23:00:00+07:00", "block", Some("night"), Some("2035-01-05T06:00:00+07:00")),
];

#[test]
fn explain_tells_of_windows_at_any_moment_with_and_without_a_resolver() {
    let upstream = Upstream::start("www.game.example. 300 IN A 192.0.2.1\nother.example. 300 IN A 192.0.2.2\n");
    let files = Files { config: with_upstream(CONFIG, upstream.v4), files: &[("games.txt", "game.example\n")] };
    let served = Served::start(&files);
    let config = config_path(served.directory.path()).to_str().unwrap().to_owned();
    let admin = served.admin.to_string();
    for (name, at, verdict, window, until) in CASES {
        let common = ["explain", name, "--profile", "school", "--at", at, "--json"];
        let online = run(&[&common[..], &["--admin", &admin]].concat());
        let offline = run(&[&common[..], &["--offline", "-c", &config]].concat());
        for told in [json(&online), json(&offline)] {
            assert_eq!(told["verdict"], *verdict, "{name} at {at}: {told}");
            assert_eq!(
                (told["window"].as_str(), told["window_until"].as_str()),
                (*window, *until),
                "{name} at {at}: {told}"
            );
        }
    }
    let told = run(&[
        "explain",
        "www.game.example",
        "--profile",
        "school",
        "--at",
        "2026-11-26T21:00:00+07:00",
        "--admin",
        &admin,
    ]);
    assert!(
        told.stdout.contains("The window `night` will block it from 2026-11-26 22:00 (Asia/Ho_Chi_Minh)"),
        "{told:?}"
    );
    let mut vietnamese = lachan(&[
        "explain",
        "www.game.example",
        "--profile",
        "school",
        "--at",
        "2026-11-26T22:00:00+07:00",
        "--admin",
        &admin,
    ]);
    let told = ran(vietnamese.env("LC_ALL", "vi_VN.UTF-8"));
    assert!(told.stdout.contains("Khung giờ `night` của hồ sơ này đang mở đến 2026-11-27 06:00"), "{told:?}");
    assert!(told.stdout.contains("khung giờ  night: đang mở đến 2026-11-27T06:00:00+07:00"), "{told:?}");
    let told = run(&["explain", "www.game.example", "--at", "tomorrow", "--admin", &admin]);
    assert_eq!((told.code, told.stderr.contains("is no moment")), (2, true), "{told:?}");
}

#[test]
fn schedule_show_tells_what_is_open_and_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &Files { config: CONFIG.to_owned(), files: &[("games.txt", "game.example\n")] });
    let config = config_path(directory.path()).to_str().unwrap().to_owned();
    let show = |more: &[&str]| run(&[&["schedule", "show", "-c", &config][..], more].concat());
    let told = json(&show(&["--json", "--at", "2026-11-26T22:30:00+07:00"]));
    assert_eq!((&told["at"], &told["clock_is_set"]), (&"2026-11-26T22:30:00+07:00".into(), &true.into()), "{told}");
    let school = &told["profiles"][0];
    assert_eq!((&school["profile"], told["profiles"].as_array().unwrap().len()), (&"school".into(), 1), "{told}");
    let night = &school["windows"][0];
    assert_eq!(
        (&night["window"], &night["open"], &night["next_change"]),
        (&"night".into(), &true.into(), &"2026-11-27T06:00:00+07:00".into())
    );
    assert_eq!(night["days"], serde_json::json!(["mon", "tue", "wed", "thu", "sun"]));
    let exam = &school["windows"][1];
    assert_eq!(
        (&exam["mode"], &exam["open"], &exam["next_change"]),
        (&"allow-only".into(), &false.into(), &"2026-11-28T07:30:00+07:00".into())
    );
    assert_eq!(school["changes"][1], serde_json::json!({ "at": "2026-11-28T07:30:00+07:00", "open": ["exam"] }));

    let told = show(&["--at", "2026-11-26T22:30:00+07:00"]);
    assert!(told.stdout.contains("profile school, thu 2026-11-26 22:30 (Asia/Ho_Chi_Minh)"), "{told:?}");
    assert!(told.stdout.contains("blocks games; open, until 2026-11-27 06:00 (Asia/Ho_Chi_Minh)"), "{told:?}");
    let told = show(&["--profile", "family"]);
    assert_eq!((told.code, told.stdout.as_str()), (0, "The profile `family` has no window.\n"), "{told:?}");
    let told = show(&["--profile", "nobody"]);
    assert_eq!((told.code, told.stderr.contains("there is no profile `nobody`")), (1, true), "{told:?}");
    assert_eq!(show(&["--at", "22:00"]).code, 2);
}

#[test]
fn services_and_keys_are_listed_in_both_languages() {
    let told = run(&["services", "list"]);
    assert!(
        told.code == 0 && told.stdout.contains("service:roblox") && told.stdout.contains("games (games)"),
        "{told:?}"
    );
    let told = json(&run(&["services", "list", "--json"]));
    let roblox = told.as_array().unwrap().iter().find(|service| service["name"] == "service:roblox").unwrap();
    assert!(roblox["names"].as_array().unwrap().contains(&"rbxcdn.com".into()), "{roblox}");
    for (language, part) in
        [("en", "When it opens, by the clock on the wall."), ("vi", "Giờ mở, theo đồng hồ treo tường.")]
    {
        let told = run(&["config", "reference", "--lang", language]);
        assert!(
            told.code == 0 && told.stdout.contains(part) && told.stdout.contains("## [profile.NAME.window.NAME]"),
            "{language}"
        );
    }
    assert_eq!(run(&["config", "reference", "--lang", "fr"]).code, 2);
}
