//! Every file of `tests/scenarios`: one behaviour each, as a zone, a configuration, and questions with their answers.
//!
//! A file begins with a sentence and goes on in parts, done in their order:
//!
//!     == zone              what upstream knows (see `harness::upstream`); a second one takes the first one's place
//!     == config            the configuration, `[listen]` aside; without an `[[upstream]]`, the zone's is added.
//!                          `{upstream}` and `{upstream6}` stand for its addresses
//!     == file NAME         a file beside the configuration
//!     == reload RESULT     reads everything again: `ok`, `partial` or `failed`
//!     == say               lines `allow|deny NAME [profile=P] [client=C] [realm=N]` or `pause` with the same, for an hour
//!     == ask               lines `NAME TYPE [HOW…] -> [CODE] [WHAT…]`
//!     == upstream          lines `NAME TYPE [DETAIL…]`: what upstream was asked since the last such part, in any order
//!
//! HOW is of `tcp v6 both from=ADDR behind=ADDR[@REALM] do cd ad rd0 noedns size=N ch`; `both` asks by UDP and TCP over both
//! families, `behind` has a proxy at `from` say that it asks for that address.
//! CODE is a response code, or `silence`. WHAT is of `ad -ad tc -tc ede=N ede=none soa=OWNER/TTL soa=none empty max_ttl=N`
//! and records `[OWNER] TYPE=DATA` (`_` for spaces, the whole answer section in its order, the question's name when no
//! OWNER@ is given).

use std::path::Path;

use hickory_proto::rr::{DNSClass, RecordType};

use lachan::daemon::said::{Asking, Kind};

use crate::harness::client::{Ask, Told, behind_proxy};
use crate::harness::resolver::{Files, InProcess, with_upstream};
use crate::harness::upstream::Upstream;

#[test]
fn every_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "{} scenarios", paths.len());
    let mut failed = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let run = std::thread::Builder::new().name(name.clone()).spawn(move || run(&text)).unwrap();
        if run.join().is_err() {
            failed.push(name);
        }
    }
    // What went wrong in each was printed by its thread.
    assert!(failed.is_empty(), "{}", failed.join(", "));
}

struct Stage {
    upstream: Upstream,
    resolver: InProcess,
    /// Questions of upstream's log that a part has told of.
    told: usize,
}

fn run(text: &str) {
    let mut parts = text.split("\n== ");
    assert!(!parts.next().unwrap().trim().is_empty(), "a scenario begins with a sentence");
    let (mut zone, mut config, mut files) = (String::new(), String::new(), Vec::new());
    let mut stage: Option<Stage> = None;
    let mut failed = Vec::new();
    for part in parts {
        let (head, body) = part.split_once('\n').unwrap_or((part, ""));
        let (kind, argument) = head.split_once(' ').unwrap_or((head, ""));
        match (kind, &mut stage) {
            ("zone", None) => zone = body.to_owned(),
            ("zone", Some(stage)) => stage.upstream.change(body),
            ("config", None) => config = body.to_owned(),
            ("config", Some(stage)) => stage.resolver.write("lachan.toml", &complete(body, &stage.upstream)),
            ("file", None) => files.push((argument.to_owned(), body.to_owned())),
            ("file", Some(stage)) => stage.resolver.write(argument, body),
            ("reload", Some(stage)) => {
                let status = stage.resolver.reload();
                assert_eq!(status.result, argument, "{:?}", status.errors);
            }
            ("say", _) => {
                let stage = stage.get_or_insert_with(|| start(&zone, &config, &files));
                lines(body).for_each(|line| say(stage, line));
            }
            ("ask", _) => {
                let stage = stage.get_or_insert_with(|| start(&zone, &config, &files));
                failed.extend(lines(body).filter_map(|line| ask(stage, line).err()));
            }
            ("upstream", Some(stage)) => failed.extend(upstream(stage, body).err()),
            _ => panic!("no part can be `{head}` here"),
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    assert!(stage.is_some(), "nothing is asked");
}

fn start(zone: &str, config: &str, files: &[(String, String)]) -> Stage {
    let upstream = Upstream::start(zone);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let resolver = InProcess::start(&Files { config: complete(config, &upstream), files: &files });
    Stage { upstream, resolver, told: 0 }
}

fn complete(config: &str, upstream: &Upstream) -> String {
    let config =
        config.replace("{upstream}", &upstream.v4.to_string()).replace("{upstream6}", &upstream.v6.to_string());
    if config.contains("[[upstream]]") {
        return format!("{config}\n[listen]\ndns = [\"127.0.0.1:0\", \"[::1]:0\"]\nadmin = \"off\"\n");
    }
    with_upstream(&config, upstream.v4)
}

fn lines(body: &str) -> impl Iterator<Item = &str> {
    body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn say(stage: &Stage, line: &str) {
    let mut words = line.split_whitespace();
    let kind = match words.next().unwrap() {
        "allow" => Kind::Allow,
        "deny" => Kind::Deny,
        "pause" => Kind::Pause,
        other => panic!("nobody says `{other}`"),
    };
    let (by, reason, lasts) = ("an".into(), "a scenario".into(), Some("1 h".into()));
    let mut asking = Asking { by, reason, lasts, ..Asking::default() };
    for word in words {
        match word.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some(("profile", name)) => asking.profile = Some(name.into()),
            Some(("client", name)) => asking.client = Some(name.into()),
            Some(("realm", number)) => asking.realm = Some(number.parse().unwrap()),
            _ => asking.name = Some(word.into()),
        }
    }
    // Whoever writes a scenario without a scope means everybody.
    asking.everyone = asking.profile.is_none() && asking.client.is_none();
    stage.resolver.reloader.say(kind, &asking).unwrap_or_else(|why| panic!("{line}: {why}"));
}

fn ask(stage: &Stage, line: &str) -> Result<(), String> {
    let (question, expected) = line.split_once("->").unwrap_or_else(|| panic!("no `->`: {line}"));
    let mut words = question.split_whitespace();
    let (name, qtype) = (words.next().unwrap(), record_type(words.next().unwrap()));
    let mut ask = Ask::new(name, qtype);
    let (mut v6, mut both) = (false, false);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("tcp", _) => ask.tcp = true,
            ("v6", _) => v6 = true,
            ("both", _) => both = true,
            ("from", address) => ask.from = Some(address.parse().unwrap()),
            ("behind", client) => {
                let (address, realm) = client.split_once('@').map_or((client, None), |(a, realm)| (a, Some(realm)));
                ask.before = behind_proxy(address.parse().unwrap(), realm);
            }
            ("do", _) => ask.dnssec_ok = true,
            ("cd", _) => ask.checking_disabled = true,
            ("ad", _) => ask.authentic_data = true,
            ("rd0", _) => ask.recursion_desired = false,
            ("noedns", _) => ask.edns = None,
            ("size", octets) => ask.edns = Some(octets.parse().unwrap()),
            ("ch", _) => ask.class = DNSClass::CH,
            _ => panic!("nobody can ask `{word}`: {line}"),
        }
    }
    let ways: &[(bool, bool)] =
        if both { &[(false, false), (false, true), (true, false), (true, true)] } else { &[(ask.tcp, v6)] };
    for &(tcp, v6) in ways {
        let ask = Ask { tcp, ..ask.clone() };
        let server = stage.resolver.at(v6);
        if expected.trim() == "silence" {
            if !ask.is_met_with_silence(server) {
                return Err(format!("{line}\n    something came back"));
            }
            continue;
        }
        let told = ask.send(server);
        let wrong = differences(&ask, &told, expected);
        if !wrong.is_empty() {
            return Err(format!("{line}\n    {}\n    tcp={tcp} v6={v6} {}", wrong.join("; "), describe(&told)));
        }
    }
    Ok(())
}

fn record_type(text: &str) -> RecordType {
    match text.strip_prefix("TYPE") {
        Some(number) => RecordType::from(number.parse::<u16>().unwrap()),
        None => text.parse().unwrap(),
    }
}

fn differences(ask: &Ask, told: &Told, expected: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut is = |holds: bool, word: &str| {
        if !holds {
            wrong.push(format!("not {word}"));
        }
    };
    let mut records = Vec::new();
    let mut sections_said = false;
    for word in expected.split_whitespace() {
        let metadata = &told.message.metadata;
        match word.split_once('=') {
            None if rcode(word).is_some() => is(rcode(word) == Some(told.rcode()), word),
            None if word == "ad" => is(metadata.authentic_data, word),
            None if word == "-ad" => is(!metadata.authentic_data, word),
            None if word == "tc" => is(metadata.truncation, word),
            None if word == "-tc" => is(!metadata.truncation, word),
            None if word == "empty" => sections_said = true,
            Some(("ede", "none")) => is(told.ede().is_empty(), word),
            Some(("ede", code)) => is(told.ede().first().map(|e| e.0) == code.parse().ok(), word),
            Some(("soa", "none")) => is(told.soa().is_none(), word),
            Some(("soa", soa)) => {
                is(
                    told.soa().map(|(owner, ttl, _)| format!("{}/{ttl}", owner.to_ascii_lowercase()))
                        == Some(soa.to_owned()),
                    word,
                );
            }
            Some(("max_ttl", max)) => {
                let max = max.parse::<u32>().unwrap();
                let all = told.message.answers.iter().chain(&told.message.authorities);
                is(all.clone().count() > 0 && all.map(|r| r.ttl).max() <= Some(max), word);
            }
            Some((kind, data)) => {
                let (owner, kind) = kind.split_once('@').map_or((&*ask.name, kind), |(owner, kind)| (owner, kind));
                let owner = owner.to_ascii_lowercase();
                records.push(format!("{owner} {kind} {}", data.replace('_', " ")));
                sections_said = true;
            }
            None => panic!("nothing can be `{word}`"),
        }
    }
    if sections_said {
        let answers: Vec<String> = told.answers().iter().map(|record| lower_owner(record)).collect();
        if answers != records {
            wrong.push(format!("the answer is {answers:?}, not {records:?}"));
        }
    }
    wrong
}

fn lower_owner(record: &str) -> String {
    let (owner, rest) = record.split_once(' ').unwrap();
    format!("{} {rest}", owner.to_ascii_lowercase())
}

fn rcode(word: &str) -> Option<u16> {
    let codes = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    codes.iter().position(|code| *code == word).map(|at| at as u16)
}

fn describe(told: &Told) -> String {
    let ede = told.ede();
    format!(
        "rcode {} {} answers {:?} soa {:?} ede {ede:?}",
        told.rcode(),
        told.message.metadata.flags(),
        told.answers(),
        told.soa()
    )
}

fn upstream(stage: &mut Stage, body: &str) -> Result<(), String> {
    let log = stage.upstream.log();
    let mut asked: Vec<String> = log[stage.told..]
        .iter()
        .map(|asked| {
            let detail = [(asked.tcp, " tcp"), (asked.dnssec_ok, " do"), (asked.checking_disabled, " cd")];
            let detail: String = detail.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
            let options: String = asked.options.iter().map(|code| format!(" option={code}")).collect();
            assert!(asked.recursion_desired, "a forwarder wants recursion: {asked:?}");
            format!("{} {}{detail}{options}", asked.name, asked.qtype)
        })
        .collect();
    stage.told = log.len();
    let mut expected: Vec<String> = lines(body).map(str::to_owned).collect();
    asked.sort();
    expected.sort();
    if asked == expected { Ok(()) } else { Err(format!("upstream was asked {asked:?}, not {expected:?}")) }
}
