//! Lists in a compiled file: made by the command, served, explained, broken, and found again at the next start.

use hickory_proto::rr::RecordType;

use crate::harness::client::Ask;
use crate::harness::process::{Served, run, with_upstream};
use crate::harness::resolver::Files;
use crate::harness::upstream::Upstream;

const ZONE: &str = "one.example. 300 IN A 192.0.2.1\ntwo.example. 300 IN A 192.0.2.2\n";

fn rcode(served: &Served, name: &str) -> u16 {
    Ask::new(name, RecordType::A).send(served.v4).rcode()
}

/// Compiles two lists, one of them of a category that nobody else declares, into `all.lachan` of the folder.
fn compile(folder: &std::path::Path) -> (serde_json::Value, std::path::PathBuf) {
    let config = "[category.vapes]\nlayer = \"security\"\ntitle_en = \"vaping\"\n\
                  [list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n\
                  [list.smoke]\ncategory = \"vapes\"\nfile = \"smoke.txt\"\n";
    for (file, text) in [("source.toml", config), ("mine.txt", "one.example\n"), ("smoke.txt", "# x\n||two.example^\n")]
    {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let (config, out) = (folder.join("source.toml"), folder.join("all.lachan"));
    let ran = run(&["lists", "compile", "-c", config.to_str().unwrap(), "-o", out.to_str().unwrap(), "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    (serde_json::from_str(&ran.stdout).unwrap(), out)
}

fn config(upstream: &Upstream, file: &std::path::Path) -> String {
    with_upstream(&format!("[list.all]\nformat = \"compiled\"\nfile = \"{}\"\n", file.display()), upstream.v4)
}

#[test]
fn a_compiled_file_brings_its_lists_and_keeps_its_last_good_version() {
    let folder = tempfile::tempdir().unwrap();
    let (told, file) = compile(folder.path());
    assert_eq!((&told["lists"], &told["names"], &told["rules"]), (&2.into(), &2.into(), &2.into()));
    let size = std::fs::metadata(&file).unwrap().len();
    assert_eq!(told["octets"], size);
    for key in ["hot_octets", "cold_octets", "took_ms"] {
        assert!(told[key].is_u64(), "{key}: {told}");
    }
    let upstream = Upstream::start(ZONE);
    let served = Served::start(&Files { config: config(&upstream, &file), files: &[] });
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "www.two.example")), (3, 3));
    let status = served.status();
    let lists: Vec<_> = status["lists"].as_array().unwrap().iter().map(|l| (&l["name"], &l["category"])).collect();
    assert_eq!(lists, [(&"mine".into(), &"malware".into()), (&"smoke".into(), &"vapes".into())]);

    let explained = || -> serde_json::Value {
        let ran = served.command(&["explain", "www.two.example", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let told = explained();
    assert_eq!((&told["list"], &told["line"], &told["rule"]), (&"smoke".into(), &2.into(), &"||two.example^".into()));
    assert!(told["file"].as_str().unwrap().ends_with("smoke.txt"), "{told}");

    // Cut in place: nothing dies, and what was good stays.
    std::fs::write(&file, &std::fs::read(&file).unwrap()[..size as usize - 1]).unwrap();
    std::fs::write(folder.path().join("smoke.txt"), "\n\nother.example\n").unwrap();
    let reload = served.reload("partial");
    assert!(reload["errors"][0].as_str().unwrap().contains("cut short"), "{reload}");
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "www.two.example")), (3, 3));
    // Its text is another now, or gone: the line is told, not a wrong text.
    let told = explained();
    assert_eq!((&told["line"], &told["rule"]), (&2.into(), &"two.example".into()));
    std::fs::remove_file(folder.path().join("smoke.txt")).unwrap();
    assert_eq!(explained()["line"], 2);
}

#[test]
fn a_file_that_was_never_good_stops_the_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = compile(folder.path());
    let mut octets = std::fs::read(&file).unwrap();
    octets[8] = 9;
    std::fs::write(&file, octets).unwrap();
    let config = folder.path().join("lachan.toml");
    std::fs::write(&config, format!("[list.all]\nformat = \"compiled\"\nfile = \"{}\"\n", file.display())).unwrap();
    let ran = run(&["check", "-c", config.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("it is of format 9, and this program reads 1: update lachan"), "{ran:?}");
}

#[test]
fn a_category_beside_the_file_is_that_of_all_its_lists_and_names_must_differ() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = compile(folder.path());
    let config = folder.path().join("lachan.toml");
    let all = format!("[list.all]\nformat = \"compiled\"\nfile = \"{}\"\ncategory = \"gambling\"\n", file.display());
    let explain = |text: &str| {
        std::fs::write(&config, text).unwrap();
        run(&["explain", "one.example", "--offline", "--json", "-c", config.to_str().unwrap()])
    };
    let told: serde_json::Value = serde_json::from_str(&explain(&all).stdout).unwrap();
    assert_eq!((&told["category"], &told["list"]), (&"gambling".into(), &"mine".into()));
    let twice = explain(&format!("{all}[list.mine]\ncategory = \"adult\"\nfile = \"builtin:adult\"\n"));
    assert_eq!(twice.code, 1);
    assert!(twice.stderr.contains("[list.all]: its file brings a list `mine`, and there is another"), "{twice:?}");
}

#[test]
fn the_next_start_needs_no_text_and_a_changed_one_is_read() {
    let upstream = Upstream::start(ZONE);
    let text = with_upstream(
        "state_directory = \"state\"\n[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n",
        upstream.v4,
    );
    let served = Served::start(&Files { config: text, files: &[("mine.txt", "one.example\n")] });
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 0));
    let directory = served.kill();
    let kept = directory.path().join("state/compiled/texts.lachan");
    let first = std::fs::read(&kept).unwrap();

    let served = Served::start_in(directory);
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 0));
    // Another seed would have made other octets: nothing was compiled.
    assert!(std::fs::read(&kept).unwrap() == first);
    served.write("mine.txt", "one.example\ntwo.example\n");
    served.reload("ok");
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 3));
    let directory = served.kill();

    std::fs::write(directory.path().join("mine.txt"), "two.example\n").unwrap();
    let served = Served::start_in(directory);
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (0, 3));
    let directory = served.kill();

    // Damage is noticed, and the text is read.
    std::fs::write(&kept, &std::fs::read(&kept).unwrap()[..200]).unwrap();
    let served = Served::start_in(directory);
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (0, 3));
}
