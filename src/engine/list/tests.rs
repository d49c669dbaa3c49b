//! Tables of lines, one per format: what each makes, and why the others make nothing.

use super::special::{Action, Condition, From, Owner, Pattern, Record, Rewritten, RuleAnswer, SpecialRule, ZoneAction};
use super::*;

const AUTO: ParseOptions = ParseOptions { format: Format::Auto, bare_reach: None };

fn options(format: Format) -> ParseOptions {
    ParseOptions { format, bare_reach: None }
}

/// The rules as text: `=x` exact, `x` subtree, `*.x` children, `@@` before exceptions; then networks and special rules.
fn rules(set: &RuleSet) -> Vec<String> {
    let effect = |effect| if effect == Effect::Except { "@@" } else { "" };
    let names = set.names().map(|rule| {
        let reach = match rule.reach {
            Reach::Exact => "=",
            Reach::Subtree => "",
            Reach::Children => "*.",
        };
        format!("{}{reach}{}", effect(rule.effect), Name::from_wire(rule.name).unwrap())
    });
    let nets = set.addresses().iter().map(|rule| format!("{}{}", effect(rule.effect), rule.net));
    names.chain(nets).chain(set.specials().iter().map(special)).collect()
}

/// `OWNER [if CONDITION] ACTION`.
fn special(rule: &SpecialRule) -> String {
    let owner = match &rule.owner {
        Owner::Name { name, reach } => {
            let name = Name::from_wire(name).unwrap();
            match reach {
                Reach::Exact => format!("={name}"),
                Reach::Subtree => name.to_string(),
                Reach::Children => format!("*.{name}"),
            }
        }
        Owner::Pattern(Pattern::Regex(source)) => format!("/{source}/"),
        Owner::Pattern(Pattern::Literal { text, from, ends }) => {
            let before = match from {
                From::Start => "^",
                From::Label => "|",
                From::Anywhere => "~",
                From::Word => "word ",
            };
            format!("{before}{text}{}", if *ends { "$" } else { "" })
        }
        Owner::Client(net) => format!("client {net}"),
        Owner::Address(net) => format!("address {net}"),
    };
    let condition = rule.condition.as_ref().map_or(String::new(), |condition| {
        let Condition { types, deny_allow, clients, tags } = &**condition;
        let mut parts = Vec::new();
        parts.extend(types.wanted.iter().map(|rtype| format!("type {}", rtype.0)));
        parts.extend(types.unwanted.iter().map(|rtype| format!("not type {}", rtype.0)));
        parts.extend(deny_allow.iter().map(|name| format!("not {}", Name::from_wire(name).unwrap())));
        parts.extend(clients.wanted.iter().map(|client| format!("{client:?}")));
        parts.extend(clients.unwanted.iter().map(|client| format!("not {client:?}")));
        parts.extend(tags.wanted.iter().map(|tag| format!("tag {tag}")));
        parts.extend(tags.unwanted.iter().map(|tag| format!("not tag {tag}")));
        format!(" if {}", parts.join(" "))
    });
    let bang = |important: bool| if important { "!" } else { "" };
    let action = match &rule.action {
        Action::Block { important } => format!("block{}", bang(*important)),
        Action::Except { important } => format!("except{}", bang(*important)),
        Action::Rewrite { answer, important } => format!("rewrite{} {}", bang(*important), rewritten(answer)),
        Action::Unrewrite { answer, important } => {
            format!("unrewrite{} {}", bang(*important), answer.as_ref().map_or("all".into(), rewritten))
        }
        Action::Review => "review".into(),
        Action::Zone(ZoneAction::Pass) => "pass".into(),
        Action::Zone(ZoneAction::Block) => "zone-block".into(),
        Action::Zone(ZoneAction::Answer(answer)) => match answer {
            RuleAnswer::Nodata => "nodata".into(),
            RuleAnswer::Rcode(rcode) => rcode.as_str().into(),
            RuleAnswer::Drop => "drop".into(),
            RuleAnswer::TcpOnly => "tcp-only".into(),
            RuleAnswer::Records(records) => records.all.iter().map(record).collect::<Vec<_>>().join(" "),
            RuleAnswer::Alias(alias) => {
                format!("CNAME {}{}", if alias.expands { "*." } else { "" }, alias.target)
            }
        },
    };
    format!("{owner}{condition} {action}")
}

fn rewritten(answer: &Rewritten) -> String {
    match answer {
        Rewritten::Rcode(rcode) => rcode.as_str().into(),
        Rewritten::Cname(target) => format!("CNAME {target}"),
        Rewritten::Record(made) => record(made),
    }
}

/// `TYPE DATA`: addresses as such, anything else in hexadecimal.
fn record(record: &Record) -> String {
    let data = match crate::engine::answer::address(record.rtype, &record.rdata) {
        Some(address) => address.to_string(),
        None => record.rdata.iter().map(|octet| format!("{octet:02x}")).collect(),
    };
    format!("{} {data}", record.rtype.0)
}

/// Reads one line behind a good one, so that a bad line is skipped rather than the list refused.
fn check(format: Format, line: &str, expected: Result<&[&str], SkipReason>) {
    let good = match format {
        Format::Hosts => "0.0.0.0 good.example",
        Format::Domains => "good.example",
        Format::Adblock | Format::Auto => "||good.example^",
        Format::Dnsmasq => "local=/good.example/",
        Format::Unbound => "local-zone: \"good.example\" always_nxdomain",
        Format::Rpz => "good.example CNAME .",
        Format::Keywords => "good.example",
    };
    let set = parse(format!("{good}\n{line}\n").as_bytes(), options(format)).unwrap();
    assert_eq!(set.report.format, Some(format), "{line}");
    let mut made = rules(&set);
    let first = made.iter().position(|rule| rule.contains("good.example")).unwrap();
    made.remove(first);
    let reasons: Vec<SkipReason> = set.report.skipped.iter().map(|skip| skip.0).collect();
    match expected {
        Ok(rules) => {
            assert_eq!(made, rules, "{line}");
            assert_eq!(reasons, [], "{line}");
        }
        Err(reason) => {
            assert_eq!(made, [""; 0], "{line}");
            assert_eq!(reasons, [reason], "{line}");
            assert_eq!(set.report.shown[0].line, 2, "{line}");
        }
    }
}

#[test]
fn hosts_lines() {
    let long = format!("::1 toolong{}.example", "a".repeat(64));
    for (line, expected) in [
        ("127.0.1.1 thishost.mydomain.org", Err(SkipReason::RealAddress)),
        ("0.0.0.0 www.ads.example  #[clicks]", Ok(&["=www.ads.example"][..])),
        ("0.0.0.0 h13.test#c", Ok(&["=h13.test"])),
        ("0.0.0.0 h13.test ## c", Ok(&["=h13.test"])),
        ("0.0.0.0 h13.test##c", Ok(&["=h13.test"])),
        ("#0.0.0.0 x.test", Ok(&[])),
        ("# 0.0.0.0 x.test", Ok(&[])),
        ("0.0.0.0 h5.test\r", Ok(&["=h5.test"])),
        ("127.0.0.1\th4.test # c", Ok(&["=h4.test"])),
        ("0.0.0.0 h6.test.", Ok(&["=h6.test"])),
        ("0.0.0.0 H8.TEST", Ok(&["=h8.test"])),
        ("0.0.0.0 under_h12.test", Ok(&["=under_h12.test"])),
        ("0.0.0.0 *.h7.test", Err(SkipReason::Pattern)),
        ("::1 localhost ip6-localhost ip6-loopback", Err(SkipReason::SingleLabel)),
        ("fe80::1%lo0 localhost", Err(SkipReason::RealAddress)),
        ("0.0.0.0%lo0 if.example", Ok(&["=if.example"])),
        ("0.0.0.0", Err(SkipReason::NotAName)),
        ("::1 # localhost # comment", Err(SkipReason::NotAName)),
        ("999.0.0.1 h15.test", Err(SkipReason::BadAddress)),
        ("h9.test", Err(SkipReason::BadAddress)),
        ("||x.test^", Err(SkipReason::BadAddress)),
        ("/regex/", Err(SkipReason::BadAddress)),
        ("1.2.3.4 h16.test", Err(SkipReason::RealAddress)),
        ("0.0.0.0 a.test b.test c.test", Ok(&["=a.test", "=b.test", "=c.test"])),
        (":: v6.test", Ok(&["=v6.test"])),
        ("255.255.255.255 x.test", Ok(&["=x.test"])),
        ("0.0.0.0 0.0.0.0", Err(SkipReason::NotAName)),
        ("0.0.0.0 tài.test", Ok(&["=xn--ti-jia.test"])),
        (long.as_str(), Err(SkipReason::NotAName)),
    ] {
        check(Format::Hosts, line, expected);
    }
}

#[test]
fn a_hosts_line_keeps_its_good_names_and_counts_the_bad_one() {
    let set = parse(b"0.0.0.0 a.test localhost b.test", AUTO).unwrap();
    assert_eq!(rules(&set), ["=a.test", "=b.test"]);
    assert_eq!(set.report.skipped, [(SkipReason::SingleLabel, 1)]);
}

#[test]
fn domain_lines() {
    let long = format!("{}.example", "a".repeat(64));
    let longest = format!("{}.example", "a".repeat(63));
    for (line, expected) in [
        ("example.org", Ok(&["example.org"][..])),
        ("  Example.ORG\t", Ok(&["example.org"])),
        ("example.org.", Ok(&["example.org"])),
        (".xe.example", Ok(&["xe.example"])),
        (".bzh   #Breton", Ok(&["bzh"])),
        ("ngx.example          #Facebook", Ok(&["ngx.example"])),
        ("first.example# comment", Ok(&["first.example"])),
        ("_dmarc.example.org", Ok(&["_dmarc.example.org"])),
        ("-w-w-i-s-.example", Ok(&["-w-w-i-s-.example"])),
        ("xn--4n8hqr.ws", Ok(&["xn--4n8hqr.ws"])),
        ("münchen.example", Ok(&["xn--mnchen-3ya.example"])),
        ("*.example.com", Ok(&["example.com"])),
        ("*.EXAMPLE.com.", Ok(&["example.com"])),
        ("*.co.uk", Ok(&["co.uk"])),
        ("*.", Err(SkipReason::TooWide)),
        ("*", Err(SkipReason::TooWide)),
        (".", Err(SkipReason::TooWide)),
        ("*.*.example.com", Err(SkipReason::Pattern)),
        ("invalid.*.wildcard", Err(SkipReason::Pattern)),
        ("example.*", Err(SkipReason::Pattern)),
        ("*example.com", Err(SkipReason::Pattern)),
        ("/domain\\.(tld|local)/", Ok(&["/domain\\.(tld|local)/ block"])),
        ("/wp-content/", Err(SkipReason::Path)),
        ("/invalid regex ??/", Err(SkipReason::Pattern)),
        ("/a#b$c/", Ok(&["/a#b$c/ block"])),
        ("/", Err(SkipReason::Path)),
        ("104.16.0.0/12", Ok(&["104.16.0.0/12"])),
        ("104.16.3.9/12", Ok(&["104.16.0.0/12"])),
        ("1.2.3.4", Ok(&["1.2.3.4/32"])),
        ("1.2.3.4 # censys.example", Ok(&["1.2.3.4/32"])),
        ("2001:db8::1", Ok(&["2001:db8::1/128"])),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", Ok(&["2001:db8::1/128"])),
        ("0.0.0.0/0", Err(SkipReason::TooWide)),
        ("128.0.0.0/1", Err(SkipReason::TooWide)),
        ("::/0", Err(SkipReason::TooWide)),
        ("1.2.3.4:7773", Err(SkipReason::Path)),
        ("999.0.0.1", Err(SkipReason::NotAName)),
        ("1.2.3.4-1.2.3.9", Err(SkipReason::NotAName)),
        ("http://5.181.159.29/x", Err(SkipReason::Path)),
        ("https://www.example.com", Err(SkipReason::Path)),
        ("shop.example:443/img/", Err(SkipReason::Path)),
        ("shop.example/a/b", Err(SkipReason::Path)),
        ("shop.example/#ce", Err(SkipReason::Path)),
        ("sn99.example:100", Err(SkipReason::Path)),
        ("0.0.0.0.ads.example", Ok(&["0.0.0.0.ads.example"])),
        ("0.0.0.0 ads.example", Ok(&["=ads.example"])),
        ("||ads.example^", Ok(&["ads.example"])),
        ("@@||ok.example^", Ok(&["@@ok.example"])),
        ("[Adblock Plus 3.13", Ok(&[])),
        ("! a comment", Ok(&[])),
        ("; a comment", Ok(&[])),
        ("a.example b.example\tc.example", Ok(&["a.example", "b.example", "c.example"])),
        ("please visit example.com now", Err(SkipReason::NotAName)),
        ("localhost localhost", Err(SkipReason::NotAName)),
        ("localhost", Err(SkipReason::SingleLabel)),
        ("5004com", Err(SkipReason::SingleLabel)),
        ("site.example##.ads", Err(SkipReason::Cosmetic)),
        ("site.example#@#.ads", Err(SkipReason::Cosmetic)),
        ("site.example#?#.ads", Err(SkipReason::Cosmetic)),
        ("site.example#$#body {}", Err(SkipReason::Cosmetic)),
        ("site.example#%#//scriptlet", Err(SkipReason::Cosmetic)),
        ("site.example#@$?#.ads", Err(SkipReason::Cosmetic)),
        ("site.example$$script[x]", Err(SkipReason::Cosmetic)),
        ("DOMAIN-SUFFIX,shop.example", Err(SkipReason::NotAName)),
        ("domain:shop.example", Err(SkipReason::NotAName)),
        ("münchen.example/path", Err(SkipReason::Path)),
        ("*://shop.example/*", Err(SkipReason::Path)),
        ("local=/shop.example/", Err(SkipReason::NotAName)),
        ("address=/shop.example/0.0.0.0", Err(SkipReason::NotAName)),
        ("local-zone: \"shop.example\" always_null", Err(SkipReason::NotAName)),
        ("shop.example CNAME .", Err(SkipReason::NotAName)),
        ("a..example", Err(SkipReason::NotAName)),
        ("..", Err(SkipReason::NotAName)),
        (long.as_str(), Err(SkipReason::NotAName)),
        (longest.as_str(), Ok(&[longest.as_str()])),
        ("nul\0.example", Err(SkipReason::Binary)),
        ("\u{feff}bom.example", Ok(&["bom.example"])),
    ] {
        // A NUL early in a text refuses the whole, so that line comes late.
        if line.contains('\0') {
            let text = format!("{}{line}", "good.example\n".repeat(100));
            let set = parse(text.as_bytes(), options(Format::Domains)).unwrap();
            assert_eq!(set.report.skipped, [(expected.unwrap_err(), 1)]);
            continue;
        }
        check(Format::Domains, line, expected);
    }
}

#[test]
fn adblock_lines() {
    for (line, expected) in [
        ("||example.org^", Ok(&["example.org"][..])),
        ("||EXAMPLE.org^", Ok(&["example.org"])),
        ("||example.org^|", Ok(&["example.org"])),
        ("||example.org|", Ok(&["example.org"])),
        ("||example.org^*", Ok(&["example.org"])),
        ("||example.org/*", Ok(&["example.org"])),
        ("||example.org", Ok(&["|example.org block"])),
        ("||disccrdapp.", Ok(&["|disccrdapp. block"])),
        ("|example.org^", Ok(&["=example.org"])),
        ("|example.org|", Ok(&["=example.org"])),
        ("|example.org", Ok(&["^example.org block"])),
        ("://example.org^", Ok(&["=example.org"])),
        ("://example.org", Ok(&["^example.org block"])),
        ("ample.org|", Ok(&["~ample.org$ block"])),
        ("ample.org^", Ok(&["~ample.org$ block"])),
        (".example.org^", Ok(&["*.example.org"])),
        ("||*.example.org^", Ok(&["*.example.org"])),
        ("*.example.org", Ok(&["*.example.org"])),
        (".example.org", Ok(&["~.example.org block"])),
        ("-ad-loader.", Ok(&["~-ad-loader. block"])),
        ("_prebid_", Ok(&["~_prebid_ block"])),
        ("example.org", Ok(&["=example.org"])),
        ("||ex*ple.org^", Ok(&["/(?:^|\\.)ex.*ple\\.org$/ block"])),
        ("test*.example.org^", Ok(&["/test.*\\.example\\.org$/ block"])),
        ("exam*.com", Ok(&["/exam.*\\.com/ block"])),
        ("|ads*", Ok(&["^ads block"])),
        ("||*cdn.example^", Ok(&["~cdn.example$ block"])),
        ("||*.cdn.", Ok(&["~.cdn. block"])),
        ("ab*", Err(SkipReason::TooWide)),
        ("/sub.", Ok(&["|sub. block"])),
        ("/sub./x.", Err(SkipReason::Path)),
        ("||*.quest^$denyallow=dice.quest", Ok(&["*.quest if not dice.quest block"])),
        ("*$denyallow=com|net", Ok(&[". if not com not net block"])),
        ("*^$denyallow=~com", Err(SkipReason::Modifier)),
        ("*^$denyallow", Err(SkipReason::Modifier)),
        ("||a.example^$dnstype=aaaa|~A", Ok(&["a.example if type 28 block"])),
        ("||a.example^$dnstype=~A|~HTTPS", Ok(&["a.example if not type 1 not type 65 block"])),
        ("||a.example^$dnstype=", Err(SkipReason::Modifier)),
        ("||a.example^$dnstype=A|", Err(SkipReason::Modifier)),
        ("||a.example^$dnstype=NONE", Err(SkipReason::Modifier)),
        ("$dnstype=HTTPS", Ok(&[". if type 65 block"])),
        ("a.example$dnstype=A", Ok(&["~a.example if type 1 block"])),
        ("/^ads/$dnstype=A", Ok(&["/^ads/ if type 1 block"])),
        ("@@||a.example^$dnstype=A", Ok(&["a.example if type 1 except"])),
        (
            "||a.example^$client=192.0.2.0/24|~2001:db8::1",
            Ok(&["a.example if At(192.0.2.0/24) not At(2001:db8::1/128) block"]),
        ),
        ("||a.example^$client='Frank\\'s laptop'", Ok(&["a.example if Named(\"Frank's laptop\") block"])),
        ("||a.example^$client=\"Mom\\, Dad\"|Kids", Ok(&["a.example if Named(\"Kids\") Named(\"Mom, Dad\") block"])),
        ("||a.example^$client=", Err(SkipReason::Modifier)),
        ("||a.example^$client=''", Err(SkipReason::Modifier)),
        ("||a.example^$ctag=pc|~phone", Ok(&["a.example if tag pc not tag phone block"])),
        ("||a.example^$ctag=bad.", Err(SkipReason::Modifier)),
        ("*$client=192.0.2.1,important", Ok(&[". if At(192.0.2.1/32) block!"])),
        ("||1.2.3.4^$important", Ok(&["1.2.3.4/32"])),
        ("||1.2.3.4^$dnstype=A", Err(SkipReason::Modifier)),
        ("||a.example^$dnsrewrite=192.0.2.1", Ok(&["a.example rewrite 1 192.0.2.1"])),
        ("|a.example^$dnsrewrite=b.example,important", Ok(&["=a.example rewrite! CNAME b.example"])),
        ("||a.example^$dnsrewrite=REFUSED", Ok(&["a.example rewrite REFUSED"])),
        ("||a.example^$dnsrewrite=nxdomain;;", Ok(&["a.example rewrite NXDOMAIN"])),
        ("||a.example^$dnsrewrite=NOERROR;TXT;hi; there", Ok(&["a.example rewrite 16 0968693b207468657265"])),
        ("||a.example^$dnsrewrite=", Ok(&["a.example rewrite NOERROR"])),
        ("@@||a.example^$dnsrewrite", Ok(&["a.example unrewrite all"])),
        ("@@||a.example^$dnsrewrite=192.0.2.1", Ok(&["a.example unrewrite 1 192.0.2.1"])),
        ("||a.example^$dnsrewrite=BADKEYWORD", Err(SkipReason::Modifier)),
        ("||a.example^$dnsrewrite=noerror;aaaa;127.0.0.1", Err(SkipReason::Modifier)),
        ("$popup,domain=a.example", Err(SkipReason::Modifier)),
        ("@@||a.example^", Ok(&["@@a.example"])),
        ("@@|a.example^", Ok(&["@@=a.example"])),
        ("@@||a.example", Ok(&["|a.example except"])),
        ("@@a.example", Ok(&["~a.example except"])),
        ("||a.example^$important", Ok(&["a.example block!"])),
        ("@@||a.example^$important", Ok(&["a.example except!"])),
        ("||a.example^$third-party", Err(SkipReason::Modifier)),
        ("||a.example^$all", Err(SkipReason::Modifier)),
        ("||a.example^$doc", Err(SkipReason::Modifier)),
        ("||a.example^$important,dnstype=A", Ok(&["a.example if type 1 block!"])),
        ("||a.example^$unknownmod", Err(SkipReason::Modifier)),
        ("||a.example^$", Err(SkipReason::Modifier)),
        ("||a.example/this$is$path$third-party", Err(SkipReason::Modifier)),
        ("/^ads[0-9]+\\./", Ok(&["/^ads[0-9]+\\./ block"])),
        ("@@/^ads/", Ok(&["/^ads/ except"])),
        ("/(^|\\.)ads\\.example$/", Ok(&["ads.example"])),
        ("@@/^ads\\.example$/", Ok(&["@@=ads.example"])),
        ("/\\.ads\\.example$/", Ok(&["*.ads.example"])),
        ("/(^|\\.)ads\\.example/", Ok(&["/(^|\\.)ads\\.example/ block"])),
        ("/.*/", Err(SkipReason::TooWide)),
        ("/(a{1000}){1000}/", Err(SkipReason::Pattern)),
        ("/(?!www)x/$important", Err(SkipReason::Pattern)),
        ("/banner/ad.js", Err(SkipReason::Path)),
        ("||slack-files.example ^", Err(SkipReason::NotAName)),
        ("||münchen.example^", Ok(&["xn--mnchen-3ya.example"])),
        ("||1.2.3.4^", Ok(&["1.2.3.4/32"])),
        ("||37.49.230.0/24^", Ok(&["37.49.230.0/24"])),
        ("||[2001:db8::1]^", Ok(&["2001:db8::1/128"])),
        ("||0.0.0.0/0^", Err(SkipReason::TooWide)),
        ("||1.2.3.4:8080^", Err(SkipReason::Path)),
        ("||a.example:8080^", Err(SkipReason::Path)),
        ("||a.example/path", Err(SkipReason::Path)),
        ("||a.example/", Err(SkipReason::Path)),
        ("||a.example/x#y", Err(SkipReason::Path)),
        ("||a.example^path^", Err(SkipReason::Path)),
        ("|https://a.example^", Err(SkipReason::Path)),
        ("||", Err(SkipReason::TooWide)),
        ("||^", Err(SkipReason::TooWide)),
        ("||*^", Err(SkipReason::TooWide)),
        ("@@*", Err(SkipReason::TooWide)),
        ("*", Err(SkipReason::TooWide)),
        ("a", Err(SkipReason::SingleLabel)),
        ("||ads", Ok(&["|ads block"])),
        ("|ads^", Err(SkipReason::SingleLabel)),
        ("||ad", Err(SkipReason::TooWide)),
        ("*$third-party", Err(SkipReason::Modifier)),
        ("*$important", Err(SkipReason::TooWide)),
        // The public-suffix guard of the matcher judges these.
        ("||tk^", Ok(&["tk"])),
        ("&ad_box_", Err(SkipReason::Pattern)),
        ("!!!||tk^", Ok(&[])),
        ("! Title: 💊", Ok(&[])),
        ("##.ads", Err(SkipReason::Cosmetic)),
        ("## a comment", Ok(&[])),
        ("site.example##.ads", Err(SkipReason::Cosmetic)),
        ("||tabbed.example^\t# A comment.", Ok(&["tabbed.example"])),
        ("0.0.0.0 a.example b.example # c", Ok(&["=a.example", "=b.example"])),
    ] {
        check(Format::Adblock, line, expected);
    }
}

#[test]
fn dnsmasq_lines() {
    for (line, expected) in [
        ("local=/loc.example/", Ok(&["loc.example"][..])),
        ("server=/srv.example/", Ok(&["srv.example"])),
        ("address=/nx.example/", Ok(&["nx.example"])),
        ("address=/sink.example/0.0.0.0", Ok(&["sink.example"])),
        ("address=/sink.example/::", Ok(&["sink.example"])),
        ("address=/hash.example/#", Ok(&["hash.example"])),
        ("address=/a.example/b.example/192.0.2.1", Ok(&["a.example 1 192.0.2.1", "b.example 1 192.0.2.1"])),
        ("address=/v6.example/2001:db8::1", Ok(&["v6.example 28 2001:db8::1"])),
        ("server=/ok.example/127.0.0.9#5", Ok(&["ok.example pass"])),
        ("server=/ok.example/#", Ok(&["ok.example pass"])),
        ("address=/Upper.EXAMPLE/", Ok(&["upper.example"])),
        ("address=/trail.example./", Ok(&["trail.example"])),
        ("address=/*.wild.example/", Ok(&["*.wild.example"])),
        ("local=/.dot.example/", Ok(&["dot.example"])),
        ("local=/*glob.example/", Ok(&["~glob.example$ zone-block"])),
        ("address=/*glob.example/192.0.2.1", Ok(&["~glob.example$ 1 192.0.2.1"])),
        ("local=/h.example/  # trailing comment", Ok(&["h.example"])),
        ("# local=/h.example/", Ok(&[])),
        ("address=/#/192.0.2.1", Err(SkipReason::TooWide)),
        ("local=//", Err(SkipReason::TooWide)),
        ("local=/j.example", Err(SkipReason::NotAName)),
        ("address=/j.example/nonsense", Err(SkipReason::BadAddress)),
        ("cname=alias.example,target.example", Err(SkipReason::Directive)),
        ("conf-file=/etc/other.conf", Err(SkipReason::Directive)),
        ("server=192.0.2.1", Err(SkipReason::Directive)),
        ("bogus-priv", Err(SkipReason::Directive)),
        ("local=/a b.example/", Err(SkipReason::NotAName)),
        ("local=/tk/", Ok(&["tk"])),
        ("||x.example^", Err(SkipReason::NotAName)),
    ] {
        check(Format::Dnsmasq, line, expected);
    }
}

#[test]
fn unbound_lines() {
    for (line, expected) in [
        ("local-zone: \"nx.example\" always_nxdomain", Ok(&["nx.example"][..])),
        ("local-zone: \"nx.example.\" always_null", Ok(&["nx.example"])),
        ("local-zone: 'q.example' static", Ok(&["q.example"])),
        ("  local-zone: Bare.Example. \"static\" # why", Ok(&["bare.example"])),
        ("local-zone: \"r.example\" always_refuse", Ok(&["r.example REFUSED"])),
        ("local-zone: \"d.example\" inform_deny", Ok(&["d.example drop"])),
        ("local-zone: \"n.example\" always_nodata", Ok(&["n.example nodata"])),
        ("local-zone: \"ok.example\" always_transparent", Ok(&["ok.example pass"])),
        ("local-zone: \"x.example\" block_a", Err(SkipReason::Directive)),
        ("local-zone: \".\" static", Err(SkipReason::TooWide)),
        ("local-zone: \"x..example\" static", Err(SkipReason::NotAName)),
        ("local-data: \"lone.example A 192.0.2.1\"", Ok(&["=lone.example 1 192.0.2.1"])),
        ("local-data: 'lone.example. 60 IN TXT \"hi there\"'", Ok(&["=lone.example 16 086869207468657265"])),
        ("local-data: \"sink.example A 0.0.0.0\"", Ok(&["=sink.example"])),
        ("local-data: \"bad.example A x\"", Err(SkipReason::Record)),
        ("local-data: \"bad.example\"", Err(SkipReason::Record)),
        ("local-data-ptr: \"192.0.2.1 x.example\"", Err(SkipReason::Directive)),
        ("local-zone-tag: x.example \"a\"", Err(SkipReason::Directive)),
        ("server:", Ok(&[])),
        ("# local-zone: \"x.example\" static", Ok(&[])),
        ("x.example", Err(SkipReason::NotAName)),
    ] {
        check(Format::Unbound, line, expected);
    }
    let redirect = "local-zone: \"a.example\" redirect\nlocal-data: \"a.example A 192.0.2.1\"\n\
                    local-data: \"a.example AAAA 2001:db8::1\"\nlocal-zone: \"b.example\" redirect\n\
                    local-data: \"b.example A 0.0.0.0\"";
    let set = parse(redirect.as_bytes(), AUTO).unwrap();
    assert_eq!(set.report.format, Some(Format::Unbound));
    assert_eq!(rules(&set), ["b.example", "a.example 1 192.0.2.1 28 2001:db8::1"]);
}

#[test]
fn policy_zone_records() {
    for (line, expected) in [
        ("nx CNAME .", Ok(&["=nx"][..])),
        ("UPPER.example cname .", Ok(&["=upper.example"])),
        ("*.nx.example CNAME .", Ok(&["*.nx.example"])),
        ("* CNAME .", Ok(&["*.."])),
        ("a.example 60 IN CNAME *.", Ok(&["=a.example nodata"])),
        ("a.example IN 60 CNAME rpz-drop.", Ok(&["=a.example drop"])),
        ("a.example CNAME rpz-tcp-only.", Ok(&["=a.example tcp-only"])),
        ("a.example CNAME RPZ-PASSTHRU.", Ok(&["=a.example pass"])),
        ("a.example CNAME rpz-foo.", Err(SkipReason::Action)),
        ("a.example CNAME safe.example.", Ok(&["=a.example CNAME safe.example"])),
        ("*.a.example CNAME *.garden.example.", Ok(&["*.a.example CNAME *.garden.example"])),
        ("a.example A 192.0.2.1 ; why", Ok(&["=a.example 1 192.0.2.1"])),
        ("a.example TXT \"a;b\" c", Ok(&["=a.example 16 03613b620163"])),
        ("a.example ( A\t192.0.2.1 )", Ok(&["=a.example 1 192.0.2.1"])),
        ("sp\\.ace.example CNAME .", Ok(&["=sp\\.ace.example"])),
        ("under_score.rpz CNAME .", Ok(&["=under_score.rpz"])),
        ("32.1.2.0.192.rpz-ip CNAME .", Ok(&["address 192.0.2.1/32 zone-block"])),
        ("24.0.2.0.192.rpz-client-ip CNAME *.", Ok(&["client 192.0.2.0/24 nodata"])),
        ("48.zz.db8.2001.rpz-ip CNAME rpz-passthru.", Ok(&["address 2001:db8::/48 pass"])),
        ("128.1.zz.db8.2001.rpz-ip A 192.0.2.1", Ok(&["address 2001:db8::1/128 1 192.0.2.1"])),
        ("128.1.0.0.0.0.0.db8.2001.rpz-client-ip CNAME .", Ok(&["client 2001:db8::1/128 zone-block"])),
        ("128.2.0.0.0.0.3.2.2001.1.rpz-ip CNAME .", Err(SkipReason::BadAddress)),
        ("24.1.2.0.192.rpz-ip CNAME .", Err(SkipReason::BadAddress)),
        ("33.1.2.0.192.rpz-ip CNAME .", Err(SkipReason::BadAddress)),
        ("ns.example.rpz-nsdname CNAME .", Err(SkipReason::NeedsRecursion)),
        ("32.1.2.0.192.rpz-nsip CNAME .", Err(SkipReason::NeedsRecursion)),
        ("abs.example. CNAME .", Err(SkipReason::OutOfZone)),
        ("a.*.example CNAME .", Err(SkipReason::Pattern)),
        ("a.example CNAME", Err(SkipReason::Record)),
        ("a.example NONSENSE x", Err(SkipReason::Record)),
        ("a.example A nonsense", Err(SkipReason::Record)),
        ("a.example TXT \"open", Err(SkipReason::Record)),
        ("$INCLUDE other.zone", Err(SkipReason::Directive)),
        ("$TTL 1h", Ok(&[])),
        ("@ NS localhost.", Ok(&[])),
        (" ; a comment", Ok(&[])),
    ] {
        check(Format::Rpz, line, expected);
    }
}

#[test]
fn keyword_lines() {
    let text = "Casino\ncá-độ # a comment\n# only a comment\nab\na.b\na b\n-\n";
    let set = parse(text.as_bytes(), options(Format::Keywords)).unwrap();
    assert_eq!(rules(&set), ["word casino review", "word xn--c--mia7qx52l review"]);
    assert_eq!(set.report.skipped, [(SkipReason::NotAName, 2), (SkipReason::TooWide, 2)]);
    let blocking = set.blocking_keywords(&[keywords::normal("CASINO").unwrap()]);
    assert_eq!(rules(&blocking), ["word casino block", "word xn--c--mia7qx52l review"]);
}

#[test]
fn a_policy_zone_is_read_whole() {
    let text = "$ORIGIN rpz.example.\n$TTL 5m\n@ SOA ns. me. (\n 1 ; serial\n 2 3 4 5 )\n  NS ns.\n\
                a CNAME .\na.rpz.example. A 192.0.2.1\nb 60 A 192.0.2.1\n  A 192.0.2.2\nb CNAME .\n\
                $ORIGIN sub.rpz.example.\nc CNAME d\nother.example. CNAME .\n";
    let set = parse(text.as_bytes(), AUTO).unwrap();
    assert_eq!(set.report.format, Some(Format::Rpz));
    assert_eq!(rules(&set), ["=a", "=b 1 192.0.2.1 1 192.0.2.2", "=c.sub CNAME d.sub.rpz.example"]);
    assert_eq!(set.report.skipped, [(SkipReason::OutOfZone, 1), (SkipReason::Conflict, 2)]);
    let lines: Vec<u32> = set.report.shown.iter().map(|skipped| skipped.line).collect();
    assert_eq!(lines, [14, 8, 11]);
    let Action::Zone(ZoneAction::Answer(RuleAnswer::Records(records))) = &set.specials()[0].action else { panic!() };
    assert_eq!(records.all.iter().map(|record| record.ttl).collect::<Vec<_>>(), [Some(60), Some(300)]);
}

#[test]
fn a_badfilter_takes_out_the_rule_it_names_wherever_that_stands() {
    let text = "||a.example^$badfilter\n||a.example^\n|a.example^\n||b.example^\n||1.2.3.4^\n||1.2.3.4^$badfilter";
    let set = parse(text.as_bytes(), AUTO).unwrap();
    assert_eq!(rules(&set), ["=a.example", "b.example"]);
}

#[test]
fn the_format_is_what_most_of_the_first_lines_are() {
    for (text, format, expected) in [
        ("", Format::Domains, &[][..]),
        ("# only a comment\n", Format::Domains, &[]),
        (
            "a.example\nb.example\n0.0.0.0 c.example\n||d.example^\n",
            Format::Domains,
            &["a.example", "b.example", "=c.example", "d.example"],
        ),
        (
            "127.0.0.1 localhost\n::1 localhost\n0.0.0.0 a.example\nb.example",
            Format::Hosts,
            &["=a.example", "=b.example"],
        ),
        ("||a.example^\nb.example", Format::Adblock, &["a.example", "=b.example"]),
        ("local=/a.example/\naddress=/b.example/", Format::Dnsmasq, &["a.example", "b.example"]),
        ("server:\n  local-zone: \"a.example\" always_null", Format::Unbound, &["a.example"]),
        (
            "$TTL 60\n@ SOA localhost. root.localhost. 1 2 3 4 5\n  NS localhost.\na.example CNAME .",
            Format::Rpz,
            &["=a.example"],
        ),
        ("[Adblock Plus]\na.example\nb.example", Format::Adblock, &["=a.example", "=b.example"]),
        ("site.example##.ads\n@@||x.example^", Format::Adblock, &["@@x.example"]),
        ("*.a.example\n*.b.example", Format::Domains, &["a.example", "b.example"]),
    ] {
        let set = parse(text.as_bytes(), AUTO).unwrap();
        assert_eq!(set.report.format, Some(format), "{text}");
        assert_eq!(rules(&set), expected, "{text}");
    }
}

#[test]
fn match_changes_the_reach_of_bare_names_alone() {
    let text = b"bare.example\n*.star.example\n0.0.0.0 hosts.example\n||pipes.example^\n";
    for (bare_reach, expected) in [
        (None, ["bare.example", "star.example", "=hosts.example", "pipes.example"]),
        (Some(Reach::Exact), ["=bare.example", "star.example", "=hosts.example", "pipes.example"]),
        (Some(Reach::Subtree), ["bare.example", "star.example", "hosts.example", "pipes.example"]),
    ] {
        let set = parse(text, ParseOptions { format: Format::Domains, bare_reach }).unwrap();
        assert_eq!(rules(&set), expected, "{bare_reach:?}");
    }
}

#[test]
fn line_ends_and_marks_do_not_change_what_is_read() {
    let plain = rules(&parse(b"a.example\nb.example", AUTO).unwrap());
    for text in
        [&b"\xef\xbb\xbfa.example\nb.example\n"[..], b"a.example\r\nb.example\r\n", b"\n\n a.example \n\tb.example"]
    {
        assert_eq!(rules(&parse(text, AUTO).unwrap()), plain, "{text:?}");
    }
}

#[test]
fn lines_are_numbered_from_one_and_reports_show_the_first_skipped() {
    let text = format!("# head\r\na.example\r\n\r\nb.example\r\n{}", "localhost\r\n".repeat(20));
    let set = parse(text.as_bytes(), AUTO).unwrap();
    assert_eq!(set.names().map(|rule| rule.line).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(set.report.lines, 24);
    assert_eq!(set.report.skipped, [(SkipReason::SingleLabel, 20)]);
    assert_eq!(set.report.shown.len(), crate::engine::limits::LIST_SKIPPED_SHOWN_MAX);
    assert_eq!(set.report.shown[0].line, 5);
    assert_eq!(set.report.shown[0].text, "localhost");
}

#[test]
fn what_is_no_list_is_refused_whole() {
    assert!(matches!(parse(b"\n<!DOCTYPE html><html>", AUTO), Err(ListError::Html { line: 2, .. })));
    assert!(matches!(parse(b"<HTML>\nx.example", AUTO), Err(ListError::Html { line: 1, .. })));
    assert!(matches!(parse(b"\x1f\x8b\x08\x00", AUTO), Err(ListError::Binary { line: 1 })));
    assert!(matches!(parse(b"a.example\nb\0\n", AUTO), Err(ListError::Binary { line: 2 })));
    // One line that says what the server thinks is no empty list.
    for text in ["404: Not Found", "{\"error\": \"quota\"}", "Not Found\n", "ipset=/a.example/b\n"] {
        assert!(matches!(parse(text.as_bytes(), AUTO), Err(ListError::MostlyBad { .. })), "{text}");
    }
}

#[test]
fn more_than_half_bad_is_refused_from_ten_bad_lines_on() {
    let text = |good: usize, bad: usize| format!("{}{}", "a.example\n".repeat(good), "two words\n".repeat(bad));
    for (good, bad, refused) in [(1, 9, false), (9, 10, true), (10, 10, false), (0, 1, true), (0, 0, false)] {
        let read = parse(text(good, bad).as_bytes(), AUTO);
        assert_eq!(read.is_err(), refused, "{good} good, {bad} bad");
    }
    let Err(error) = parse(text(9, 10).as_bytes(), AUTO) else { panic!("refused above") };
    assert_eq!(error.to_string(), "10 of its 19 lines cannot be read; first, line 10: \"two words\" (not-a-name)");
    // What a good list may hold is not held against it.
    assert!(parse("a.example/path\n".repeat(100).as_bytes(), AUTO).is_ok());
}

#[test]
fn a_line_too_long_or_not_text_is_one_line() {
    let long = "a".repeat(crate::engine::limits::LIST_LINE_OCTETS_MAX + 1);
    let text = [b"good.example\n", long.as_bytes(), b"\nbad\xff.example\nlast.example"].concat();
    let set = parse(&text, AUTO).unwrap();
    assert_eq!(rules(&set), ["good.example", "last.example"]);
    assert_eq!(set.report.skipped, [(SkipReason::TooLong, 1), (SkipReason::NotUtf8, 1)]);
    assert!(set.report.shown.iter().all(|skipped| skipped.text.len() <= 300));
}

#[test]
fn a_junk_line_is_shown_short_and_harmless() {
    let long = "x".repeat(5_000);
    let (cut, wide) = (format!("{}…", "x".repeat(100)), "ữ".repeat(100));
    for (line, want) in [
        (b"plain text".to_vec(), "plain text"),
        ("chữ Việt".into(), "chữ Việt"),
        (b"\x1b[31mred\ttab\0".to_vec(), r"\u{1b}[31mred\ttab\u{0}"),
        ("turned \u{202e}round".into(), r"turned \u{202e}round"),
        (b"not \xff UTF-8".to_vec(), "not \u{fffd} UTF-8"),
        (long.into(), &cut),
        (wide.clone().into(), &wide),
        (format!("{wide}{wide}").into(), &format!("{wide}…")),
        (vec![7; 500], &format!("{}…", r"\u{7}".repeat(20))),
    ] {
        assert_eq!(shown(&line), want, "{line:?}");
    }
}

#[test]
fn an_owner_of_a_zone_is_cut_at_no_half_of_a_character() {
    // Three octets where a dot and an origin of two would be.
    for owner in ["x\u{feff}.", "\u{feff}.", "x\u{1ea3}."] {
        let text = format!("$ORIGIN ab.\n@ SOA a b ( 1 2 3 4 5 )\n{owner} CNAME .\nbad.ab. CNAME .\n");
        let set = parse(text.as_bytes(), ParseOptions { format: Format::Rpz, bare_reach: None }).unwrap();
        assert_eq!((set.rule_count(), &set.report.skipped[..]), (1, &[(SkipReason::OutOfZone, 1)][..]), "{owner}");
    }
}
