//! I14: no detour weakens a verdict. Every type × family × transport × flag × verdict says the same thing.

use hickory_proto::rr::RecordType as T;

use crate::harness::client::{Ask, Told};
use crate::harness::resolver::{Files, InProcess};
use crate::harness::secure::{Certificate, Line, WAYS, encrypted};
use crate::harness::upstream::Upstream;

const TYPES: [T; 13] =
    [T::A, T::AAAA, T::HTTPS, T::SVCB, T::MX, T::TXT, T::NS, T::SOA, T::CAA, T::SRV, T::PTR, T::ANY, T::Unknown(65280)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flags {
    Plain,
    DnssecOk,
    CheckingDisabled,
    NoRecursion,
}

const FLAGS: [Flags; 4] = [Flags::Plain, Flags::DnssecOk, Flags::CheckingDisabled, Flags::NoRecursion];

/// A name for each way a question can end.
const BLOCKED: &str = "www.bad.example";
const BLOCKED_TARGET: &str = "cover.example";
const REWRITTEN: &str = "www.google.com.vn";
const LOCAL: &str = "x.onion";
const ALLOWED: &str = "clean.example";

const ZONE: &str = r#"
. 60 IN SOA ns.example. host.example. 1 3600 600 86400 60
cover.example. 300 IN CNAME host.bad.example.
clean.example. 300 IN A 192.0.2.1
clean.example. 300 IN AAAA 2001:db8::1
clean.example. 300 IN HTTPS 1 . alpn=h2
clean.example. 300 IN SVCB 1 . alpn=h2
clean.example. 300 IN MX 10 mx.example.
clean.example. 300 IN TXT "hello"
clean.example. 300 IN NS ns.example.
clean.example. 300 IN CAA 0 issue "ca.example"
clean.example. 300 IN SRV 1 1 53 ns.example.
clean.example. 300 IN PTR ptr.example.
forcesafesearch.google.com. 300 IN A 192.0.2.2
forcesafesearch.google.com. 300 IN AAAA 2001:db8::2
"#;

#[test]
fn no_detour_weakens_a_verdict() {
    let upstream = Upstream::start(ZONE);
    let config = "[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n";
    let certificate = Certificate::new();
    let [chain, key] = certificate.files();
    let mine = ("mine.txt", "bad.example\n");
    let resolver = InProcess::start(&Files { config: encrypted(config, upstream.v4), files: &[mine, chain, key] });
    let mut wrong = Vec::new();
    let mut asked = 0_u64;
    for way in WAYS {
        for v6 in [false, true] {
            let mut line = Line::open(way, &resolver.addresses, v6, &certificate);
            for name in [BLOCKED, BLOCKED_TARGET, REWRITTEN, LOCAL, ALLOWED] {
                for qtype in TYPES {
                    for flags in FLAGS {
                        let ask = Ask {
                            dnssec_ok: flags == Flags::DnssecOk,
                            checking_disabled: flags == Flags::CheckingDisabled,
                            recursion_desired: flags != Flags::NoRecursion,
                            ..Ask::new(name, qtype)
                        };
                        let told = line.ask(&ask);
                        asked += 1;
                        if let Err(why) = judge(name, qtype, flags, &told) {
                            wrong.push(format!("{name} {qtype} {flags:?} {way:?} v6={v6}: {why}"));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(asked, 5 * 13 * 4 * 7 * 2);
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    // I5: each ends in exactly one outcome, and each is counted once.
    assert_eq!(resolver.metric_sum("lachan_queries_total"), asked);
    assert_eq!(resolver.metric_sum("lachan_responses_total"), asked);
    // What is blocked by its own name, or local, never went upstream.
    for qtype in TYPES {
        for name in [BLOCKED, LOCAL] {
            assert_eq!(upstream.count(name, qtype), 0, "{name} {qtype}");
        }
    }
}

fn judge(name: &str, qtype: T, flags: Flags, told: &Told) -> Result<(), String> {
    let rcode = told.rcode();
    let expect = |holds: bool, what: &str| {
        if holds { Ok(()) } else { Err(format!("{what}: rcode {rcode}, {:?}, {:?}", told.answers(), told.ede())) }
    };
    let ede: Vec<u16> = told.ede().iter().map(|(code, _)| *code).collect();
    // RD=0 gets blocks, rewrites and local data; nothing is looked up for it.
    let no_recursion = flags == Flags::NoRecursion;
    match name {
        BLOCKED => expect(
            rcode == 3 && ede == [15] && told.answers().is_empty() && told.soa() == soa("bad.example"),
            "NXDOMAIN with EDE 15 and the rule's SOA",
        ),
        // ANY is never forwarded, so there is no target to look at; RD=0 never gets as far.
        BLOCKED_TARGET if no_recursion => expect(rcode == 5 && told.answers().is_empty(), "REFUSED"),
        BLOCKED_TARGET if qtype == T::ANY => expect(rcode == 0 && told.answers().len() == 1, "HINFO"),
        BLOCKED_TARGET => expect(
            rcode == 3 && ede == [15] && told.answers().is_empty() && told.soa() == soa(BLOCKED_TARGET),
            "NXDOMAIN with EDE 15 and nothing of the chain",
        ),
        LOCAL => expect(rcode == 3 && told.answers().is_empty() && told.soa().is_some(), "NXDOMAIN"),
        REWRITTEN if matches!(qtype, T::A | T::AAAA | T::HTTPS | T::SVCB | T::ANY) => {
            let cname = "www.google.com.vn CNAME forcesafesearch.google.com";
            let records = 1 + usize::from(matches!(qtype, T::A | T::AAAA));
            expect(
                rcode == 0 && told.answers().first().is_some_and(|r| r == cname) && told.answers().len() == records,
                "the engine's CNAME",
            )
        }
        REWRITTEN | ALLOWED if no_recursion => expect(rcode == 5 && told.answers().is_empty(), "REFUSED"),
        REWRITTEN => expect(rcode == 3 && ede.is_empty(), "upstream's NXDOMAIN"),
        ALLOWED if matches!(qtype, T::SOA | T::Unknown(_)) => {
            expect(rcode == 0 && told.answers().is_empty() && told.soa().is_some(), "upstream's NODATA")
        }
        ALLOWED => expect(rcode == 0 && told.answers().len() == 1 && ede.is_empty(), "one record"),
        _ => unreachable!("no such name"),
    }
}

fn soa(owner: &str) -> Option<(String, u32, u32)> {
    Some((owner.to_owned(), 10, 10))
}
