//! The examples in `config/` do what they say: who asks, when, for what, and what becomes of it.

use std::path::Path;

use jiff::Timestamp;
use lachan::daemon::reload::Loader;
use lachan::engine::client::{Client, UnixTime};
use lachan::engine::policy::{self, QueryVerdict};
use lachan::engine::query::{CLASS_IN, Question, RecordType};
use lachan::engine::snapshot::Snapshot;

use crate::harness::judge::name;

/// `SOURCE | MOMENT | NAME TYPE | VERDICT`; a moment is in Hà Nội.
fn hold(example: &str, cases: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(example);
    let loaded = Loader::new(Some(path)).load(None, None).unwrap_or_else(|why| panic!("{example}: {why:?}"));
    let mut wrong = Vec::new();
    for case in cases.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = case.split('|').map(str::trim).collect();
        let [source, moment, question, expected] = parts[..] else { panic!("{case}") };
        let told = told(&loaded.generation.snapshot, source, moment, question);
        if told != expected {
            wrong.push(format!("{case}\n    {told}"));
        }
    }
    assert!(wrong.is_empty(), "{example}\n{}", wrong.join("\n"));
}

fn told(snapshot: &Snapshot, source: &str, moment: &str, question: &str) -> String {
    let at = format!("{}:00+07:00", moment.replace(' ', "T")).parse::<Timestamp>().unwrap();
    let at = UnixTime(at.as_second());
    let snapshot = snapshot.clone().with_hours_from(Some(at));
    let source = source.parse().unwrap();
    if !snapshot.access.allows(source) {
        return "stranger".into();
    }
    let client = Client { at, ..snapshot.clients.identify(source) };
    let (qname, qtype) = question.split_once(' ').unwrap();
    let qtype = match qtype {
        "A" => RecordType::A,
        "AAAA" => RecordType::AAAA,
        "HTTPS" => RecordType::HTTPS,
        "MX" => RecordType::MX,
        other => panic!("type {other}"),
    };
    let question = Question { qname: name(qname), qtype, qclass: CLASS_IN };
    match policy::on_query(&snapshot, client, &question, &mut ()) {
        QueryVerdict::Local(_) => "local".into(),
        QueryVerdict::Block(block) => {
            let category = policy::category(&block.reason).map_or("-", |id| snapshot.categories.get(id).name.as_str());
            format!("block {} {category} {:?} {} s", block.reason.rung.as_str(), block.response, block.ttl_secs)
        }
        QueryVerdict::Rewrite(rewrite, _) => format!("rewrite {}", rewrite.rule.target),
        QueryVerdict::Redirect(..) => "redirect".into(),
        QueryVerdict::Allow(permit) => permit.would().map_or("allow".into(), |would| format!("allow, {:?}", would.how)),
    }
}

#[test]
fn the_school_keeps_its_hours() {
    hold(
        "school.toml",
        "
        # Class 6A, in the morning: no games, no way round, YouTube restricted, search safe.
        10.20.61.5   | 2026-11-26 09:00 | www.roblox.com A        | block category games Nxdomain 10 s
        10.20.61.5   | 2026-11-26 09:00 | www.roblox.com HTTPS    | block category games Nxdomain 10 s
        10.20.61.5   | 2026-11-26 09:00 | www.youtube.com A       | rewrite restrict.youtube.com
        10.20.61.5   | 2026-11-26 09:00 | www.google.com.vn A     | rewrite forcesafesearch.google.com
        10.20.61.5   | 2026-11-26 09:00 | vnexpress.net A         | allow
        10.20.61.5   | 2026-11-26 09:00 | www.facebook.com A      | allow
        # The young ones have no social network at any time.
        10.20.11.5   | 2026-11-26 20:00 | www.facebook.com A      | block category social Nxdomain 10 s
        # Boarders: 2026-11-26 is a Thursday, 22:00 to 06:00; Friday's evening is free.
        10.20.110.5  | 2026-11-26 21:59 | www.tiktok.com A        | allow
        10.20.110.5  | 2026-11-26 22:00 | www.tiktok.com A        | block category service:tiktok Nxdomain 10 s
        10.20.110.5  | 2026-11-27 05:59 | www.youtube.com A       | block category service:youtube Nxdomain 10 s
        10.20.110.5  | 2026-11-27 06:00 | www.tiktok.com A        | allow
        10.20.110.5  | 2026-11-27 22:00 | www.tiktok.com A        | allow
        2001:db8:20:110::5 | 2026-11-26 22:00 | www.tiktok.com AAAA | block category service:tiktok Nxdomain 10 s
        # Class 9B during lessons, at noon, on a Saturday's afternoon and on a Sunday.
        10.20.92.5   | 2026-11-26 09:00 | zalo.me A               | block category service:zalo Nxdomain 10 s
        10.20.92.5   | 2026-11-26 12:00 | zalo.me A               | allow
        10.20.92.5   | 2026-11-26 13:30 | www.facebook.com A      | block category social Nxdomain 10 s
        10.20.92.5   | 2026-11-28 14:00 | www.facebook.com A      | allow
        10.20.92.5   | 2026-11-29 09:00 | www.facebook.com A      | allow
        # The exam room.
        10.20.120.5  | 2026-11-26 09:00 | www.wikipedia.org A     | block profile - Nxdomain 10 s
        10.20.120.5  | 2026-11-26 09:00 | www.google.com A        | block profile - Nxdomain 10 s
        10.20.120.5  | 2026-11-26 09:00 | de.example.edu.vn A     | allow
        10.20.120.5  | 2026-11-26 09:00 | pool.ntp.org A          | allow
        10.20.120.5  | 2026-11-26 09:00 | captive.apple.com A     | allow
        # Tried, and looked at.
        10.20.93.5   | 2026-11-26 09:00 | discord.com A           | allow, Shadow
        10.20.93.5   | 2026-11-26 09:00 | www.roblox.com A        | block category games Nxdomain 10 s
        10.20.130.5  | 2026-11-26 09:00 | www.roblox.com A        | allow, Observed
        # Teachers, and guests.
        10.20.200.5  | 2026-11-26 09:00 | www.roblox.com A        | allow
        10.20.200.5  | 2026-11-26 09:00 | www.youtube.com A       | allow
        10.20.250.5  | 2026-11-26 09:00 | adult.block.lachan.example A | block category adult Nxdomain 10 s
        203.0.113.9  | 2026-11-26 09:00 | vnexpress.net A         | stranger
        ",
    );
}

#[test]
fn the_operator_sells_what_it_says() {
    hold(
        "isp.toml",
        "
        # Whoever has asked for nothing.
        100.64.1.1   | 2026-11-26 09:00 | adult.block.lachan.example A | block category adult Nxdomain 10 s
        100.64.1.1   | 2026-11-26 09:00 | www.roblox.com A        | allow
        100.64.1.1   | 2026-11-26 09:00 | www.youtube.com A       | allow
        100.64.1.1   | 2026-11-26 09:00 | www.google.com A        | rewrite forcesafesearch.google.com
        # A family; with quiet nights, but on Friday and Saturday.
        100.80.1.1   | 2026-11-26 23:00 | adult.block.lachan.example A | block category adult Page 10 s
        100.80.1.1   | 2026-11-26 23:00 | www.roblox.com A        | allow
        100.88.1.1   | 2026-11-26 22:29 | www.roblox.com A        | allow
        100.88.1.1   | 2026-11-26 22:30 | www.roblox.com A        | block category games Page 10 s
        100.88.1.1   | 2026-11-26 22:30 | www.tiktok.com A        | block category service:tiktok Page 10 s
        100.88.1.1   | 2026-11-27 23:00 | www.roblox.com A        | allow
        2001:db8:4800::1 | 2026-11-26 22:30 | www.tiktok.com AAAA | block category service:tiktok Page 10 s
        # Gambling is told on a page, the rest is not there.
        100.96.1.1   | 2026-11-26 09:00 | gambling.block.lachan.example A | block category gambling Page 10 s
        100.96.1.1   | 2026-11-26 09:00 | adult.block.lachan.example A | block category adult Nxdomain 10 s
        # A company: mail goes, malware does not, and nobody chooses its content.
        203.0.113.1  | 2026-11-26 09:00 | malware.block.lachan.example A  | block security malware Nxdomain 10 s
        203.0.113.1  | 2026-11-26 09:00 | malware.block.lachan.example MX | allow
        203.0.113.1  | 2026-11-26 09:00 | adult.block.lachan.example A | allow
        203.0.113.1  | 2026-11-26 09:00 | www.google.com A        | allow
        # Who has not paid.
        100.100.1.1  | 2026-11-26 09:00 | vnexpress.net A         | block profile - Page 5 s
        100.100.1.1  | 2026-11-26 09:00 | captive.apple.com A     | block profile - Page 5 s
        100.100.1.1  | 2026-11-26 09:00 | portal.example A        | allow
        100.100.1.1  | 2026-11-26 09:00 | www.momo.vn A           | allow
        100.100.1.1  | 2026-11-26 09:00 | pool.ntp.org A          | allow
        # A town that is looked at.
        100.104.1.1  | 2026-11-26 09:00 | adult.block.lachan.example A | allow, Observed
        100.104.1.1  | 2026-11-26 09:00 | www.google.com A        | allow, Observed
        # A school, and who asked to be left alone: security stays.
        198.51.100.1 | 2026-11-26 09:00 | www.roblox.com A        | block category games Page 10 s
        203.0.113.200 | 2026-11-26 09:00 | adult.block.lachan.example A | allow
        203.0.113.200 | 2026-11-26 09:00 | malware.block.lachan.example A | block security malware Nxdomain 10 s
        192.0.2.9    | 2026-11-26 09:00 | vnexpress.net A         | stranger
        ",
    );
}
