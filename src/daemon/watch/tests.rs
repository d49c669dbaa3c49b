//! What wakes the watcher, and how long it waits.

use std::os::unix::fs::symlink;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_busy_directory_postpones_nothing_for_ever() {
    let (wake, mut woken) = mpsc::channel(1);
    let busy = tokio::spawn(async move {
        while wake.send(()).await.is_ok() {
            tokio::time::sleep(QUIET / 3).await;
        }
    });
    let before = tokio::time::Instant::now();
    settle(&mut woken).await;
    assert_eq!(before.elapsed(), SETTLE_MAX);
    busy.abort();
}

#[tokio::test(start_paused = true)]
async fn quiet_is_waited_for_once() {
    let (wake, mut woken) = mpsc::channel(1);
    wake.send(()).await.unwrap();
    let before = tokio::time::Instant::now();
    settle(&mut woken).await;
    assert_eq!(before.elapsed(), QUIET);
}

#[test]
fn events_of_other_files_in_the_directory_are_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name);
    // As Kubernetes mounts a ConfigMap: a link to a file behind a link that is replaced.
    std::fs::create_dir(at("..2026")).unwrap();
    std::fs::write(at("..2026/lachan.toml"), "").unwrap();
    symlink("..2026", at("..data")).unwrap();
    symlink("..data/lachan.toml", at("lachan.toml")).unwrap();
    let versions = Versions::from([
        (at("lachan.toml"), Version::Absent),
        (at("conf.d"), Version::Parts(None)),
        (at("new/list.txt"), Version::Absent),
        (at("lists/*.txt"), Version::Group(None)),
    ]);
    let interest = Interest::of(&versions);
    for (name, is_ours) in [
        ("lachan.toml", true),
        ("..data", true),
        ("..2026/lachan.toml", true),
        ("..2026", true),
        ("conf.d", true),
        ("conf.d/10-new.toml", true),
        ("new", true),
        ("new/list.txt", true),
        ("new/other.txt", false),
        ("lists", true),
        ("lists/new.txt", true),
        ("query.log", false),
        ("..2026/other", false),
        ("..2027", false),
    ] {
        assert_eq!(interest.holds(&at(name)), is_ours, "{name}");
    }
    // What is not there yet is heard of where it will come.
    assert_eq!(interest.directories(), [at(""), at("..2026")].map(|p| p.components().collect()).into());
    std::fs::create_dir(at("conf.d")).unwrap();
    assert!(interest.directories().contains(&at("conf.d")));
}

#[test]
fn a_ring_of_links_ends() {
    let folder = tempfile::tempdir().unwrap();
    symlink("b", folder.path().join("a")).unwrap();
    symlink("a", folder.path().join("b")).unwrap();
    assert!(trail(&folder.path().join("a")).len() > LINKS_MAX);
}
