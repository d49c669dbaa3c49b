//! Whole configurations: what is taken, and what each mistake is told as.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::engine::category::{Categories, Layer};
use crate::engine::compile::{ListSource, ProfileSettings, Strangers, YouTube};
use crate::engine::list::{Format, Reach};
use crate::engine::name::Name;
use crate::engine::upstream::Fallback;
use crate::engine::verdict::BlockResponse;

fn good(text: &str) -> Config {
    load_str("t.toml", text, Path::new("/base")).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn mistakes(text: &str) -> Vec<String> {
    match load_str("t.toml", text, Path::new("/base")) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn block_names<'a>(config: &'a Config, profile: &ProfileSettings) -> Vec<&'a str> {
    profile.block.iter().map(|&id| config.policy.categories.get(id).name.as_str()).collect()
}

fn profile<'a>(config: &'a Config, name: &str) -> &'a ProfileSettings {
    config.policy.profiles.iter().find(|p| p.name == name).unwrap()
}

#[test]
fn the_embedded_default_is_read_and_protects() {
    let config = embedded();
    assert_eq!(config.settings.dns, default::LISTEN);
    assert_eq!((config.settings.admin, config.settings.admin_is_default), (Some(default::ADMIN), true));
    assert_eq!(config.hints, []);
    assert!(config.files.is_empty());
    assert!(config.policy.upstreams.is_empty());
    let sources: Vec<_> = config.policy.lists.iter().map(|list| list.source.clone()).collect();
    assert_eq!(sources.len(), default::BUILT_IN_LISTS.len());
    for name in default::BUILT_IN_LISTS {
        assert!(sources.contains(&ListSource::BuiltIn((*name).to_owned())), "{name}");
    }
    // The file documents the defaults, so it must not change any of them.
    let nothing = good("operator.allow = []\n");
    assert_eq!(config.settings, nothing.settings);
    assert_eq!(config.policy.profiles, nothing.policy.profiles);
    let categories = Categories::built_in();
    let shipped: Vec<_> = shipped::NAMES.iter().filter_map(|name| shipped::profile(name, &categories)).collect();
    assert_eq!(config.policy.profiles, shipped);
    assert_eq!(shipped[0], default::default_profile(&categories));
    assert_eq!(config.policy.access, nothing.policy.access);
    assert_eq!(config.policy.cache, nothing.policy.cache);
    assert_eq!(config.policy.block_ttl_secs, nothing.policy.block_ttl_secs);
}

/// What stands behind `# ` in the embedded file is what people uncomment.
#[test]
fn the_examples_in_the_embedded_default_are_read() {
    let mut text = String::new();
    for line in default::EMBEDDED.lines() {
        let code = line.strip_prefix("# ").filter(|rest| {
            let key = rest.split('=').next().unwrap_or("").trim();
            let is_key = rest.contains('=')
                && !key.is_empty()
                && key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_' || c.is_ascii_digit());
            is_key || (rest.starts_with('[') && rest.ends_with(']'))
        });
        text.push_str(code.unwrap_or(line));
        text.push('\n');
    }
    let config = good(&text);
    assert_eq!(config.policy.upstreams[0].servers.len(), 4);
    assert_eq!(config.policy.clients[0].name, "lop-6a");
    assert!(config.policy.categories.id("vapes").is_some());
    assert!(config.settings.tls_roots.is_some());
}

#[test]
fn every_file_in_config_is_read_without_a_hint() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let config = load(&path).unwrap_or_else(|errors| panic!("{errors:#?}"));
        assert_eq!(config.hints, [], "{}", path.display());
        assert_eq!(config.files, [path]);
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once() {
    let text = r#"time_zone = "Asia/Ho_Chi_Minh"
block_ttl = "10 parsecs"

[listen]
dns = ["127.0.0.1:70000", "127.0.0.1:53"]

[access]
allow = ["10.0.0.0/8", "10.1.2.3/16"]

[[upstream]]
servers = [
    "udp://192.0.2.1",
    "tsl://192.0.2.2",
]

[list.adult]
category = "adlut"
file = "adult.txt"

[profile.default]
blok = ["adult"]
safe_search = "yes"

[client.a]
networks = ["10.2.0.0/16"]
profile = "defualt"
"#;
    assert_eq!(
        mistakes(text),
        [
            "t.toml:2: `block_ttl`: \"10 parsecs\" is no duration: \"parsecs\" is no unit of time; \
             write it as \"30 s\", \"10 m\", \"1 hour\" or \"1 day\"",
            "t.toml:5: `dns` in [listen]: \"127.0.0.1:70000\" is no address with a port (0 to 65535); \
             write it as \"192.0.2.1:53\" or \"[2001:db8::1]:53\"",
            "t.toml:8: `allow` in [access]: \"10.1.2.3/16\" has bits set beyond its prefix; did you mean \"10.1.0.0/16\"?",
            "t.toml:13: `servers` in [[upstream]]: \"tsl://192.0.2.2\": \"tsl\" is not one of udp, tcp, tls, https, quic; \
             did you mean \"tls://\"?",
            "t.toml:17: `category` in [list.adult]: undeclared category `adlut`; did you mean `adult`?",
            "t.toml:21: unknown key `blok` in [profile.default]; did you mean `block`?",
            "t.toml:22: `safe_search` in [profile.default] must be true or false, not a string",
            "t.toml:26: [client.a] has undeclared profile `defualt`; did you mean `default`?",
        ]
    );
}

#[test]
fn one_mistake_one_message() {
    const LIST: &str = "category = \"adult\"\nfile = \"a\"\n";
    for (text, want) in [
        ("timezone = \"UTC\"", "t.toml:1: unknown key `timezone`; did you mean `time_zone`?"),
        ("[profil.default]", "t.toml:1: unknown key `profil`; did you mean `profile`?"),
        (
            "[cache]\nblock_ttl = \"10 s\"",
            "t.toml:2: unknown key `block_ttl` in [cache]; it belongs above the first [table] of the file",
        ),
        ("time_zone = \"Asia/Hanoi1\"", "is no time zone of the IANA database"),
        ("mode = \"enforced\"", "`mode`: \"enforced\" is not one of enforce, observe; did you mean `enforce`?"),
        (
            "[listen]\ndot = [\"127.0.0.1:853\"]",
            "t.toml:2: `dot` in [listen] needs a certificate: certificate_file and",
        ),
        ("[listen]\ndoq = [\"127.0.0.1\"]", "\"127.0.0.1\" has no port; did you mean \"127.0.0.1:853\"?"),
        ("[tls]\ncertificate_file = \"a\"", "t.toml:1: [tls] needs `private_key_file`"),
        ("[tls]\nname = \"dns.example\"", "`name` in [tls] is for a table with `certificate_file`"),
        (
            "[listen]\ndns = [\"127.0.0.1:853\"]\ndot = [\"127.0.0.1:853\"]\n[tls]\ncertificate_file = \"a\"\nprivate_key_file = \"b\"",
            "t.toml:3: `dot` in [listen] names 127.0.0.1:853, which `dns` takes already (t.toml:2)",
        ),
        ("[cookies]\nsecret_file = \"\"", "t.toml:2: `secret_file` in [cookies]: is empty"),
        ("[cookies]\nsecret_file = \"nowhere\"", "t.toml:2: `secret_file` in [cookies]: "),
        (
            "[zone_limit]\nfailures_per_second = 5",
            "t.toml:1: [zone_limit] needs `mode`, for example `mode = \"dry-run\"`",
        ),
        (
            "[zone_limit]\nmode = \"enforce\"\nspare = [\"a..b\"]",
            "t.toml:3: `spare` in [zone_limit]: \"a..b\" is no zone",
        ),
        ("[cookies]\nsecret = \"a\"", "t.toml:2: unknown key `secret` in [cookies]"),
        (
            "[rate_limit]\nmisses_per_second = 5",
            "t.toml:1: [rate_limit] needs `mode`, for example `mode = \"dry-run\"`",
        ),
        ("[rate_limit]\nmode = \"on\"", "t.toml:2: `mode` in [rate_limit]: \"on\" is not one of off, dry-run, enforce"),
        (
            "[rate_limit]\nmode = \"enforce\"\namplified_per_second = \"1 B\"",
            "t.toml:3: `amplified_per_second` in [rate_limit]: \"1 B\" is 1 octets, must be 1 KiB to 1 GiB",
        ),
        (
            "[client.a]\nnetworks = [\"10.0.0.0/8\"]\nprofile = \"default\"\nlines = 0",
            "t.toml:4: `lines` in [client.a]",
        ),
        (
            "[list.a]\ncategory = \"adult\"\nfile = \"a\"\nurl = \"https://a.example/\"",
            "t.toml:4: [list.a] has `file` and `url`; give one of them",
        ),
        (
            "[list.a]\nfile = \"a\"\nformat = \"compiled\"\nmatch = \"exact\"",
            "t.toml:4: `match` in [list.a]: a compiled file was made with its own; compile it again",
        ),
        ("[list.a]\nfile = \"builtin:adult\"\nformat = \"compiled\"", "a starter list is not compiled"),
        ("[list.a]\nformat = \"compiled\"", "`file`"),
        (
            "[list.a]\ncategory = \"adult\"\nfile = \"a\"\nrefresh = \"6h\"",
            "t.toml:4: `refresh` in [list.a] is for a table with `url`",
        ),
        (
            "[list.a]\ncategory = \"adult\"\nurl = \"https://a.example/\"\nrefresh = \"1 s\"",
            "`refresh` in [list.a]: \"1 s\" is out of bounds, must be 5 minutes to 30 days",
        ),
        (
            "[list.a]\ncategory = \"adult\"\nurl = \"https://a.example/\"\nsha256 = \"abc\"",
            "`sha256` in [list.a]: \"abc\" is no SHA-256",
        ),
        (
            "[list.a]\ncategory = \"adult\"\nurl = \"https://a.example/\"\nminisign_key = \"abc\"",
            "`minisign_key` in [list.a]: \"abc\" is no minisign key",
        ),
        (
            "[list.a]\ncategory = \"adult\"\nurl = \"http://a.example/\"",
            "t.toml:3: `url` in [list.a]: http proves nothing about what comes; take https",
        ),
        ("[list.a]\ncategory = \"adult\"\nurl = \"ftp://a.example/\"", "lists are fetched by https, not by \"ftp\""),
        ("[list.a]\ncategory = \"adult\"\nurl = \"a.example\"", "\"a.example\" is no URL"),
        ("[list.a]\ncategory = \"adult\"\nurl = \"https://me:pw@a.example/\"", "a user name or password in a URL"),
        (
            "[list.a]\ncategory = \"adult\"\nfile = \"*/a.txt\"",
            "t.toml:3: `file` in [list.a]: a pattern may stand in the last part only, as in \"lists/*.txt\"",
        ),
        ("[list.a]\ncategory = \"adult\"\nfile = \"lists/[a.txt\"", "`file` in [list.a]: \"[a.txt\" is no pattern"),
        ("[list.a]\ncategory = \"adult\"\nfile = \"a\"\nformat = \"host\"", "did you mean `hosts`?"),
        (
            "[list.a]\ncategory = \"adult\"\nfile = \"builtin:adlt\"",
            "there is no starter list `adlt`; did you mean `adult`?",
        ),
        ("[list.a]\ncategory = \"adult\"", "t.toml:1: [list.a] needs `file`"),
        ("[list.a]\nfile = \"a\"", "t.toml:1: [list.a] needs `category`"),
        ("[list]\na = 1", "t.toml:2: `a` in [list] must be a table of its own, [list.NAME], not an integer"),
        ("list = 1", "t.toml:1: `list` must be tables: [list.NAME], not an integer"),
        ("[upstream]\nservers = [\"192.0.2.1\"]", "`upstream` must be an array of tables: [[upstream]], not a table"),
        ("[[upstream]]\n", "t.toml:1: [[upstream]] needs `servers`"),
        ("[[upstream]]\nservers = []", "`servers` in [[upstream]] is empty"),
        ("[[upstream]]\nservers = [\"192.0.2.1\"]\ntier = 0", "`tier` in [[upstream]] is 0, must be 1 to 255"),
        ("[[upstream]]\nservers = [\"192.0.2.1\"]\nzones = [\"a..b\"]", "\"a..b\" is no zone"),
        (
            "[[upstream]]\nservers = [\"192.0.2.1\"]\nzones = [\"x.onion\"]",
            "zone x.onion never goes upstream: `onion` is answered here",
        ),
        ("[[upstream]]\nservers = [\"127.0.0.1:5354\"]", "t.toml:2: upstream 127.0.0.1:5354 is this resolver itself"),
        (
            "[[upstream]]\nservers = [\"udp://localhost:5354\"]",
            "t.toml:2: upstream 127.0.0.1:5354 is this resolver itself",
        ),
        (
            "[listen]\ndns = [\"[::1]:53\"]\n[[upstream]]\nservers = [\"tcp://a.localhost\"]",
            "upstream [::1]:53 is this",
        ),
        (
            "[listen]\ndns = [\"0.0.0.0:53\"]\n[[upstream]]\nservers = [\"tcp://127.0.0.1\"]",
            "t.toml:4: upstream 127.0.0.1:53 is this resolver itself",
        ),
        (
            "[listen]\ndns = [\"[::]:53\"]",
            "t.toml:2: it listens on [::]:53, beyond loopback, so it needs an [[upstream]]",
        ),
        ("[listen]\ndns = []", "`dns` in [listen] is empty"),
        ("[listen]\ndns = \"127.0.0.1:53\"", "`dns` in [listen] must be an array of strings, not a string"),
        ("[listen]\ndns = [\"127.0.0.1:53\", \"127.0.0.1:53\"]", "names 127.0.0.1:53 twice: here and at t.toml:2"),
        (
            "[listen]\nadmin = \"of\"",
            "\"of\" is no address with a port (0 to 65535); write it as \"192.0.2.1:9153\" or \"[2001:db8::1]:9153\" (or \"off\")",
        ),
        ("[listen]\ndns = [\"127.0.0.1:9\"]\nadmin = \"127.0.0.1:9\"", "which `dns` takes already"),
        ("bootstrap = [\"dns.example\"]", "`bootstrap`: \"dns.example\" is no address"),
        ("[access]\nstrangers = \"block\"", "`strangers` in [access]: \"block\" is not one of refuse, drop"),
        ("[cache]\nsize = \"256 MB\"", "write \"256 MiB\""),
        ("[cache]\nsize = \"1 KiB\"", "must be at least 1 MiB"),
        ("[cache]\nserve_stale = \"30 days\"", "\"30 days\" is out of bounds, must be 0 to 7 days"),
        ("[cache]\nmax_client_ttl = 0", "\"0\" is out of bounds, must be 1 s to 1 day"),
        ("[cache]\nsize = 1.5", "must be a number with its unit, as a string, not a float"),
        ("block_ttl = \"5 s\"", "\"5 s\" is out of bounds, must be 10 s to 60 s"),
        ("block_ttl = \"10 s 500 ms\"", "must be whole seconds"),
        ("[operator]\ndeny = [\"a b\"]", "\"a b\" is no name"),
        ("rebind_protection = 1", "`rebind_protection` must be true or false, not an integer"),
        ("rebind_allow = [\"\"]", "is no name"),
        ("[page]\nv4 = \"127.0.0.1\"", "cannot be the address of a notice page"),
        ("[category.Vapes]\n", "lower-case letters"),
        ("[category.a]\nlayer = \"contents\"", "did you mean `content`?"),
        (
            "[profile.a]\nblock = [\"malware\"]",
            "`malware` is a security category; those are always on unless `security = false`",
        ),
        (
            "[profile.a]\nblock = [\"game\"]",
            "t.toml:2: `block` in [profile.a]: undeclared category `game`; did you mean `games`?",
        ),
        ("[profile.a]\ninherit = \"b\"", "[profile.a] inherits undeclared profile `b`"),
        ("[profile.a]\ninherit = \"a\"", "t.toml:2: profiles inherit in a circle: a → a"),
        (
            "[profile.a]\ninherit = \"b\"\n[profile.b]\ninherit = \"a\"",
            "t.toml:2: profiles inherit in a circle: a → b → a",
        ),
        ("[profile.a]\nblock_response = \"page\"", "answers with a page, so [page] needs `v4` or `v6`"),
        ("[profile.a]\nyoutube = true", "`youtube` in [profile.a] must be a string, not a boolean"),
        ("[client.a]\nprofile = \"default\"", "[client.a] needs `networks`"),
        ("[client.a]\nnetworks = [\"10.0.0.0/8\"]\nprofile = \"default\"\ntags = [\"a tag\"]", "\"a tag\" is no tag"),
        (
            "[list.a]\ncategory = \"adult\"\nfile = \"a\"\nblock_keywords = [\"casino\"]",
            "`block_keywords` in [list.a] is for lists with format = \"keywords\"",
        ),
        (
            "[list.a]\ncategory = \"adult\"\nfile = \"a\"\nformat = \"keywords\"\nblock_keywords = [\"a b\"]",
            "\"a b\" is no keyword",
        ),
        ("[client.a]\nnetworks = [\"10.0.0.0/8\"]", "[client.a] needs `profile`"),
        (
            "[client.a]\nnetworks = [\"10.0.0.0/8\"]\nprofile = \"default\"\n[client.b]\nnetworks = [\"10.0.0.0/8\"]\nprofile = \"default\"",
            "t.toml:5: 10.0.0.0/8 belongs to two clients: [client.b] here and [client.a] at t.toml:2",
        ),
        (
            "[client.a]\nids = [\"lớp-6a\"]\nprofile = \"default\"",
            "t.toml:2: `ids` in [client.a]: \"lớp-6a\" is no identity: 1 to 63 letters, digits and hyphens, as in \"lop-6a\"",
        ),
        ("[client.a]\nids = []\nprofile = \"default\"", "`ids` in [client.a] is empty"),
        (
            "[client.a]\nids = [\"x\"]\nprofile = \"default\"\n[client.b]\nids = [\"X\"]\nprofile = \"default\"",
            "t.toml:5: `X` belongs to two clients: [client.b] here and [client.a] at t.toml:2",
        ),
        (
            "[client.a]\nlisteners = [\"192.0.2.53\"]\nprofile = \"default\"\n[client.b]\nlisteners = [\"192.0.2.53\"]\n\
             profile = \"default\"",
            "t.toml:5: the listener 192.0.2.53 belongs to two clients: [client.b] here and [client.a] at t.toml:2",
        ),
        (
            "[client.a]\nlisteners = [\"192.0.2.53:53\"]\nprofile = \"default\"",
            "`listeners` in [client.a]: \"192.0.2.53:53\" is no address; write it without a port",
        ),
        ("[client.a]\nlisteners = [\"0.0.0.0\"]\nprofile = \"default\"", "nobody can ask at this address"),
        (
            "[client.a]\nids = [\"a\"]\nrealm = \"x\"\nprofile = \"default\"\n[realm.x]\nnumber = 1",
            "t.toml:3: `realm` in [client.a] is for a table with `networks`",
        ),
        (
            "[client.a]\nnetworks = [\"10.0.0.0/8\"]\nrealm = \"bng-2\"\nprofile = \"default\"\n[realm.bng-1]\nnumber = 1",
            "t.toml:3: [client.a] is in undeclared realm `bng-2`; did you mean `bng-1`?",
        ),
        ("[realm.a]\nlisteners = [\"192.0.2.1\"]", "t.toml:1: [realm.a] needs `number`"),
        ("[realm.a]\nnumber = 65535", "`number` in [realm.a] is 65535, must be 1 to 65534"),
        ("[realm.a]\nnumber = 1\n[realm.b]\nnumber = 1", "t.toml:3: [realm.b] has the number of [realm.a], 1"),
        (
            "[realm.a]\nnumber = 1\nlisteners = [\"192.0.2.1\"]\n[realm.b]\nnumber = 2\nlisteners = [\"192.0.2.1\"]",
            "t.toml:6: `listeners` in [realm.b]: 192.0.2.1 is [realm.a]'s",
        ),
        (
            "[access]\nproxies = [\"0.0.0.0/0\"]",
            "`proxies` in [access] holds 0.0.0.0/0: then anyone may say to be anyone",
        ),
        ("[access]\ntrusted = [\"::/0\"]", "`trusted` in [access] holds ::/0: then anyone may say to be anyone"),
        ("[access]\nproxy_realm_tlv = 230", "t.toml:2: `proxy_realm_tlv` in [access] is for a table with `proxies`"),
        (
            "[access]\nproxies = [\"192.0.2.1\"]\nproxy_realm_tlv = 200",
            "`proxy_realm_tlv` in [access] is 200, must be 224 to 239",
        ),
        (
            "[access]\nproxies = [\"192.0.2.1\"]\nproxy_realm_tlv = 224",
            "t.toml:1: `proxy_identity_tlv` and `proxy_realm_tlv` in [access] are both 224",
        ),
        (
            "[contact]\ntel = [\"111\"]",
            "t.toml:2: `tel` in [contact]: \"111\" does not say where it is a number; write it as \"111;phone-context=+84\"",
        ),
        ("[contact]\ntel = [\"call me\"]", "\"call me\" is no telephone number"),
        ("[contact]\ntel = [\"+841\", \"+842\", \"+843\"]", "`tel` in [contact] has 3 elements, at most 2"),
        ("[contact]\nmailto = [\"help\"]", "\"help\" is no mail address"),
        ("[contact]\norganization = \" \"", "`organization` in [contact]: is empty"),
        ("[contact]\nlanguage = \"fr\"", "`language` in [contact]: \"fr\" is not one of vi, en"),
        ("a = ", "t.toml:1: not valid TOML"),
    ] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text:?}: {found:#?}");
        assert!(found[0].contains(want), "{text:?}: {}", found[0]);
    }
    let many: String = (0..1100).map(|i| format!("[list.l{i}]\n{LIST}")).collect();
    let found = mistakes(&many);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("at most 1024"), "{}", found[0]);
}

#[test]
fn keys_become_settings_and_policy() {
    let config = good(
        r#"
time_zone = "UTC"
block_ttl = "60 s"
rebind_protection = true
rebind_allow = ["home.example"]
state_directory = "state"
node_name = "n1"
drain_timeout = 2
bootstrap = ["192.0.2.53", "[2001:db8::53]:5353"]
upstream_ca_file = "/etc/ca.pem"
[listen]
dns = ["127.0.0.1:0", "127.0.0.1:0"]
udp_engine = "portable"
udp_workers = 3
udp_pinned = true
admin = "off"
[access]
allow = ["192.0.2.0/24"]
strangers = "drop"
[[upstream]]
zones = [".", "Example.COM"]
servers = ["192.0.2.1", "tls://dns.example"]
tier = 2
trust_ad = true
[[upstream]]
zones = ["truong.local"]
servers = ["192.0.2.9"]
fallback = "parent"
[cache]
size = "1 GiB"
serve_stale = "off"
max_client_ttl = "30 m"
[operator]
allow = ["a.example"]
deny = ["=b.example", "*.c.example"]
[list.mine]
category = "vapes"
format = "hosts"
match = "subtree"
file = "lists/mine.txt"
required = false
public_suffixes = "obey"
[list.theirs]
category = "adult"
url = "https://Lists.Example/adult.txt.gz?x=1"
refresh = "6h"
sha256 = "00000000000000000000000000000000000000000000000000000000000000FF"
allow_private = true
[list.fetched]
category = "adult"
url = "https://lists.example/"
[category.vapes]
title_vi = "thuốc lá điện tử"
[category.adult]
title_en = "18+"
[page]
v4 = "192.0.2.80"
"#,
    );
    let Settings {
        admin,
        admin_is_default,
        state_directory,
        bootstrap,
        tls_roots,
        drain_timeout,
        time_zone,
        list_urls,
        dns,
        dot,
        doh,
        doq,
        tls,
        udp,
        orders: _,
        popular: _,
        subscribers: _,
    } = config.settings;
    assert_eq!((dot, doh, doq, tls), (Vec::new(), Vec::new(), Vec::new(), None));
    assert_eq!(udp, UdpSettings { engine: Engine::Portable, workers: Some(3), pinned: true });
    let urls: Vec<_> = list_urls.iter().map(|u| (&*u.list, u.url.as_str(), u.refresh, u.allow_private)).collect();
    let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
    assert_eq!(
        urls,
        [
            ("theirs", "https://lists.example/adult.txt.gz?x=1", 6 * hour, true),
            ("fetched", "https://lists.example/", day, false)
        ]
    );
    assert_eq!(list_urls[0].sha256.map(|sum| (sum[0], sum[31])), Some((0, 255)));
    assert_eq!((admin, admin_is_default, dns.len()), (None, false, 2));
    assert_eq!(state_directory.unwrap(), Path::new("/base/state"));
    assert_eq!(tls_roots.unwrap(), Path::new("/etc/ca.pem"));
    assert_eq!(bootstrap, ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:5353".parse().unwrap()]);
    assert_eq!((drain_timeout, time_zone.as_str()), (Duration::from_secs(2), "UTC"));

    let policy = config.policy;
    assert_eq!(policy.access, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(policy.strangers, Strangers::Drop);
    assert_eq!(policy.upstreams[0].zones, [Name::ROOT, Name::from_text("example.com").unwrap()]);
    assert_eq!((policy.upstreams[0].tier, policy.upstreams[0].trust_ad), (2, true));
    assert_eq!((policy.upstreams[1].tier, policy.upstreams[1].fallback), (1, Fallback::Parent));
    assert_eq!(policy.cache.size, 1 << 30);
    assert_eq!(policy.cache.serve_stale, Duration::ZERO);
    assert_eq!(policy.cache.max_client_ttl, Duration::from_secs(1800));
    let reaches: Vec<Reach> = policy.operator_deny.iter().map(|(_, reach)| *reach).collect();
    assert_eq!(reaches, [Reach::Exact, Reach::Children]);
    assert_eq!(policy.operator_allow, [(Name::from_text("a.example").unwrap(), Reach::Subtree)]);
    assert_eq!(policy.lists[2].source, ListSource::Url("https://lists.example/".into()));
    let list = &policy.lists[0];
    assert_eq!(list.source, ListSource::File("/base/lists/mine.txt".into()));
    assert_eq!((list.options.format, list.options.bare_reach), (Format::Hosts, Some(Reach::Subtree)));
    assert_eq!((list.required, list.obey_public_suffixes), (false, true));
    let vapes = policy.categories.get(list.category);
    assert_eq!((vapes.layer, vapes.title_vi.as_str()), (Layer::Content, "thuốc lá điện tử"));
    let adult = policy.categories.get(policy.categories.id("adult").unwrap());
    assert_eq!((adult.title_en.as_str(), adult.title_vi.as_str()), ("18+", "nội dung người lớn"));
    assert_eq!((policy.page_v4.is_some(), policy.page_v6.is_some()), (true, false));
    assert_eq!((policy.block_ttl_secs, policy.rebind_protection, policy.node_name.as_str()), (60, true, "n1"));
    assert_eq!(policy.rebind_allow, [Name::from_text("home.example").unwrap()]);
}

#[test]
fn a_profile_takes_what_it_does_not_say_from_its_parent() {
    let config = good(
        r#"
[profile.c]
inherit = "b"
youtube = "strict"
[profile.b]
inherit = "default"
block = ["games"]
safe_search = false
[profile.alone]
block = []
[profile.default]
block = ["adult"]
block_response = "refused"
allow = ["a.example"]
"#,
    );
    let order: Vec<&str> = config.policy.profiles.iter().map(|p| p.name.as_str()).collect();
    let shipped = ["family", "school", "unfiltered", "business", "walled-garden"];
    assert_eq!(order[..4], ["default", "c", "b", "alone"]);
    assert_eq!(order[4..], shipped);
    let c = profile(&config, "c");
    assert_eq!(block_names(&config, c), ["games"]);
    assert_eq!((c.safe_search, c.youtube, c.block_response), (false, YouTube::Strict, BlockResponse::Refused));
    assert_eq!(c.allow.len(), 1);
    // Without `inherit` the built-in defaults hold, not those of [profile.default].
    let alone = profile(&config, "alone");
    assert!(alone.block.is_empty());
    assert!(alone.allow.is_empty());
    assert_eq!((alone.safe_search, alone.block_response), (true, BlockResponse::Nxdomain));
}

#[test]
fn an_undeclared_default_profile_is_the_built_in_one_and_can_be_inherited() {
    let config = good("[profile.a]\ninherit = \"default\"\nsecurity = false");
    assert_eq!(block_names(&config, profile(&config, "default")), default::DEFAULT_PROFILE_BLOCK);
    assert_eq!(block_names(&config, profile(&config, "a")), default::DEFAULT_PROFILE_BLOCK);
    assert!(profile(&config, "default").security);
    assert!(!profile(&config, "a").security);
}

#[test]
fn clients_find_their_profile_and_may_ask() {
    let client = "[client.a]\nnetworks = [\"203.0.113.0/24\"]\nprofile = \"p\"\n[profile.p]\n";
    let config = good(client);
    assert_eq!(config.policy.profiles[config.policy.clients[0].profile].name, "p");
    let net = "203.0.113.0/24".parse().unwrap();
    assert!(config.policy.access.contains(&net));
    assert!(config.policy.access.len() > 1);
    let config = good(&format!("{client}[access]\nallow = []\n"));
    assert_eq!(config.policy.access, [net]);
}

#[test]
fn clients_are_known_by_what_they_say_and_by_where_they_ask() {
    let config = good(
        "[realm.bng-1]\nnumber = 7\nlisteners = [\"192.0.2.7\"]\n\
         [access]\ntrusted = [\"192.0.2.0/28\"]\nproxies = [\"198.51.100.1\"]\nproxy_identity_tlv = 230\n\
         [client.a]\nids = [\"LOP-6A\", \"a0:b1:c2:d3:e4:f5\"]\nlisteners = [\"192.0.2.53\"]\nprofile = \"default\"\n\
         [client.b]\nnetworks = [\"100.64.0.0/10\"]\nrealm = \"bng-1\"\nprofile = \"default\"\n\
         [client.c]\nnetworks = [\"100.64.0.0/10\"]\nprofile = \"default\"\n",
    );
    let [a, b, c] = &config.policy.clients[..] else { panic!("three clients") };
    let of = |text| crate::engine::identity::configured(text).unwrap();
    assert_eq!(a.ids, [of("lop-6a"), of("A0-B1-C2-D3-E4-F5")]);
    assert_eq!((a.listeners.len(), a.realm.0, b.realm.0, c.realm.0), (1, 0, 7, 0));
    let peers = &config.policy.peers;
    assert_eq!((peers.identity_tlv, peers.realm_tlv, peers.realms.len()), (230, 0xe1, 1));
    for net in ["192.0.2.0/28", "198.51.100.1/32"] {
        assert!(config.policy.access.contains(&net.parse().unwrap()), "who speaks for others may ask: {net}");
    }
}

#[test]
fn contacts_begin_with_the_hotline_unless_others_are_given() {
    let contact = |text| good(text).policy.contact;
    assert_eq!(contact("time_zone = \"UTC\"").uris, ["tel:111;phone-context=+84"]);
    assert_eq!(
        contact("[contact]\nmailto = [\"a@example.vn\"]").uris,
        ["tel:111;phone-context=+84", "mailto:a@example.vn"]
    );
    let own = contact("[contact]\ntel = [\"tel:+84-24-1\"]\norganization = \"Ví Dụ\"\nlanguage = \"en\"");
    assert_eq!((own.uris, own.organization.as_deref()), (vec!["tel:+84-24-1".to_owned()], Some("Ví Dụ")));
}

#[test]
fn what_is_probably_not_meant_is_a_hint() {
    for (text, want) in [
        (
            "[contact]\ntel = [\"+84-24-1\"]",
            "t.toml:2: `tel` in [contact] leaves out the hotline for children, \"111;phone-context=+84\"",
        ),
        (
            "[access]\nallow = [\"0.0.0.0/0\"]",
            "t.toml:2: `allow` in [access] holds 0.0.0.0/0: anyone on the internet may ask",
        ),
        ("[profile.a]\nblock = [\"games\"]", "[profile.a] blocks `games`, but no [list.*] has this category"),
        ("[listen]\nadmin = \"0.0.0.0:9153\"", "whoever reaches it reads metrics and status"),
        ("[[upstream]]\nservers = [\"192.0.2.1\"]\nfallback = \"parent\"", "the root has no parent"),
        ("[client.a]\nnetworks = [\"10.0.0.0/8\", \"10.0.0.0/8\"]\nprofile = \"default\"", "names 10.0.0.0/8 twice"),
        (
            "[operator]\nallow = [\"lachan.example\"]",
            "t.toml:2: `allow` in [operator] covers canary.block.lachan.example",
        ),
        ("[operator]\nallow = [\"*.block.lachan.example\"]", "stays blocked"),
        ("[operator]\nallow = [\"=block.lachan.example\"]", "stays blocked"),
        ("[operator]\nallow = [\"=canary.block.lachan.example\"]", "stays blocked"),
        (
            "[listen]\ndns = [\"0.0.0.0:53\",\n\"127.0.0.1:53\"]\n[[upstream]]\nservers = [\"192.0.2.1\"]",
            "t.toml:3: `dns` in [listen] holds 127.0.0.1:53 and 0.0.0.0:53 (t.toml:2): the second will find its address in use",
        ),
        (
            "[listen]\ndns = [\"0.0.0.0:53\"]\nadmin = \"127.0.0.1:53\"\n[[upstream]]\nservers = [\"192.0.2.1\"]",
            "t.toml:3: `admin` in [listen] is 127.0.0.1:53, but `dns` holds 0.0.0.0:53",
        ),
        ("[access]\nallow = []", "t.toml:1: `allow` in [access] is empty and there is no [client.*]: nobody may ask"),
        (
            "[listen]\ndns = [\"0.0.0.0:53\"]\n[access]\nallow = [\"127.0.0.1\"]\n[[upstream]]\nservers = [\"192.0.2.1\"]",
            "t.toml:3: it listens on 0.0.0.0:53, but [access] lets nobody beyond this machine ask",
        ),
        (
            "[[upstream]]\nservers = [\"192.0.2.1\",\n\"udp://192.0.2.1\"]",
            "t.toml:3: `servers` names udp://192.0.2.1 twice",
        ),
        ("[[upstream]]\nservers = [\"192.0.2.1:853\"]", "udp://192.0.2.1:853: this port is usually that of tls"),
        ("[[upstream]]\nservers = [\"tls://192.0.2.1:53\"]", "tls://192.0.2.1:53: this port is usually that of udp"),
        ("bootstrap = [\"127.0.0.1:5354\"]", "`bootstrap` holds 127.0.0.1:5354, which is this resolver itself"),
        (
            "rebind_allow = [\"lan.example\"]",
            "t.toml:1: `rebind_allow` spares names from `rebind_protection`, which is off",
        ),
        ("[page]\nv4 = \"192.0.2.80\"", "t.toml:2: [page] is sent to nobody"),
        (
            "[list.a]\ncategory = \"adult\"\nfile = \"x\"\n[list.b]\ncategory = \"adult\"\nfile = \"x\"",
            "t.toml:4: [list.b] has file and category of [list.a] (t.toml:1)",
        ),
        (
            "[profile.default]\nblock = []\nallow = [\"a.example\"]\ndeny = [\"a.example\"]",
            "t.toml:3: [profile.default] allows a.example and denies it (t.toml:4): at a tie, allow wins",
        ),
        ("[operator]\nallow = [\"*.com\"]", "t.toml:2: `allow` in [operator] takes in every name below `com`"),
    ] {
        let hints = hints(text);
        assert_eq!(hints.len(), 1, "{text:?}: {hints:#?}");
        assert!(hints[0].contains(want), "{text:?}: {}", hints[0]);
    }
    assert_eq!(hints("[profile.a]\nblock = [\"unsafe-search\"]").len(), 0);
    for text in [
        "[listen]\ndns = [\"0.0.0.0:53\", \"[::]:53\"]\n[[upstream]]\nservers = [\"192.0.2.1\"]",
        "[listen]\ndns = [\"127.0.0.1:0\", \"0.0.0.0:0\"]\n[[upstream]]\nservers = [\"192.0.2.1\", \"tcp://192.0.2.1\"]",
        "[[upstream]]\nservers = [\"tls://192.0.2.1:443\", \"https://192.0.2.1:8443\", \"quic://192.0.2.1:853\"]",
    ] {
        assert_eq!(hints(text).len(), 0, "{text:?}");
    }
    assert_eq!(hints("[operator]\nallow = [\"=lachan.example\", \"adult.block.lachan.example\"]").len(), 0);
}

/// Without those about lists, which most short texts have none of.
fn hints(text: &str) -> Vec<String> {
    let hints = good(text).hints.into_iter().map(|hint| hint.to_string());
    hints.filter(|hint| !hint.contains("there is no [list.*]") && !hint.contains("as it is shipped")).collect()
}

#[test]
fn what_is_blocked_without_a_list_is_told_with_how_to_add_one() {
    let malware = "[list.m]\ncategory = \"malware\"\nfile = \"m\"\n";
    let told = |text: &str| good(text).hints.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (text, expected) in [
        (
            "time_zone = \"UTC\"".to_owned(),
            vec![
                "t.toml:1: there is no [list.*]: profiles block no category, and no malware either; add [list.adult] with \
                  category = \"adult\" and file = \"builtin:adult\"",
            ],
        ),
        (
            format!("{malware}[profile.default]\nblock = [\"adult\"]"),
            vec![
                "t.toml:5: [profile.default] blocks `adult`, but no [list.*] has this category; add [list.adult] with \
                  category = \"adult\" and file = \"builtin:adult\" (a short starter list)",
            ],
        ),
        (
            malware.to_owned(),
            vec![
                "t.toml:1: profile `default` blocks adult, gambling, violence, drugs, self-harm as it is shipped, but no",
            ],
        ),
        (
            format!(
                "{malware}[profile.default]\nblock = []\n[client.a]\nnetworks = [\"10.0.0.0/8\"]\nprofile = \"family\""
            ),
            vec![
                "t.toml:8: profile `family` blocks adult, gambling, violence, drugs, self-harm, dating, piracy, bypass as",
            ],
        ),
        // A parent that says what it blocks is told of once.
        (
            format!(
                "{malware}[category.vapes]\n[profile.default]\nblock = [\"vapes\"]\n[profile.b]\ninherit = \"default\""
            ),
            vec![
                "t.toml:6: [profile.default] blocks `vapes`, but no [list.*] has this category; add [list.vapes] with \
                  category = \"vapes\" and a `file` or `url` of your own",
            ],
        ),
        (format!("{malware}[profile.default]\nblock = []"), vec![]),
    ] {
        let told = told(&text);
        assert_eq!(told.len(), expected.len(), "{text}: {told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{text}: {told}");
        }
    }
}

#[test]
fn a_bad_address_of_a_page_is_one_mistake() {
    let told = mistakes("[page]\nv4 = \"127.0.0.3\"\n[profile.default]\nblock_response = \"page\"");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("t.toml:2: `v4` in [page]"), "{told:?}");
}

#[test]
fn profiles_fit_as_long_as_their_entries_do() {
    let file = |count: usize, deny: &str| -> String {
        (0..count).map(|i| format!("[profile.p{i}]\ndeny = [{deny}]\n")).collect()
    };
    for (text, fits) in [
        (file(510, ""), true),
        (file(1_500, ""), true),
        (file(510, "\"a.example\""), true),
        (file(1_024, "\"a.example\""), false),
    ] {
        let errors = load_str("t.toml", &text, Path::new("/")).err().unwrap_or_default();
        assert_eq!(errors.is_empty(), fits, "{errors:?}");
        assert!(errors.iter().all(|why| why.message.contains("lists, at most 1024 (")), "{errors:?}");
    }
}

#[test]
fn conf_d_merges_and_each_file_has_its_own_base() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("conf.d")).unwrap();
    std::fs::write(
        path("lachan.toml"),
        "[operator]\ndeny = [\"a.example\"]\n[list.one]\ncategory = \"adult\"\nfile = \"1\"\n",
    )
    .unwrap();
    std::fs::write(
        path("conf.d/10-more.toml"),
        "[operator]\ndeny = [\"b.example\"]\n[list.two]\ncategory = \"adult\"\nfile = \"2\"\n",
    )
    .unwrap();
    let config = load(&path("lachan.toml")).unwrap();
    assert_eq!(config.files, [path("lachan.toml"), path("conf.d/10-more.toml")]);
    assert_eq!(config.policy.operator_deny.len(), 2);
    let sources: Vec<_> = config.policy.lists.iter().map(|list| list.source.clone()).collect();
    assert_eq!(sources, [ListSource::File(path("1")), ListSource::File(path("conf.d/2"))]);

    std::fs::write(path("conf.d/20-bad.toml"), "[list.one]\nfile = \"3\"\n[cash]\n").unwrap();
    std::fs::write(path("conf.d/30-bad.toml"), "= 1\n").unwrap();
    let errors: Vec<String> = load(&path("lachan.toml")).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors[0].contains("20-bad.toml:2: `file` in [list.one] is set twice: here and at "), "{}", errors[0]);
    assert!(errors[0].ends_with("lachan.toml:5"), "{}", errors[0]);
    assert!(errors[1].contains("20-bad.toml:3: unknown key `cash`; did you mean `cache`?"), "{}", errors[1]);
    assert!(errors[2].contains("30-bad.toml:1: not valid TOML"), "{}", errors[2]);
}

#[test]
fn what_cannot_be_read_says_which_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    let errors = load(&path).unwrap_err();
    assert!(errors[0].to_string().starts_with(&format!("{}: cannot be read: ", path.display())), "{}", errors[0]);
    std::fs::write(&path, b"# a\n# \xff\n").unwrap();
    assert_eq!(load(&path).unwrap_err()[0].to_string(), format!("{}:2: not UTF-8", path.display()));
}

#[test]
fn an_empty_file_is_an_error_and_not_a_resolver_that_filters_nothing() {
    for text in ["", "\n\n", "# everything is commented out\n"] {
        let errors = load_str("t.toml", text, Path::new("/")).unwrap_err();
        assert!(errors[0].to_string().contains("t.toml:1: it holds no setting"), "{errors:?}");
    }
}

/// Files with secrets, and a configuration that names them.
fn subscribers(folder: &Path, text: &str) -> Result<Config, Vec<String>> {
    for (file, secret) in [
        ("api.token", "a-token-that-is-long-enough\n"),
        ("short", "abc\n"),
        ("key16", "000102030405060708090a0b0c0d0e0f\n"),
        ("key32", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
        ("radius", "testing123\n"),
    ] {
        std::fs::write(folder.join(file), secret).unwrap();
    }
    load_str("t.toml", text, folder).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn subscribers_are_taken_with_their_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
        [subscribers]
        api_token_file = "api.token"
        state_key_file = "key32"
        token_key_files = ["key16", "key16"]
        interim_interval = "5 min"
        [[subscribers.nat]]
        inside = "100.64.0.0/16"
        realm = 3
        outside = "203.0.113.0/24"
        ports_per_subscriber = 252
        [subscribers.radius]
        listen = ["127.0.0.1:1813"]
        token_from = ["User-Name"]
        [subscribers.radius.client.bng]
        networks = ["10.0.0.0/24", "10.0.0.9/32"]
        secret_file = "radius"
        realm = 3
        [subscribers.radius.client.other]
        networks = ["10.0.0.8/29"]
        secret_file = "radius"
    "#;
    let told = subscribers(folder.path(), text).unwrap().settings.subscribers.unwrap();
    assert_eq!(told.api_token, Some(Secret(b"a-token-that-is-long-enough".to_vec())));
    assert_eq!(told.state_key.map(|key| (key[1], key[31])), Some((1, 31)));
    assert_eq!((told.token_keys.len(), told.interim, told.nats.len()), (2, Duration::from_secs(300), 1));
    let radius = told.radius.unwrap();
    let client = |address: &str| radius.client(address.parse().unwrap());
    assert_eq!(
        [client("10.0.0.1"), client("10.0.0.9"), client("10.0.0.10"), client("::ffff:10.0.0.10")],
        [Some(0), Some(0), Some(1), Some(1)]
    );
    assert_eq!(client("10.0.1.1"), None);
    assert!(!format!("{radius:?}").contains("testing"), "secrets are not shown");
    assert_eq!(good("mode = \"enforce\"").settings.subscribers, None);
}

#[test]
fn mistakes_about_subscribers_are_told_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let radius = "[subscribers]\ntoken_key_files = [\"key16\"]\n[subscribers.radius]\nlisten = [\"127.0.0.1:1813\"]\n";
    let with_radius = |more: &str| format!("{radius}{more}");
    for (text, expected) in [
        ("[subscribers]\napi_token_file = \"short\"".to_owned(), "t.toml:2: `api_token_file` in [subscribers]: "),
        ("[subscribers]\napi_token_file = \"nowhere\"".to_owned(), "t.toml:2: `api_token_file` in [subscribers]: "),
        ("[subscribers]\nstate_key_file = \"key16\"".to_owned(), "must be 64 hexadecimal digits"),
        ("[subscribers]\ntoken_key_files = [\"key32\"]".to_owned(), "must be 32 hexadecimal digits"),
        ("[subscribers]\ntoken_key_files = [\"key16\", \"key16\", \"key16\"]".to_owned(), "t.toml:2: `token_key_files` in [subscribers] has more than 2"),
        ("[subscribers]\ninterim_interval = \"1 s\"".to_owned(), "t.toml:2: `interim_interval` in [subscribers]: "),
        ("[subscribers]\napi_token_fil = \"a\"".to_owned(), "t.toml:2: unknown key `api_token_fil` in [subscribers]; did you mean"),
        ("[[subscribers.nat]]\ninside = \"100.64.0.0/16\"".to_owned(), "t.toml:1: [[subscribers.nat]] needs `outside`"),
        (
            "[[subscribers.nat]]\ninside = \"100.64.0.0/10\"\noutside = \"203.0.113.0/24\"\nports_per_subscriber = 252".to_owned(),
            "t.toml:1: [[subscribers.nat]]: 100.64.0.0/10 has 4194304 addresses",
        ),
        ("[[subscribers.nat]]\ninside = \"::/64\"\noutside = \"203.0.113.0/24\"\nports_per_subscriber = 9".to_owned(), "t.toml:2: `inside` in [[subscribers.nat]]: \"::/64\" is IPv6"),
        (radius.to_owned(), "t.toml:3: [subscribers.radius] needs `client.NAME`"),
        (with_radius("[subscribers.radius.client.a]\nnetworks = [\"10.0.0.1\"]"), "t.toml:5: [subscribers.radius.client.a] needs `secret_file`"),
        (with_radius("[subscribers.radius.client.a]\nnetworks = [\"10.0.0.1\"]\nsecret_file = \"short\""), "t.toml:7: `secret_file` in [subscribers.radius.client.a]: "),
        (with_radius("token_from = [\"Mail\"]\n[subscribers.radius.client.a]\nnetworks = [\"10.0.0.1\"]\nsecret_file = \"radius\""), "t.toml:5: `token_from` in [subscribers.radius]: "),
        (
            "[subscribers.radius]\nlisten = [\"127.0.0.1:1813\"]\n[subscribers.radius.client.a]\nnetworks = [\"10.0.0.1\"]\nsecret_file = \"radius\"".to_owned(),
            "t.toml:2: [subscribers] needs `token_key_files`",
        ),
    ] {
        let told = subscribers(folder.path(), &text).map(|_| ()).unwrap_err();
        assert!(told.iter().any(|why| why.contains(expected)), "{text}: {told:#?}");
        assert!(!told.iter().any(|why| why.contains("abc")), "a secret is not repeated: {told:#?}");
    }
}

/// A school with hours and a few ways of its own.
const HOURS: &str = r#"
time_zone = "Europe/Berlin"
mode = "observe"
observe_percent = 25
[page]
v4 = "192.0.2.80"
[profile.school]
inherit = "school"
time_zone = "Asia/Ho_Chi_Minh"
shadow = ["social", "service:tiktok"]
safe_search_except = ["bing"]
security_for = "addresses"
block_ttl = "5 s"
mode = "enforce"
[profile.school.block_responses]
gambling = "page"
"service:roblox" = "refused"
[profile.school.window.night]
categories = ["games", "service:roblox"]
days = ["SUN", "mon"]
from = "22:00"
to = "06:00"
[profile.school.window.exam]
mode = "allow-only"
days = ["sat"]
time_zone = "UTC"
[profile.class]
inherit = "school"
[profile.class.window.night]
mode = "off"
[profile.class.window.lesson]
categories = ["social"]
days = ["mon", "tue", "wed", "thu", "fri"]
from = "07:00"
to = "11:30"
[profile.garden]
mode = "walled-garden"
[client.a]
networks = ["10.1.0.0/16"]
profile = "business"
mode = "enforce"
"#;

#[test]
fn hours_and_ways_of_profiles_are_read_and_inherited() {
    use crate::engine::compile::Mode;
    use crate::engine::schedule::WindowMode;
    use crate::engine::snapshot::Unlisted;

    let config = good(HOURS);
    let policy = &config.policy;
    assert_eq!((policy.observe.mode, policy.observe.percent), (Mode::Observe, 25));
    assert_eq!(policy.clients[0].mode, Some(Mode::Enforce));
    assert_eq!(policy.profiles[policy.clients[0].profile].name, "business");

    let school = profile(&config, "school");
    assert_eq!((school.youtube, school.mode, school.block_ttl_secs), (YouTube::Strict, Some(Mode::Enforce), Some(5)));
    assert!(block_names(&config, school).contains(&"unsafe-search") && school.security_for_addresses);
    assert_eq!(school.safe_search_except, ["bing"]);
    let names = |ids: &[crate::engine::category::CategoryId]| -> Vec<String> {
        ids.iter().map(|id| policy.categories.get(*id).name.clone()).collect()
    };
    assert_eq!(names(&school.shadow), ["social", "service:tiktok"]);
    let responses: Vec<_> = school.block_responses.iter().map(|(id, response)| (names(&[*id]), *response)).collect();
    assert_eq!(responses.len(), 2);
    assert!(responses.contains(&(vec!["service:roblox".into()], BlockResponse::Refused)));
    let shown = |profile: &ProfileSettings| -> Vec<String> {
        let windows = profile.windows.iter().map(|window| {
            let zone = window.zone.iana_name().unwrap();
            let mode = if window.mode == WindowMode::Block { "block" } else { "allow-only" };
            format!(
                "{} {mode} {}-{} {zone} {}",
                window.name,
                window.from,
                window.to,
                names(&window.categories).join(" ")
            )
        });
        windows.collect()
    };
    assert_eq!(
        shown(school),
        ["night block 22:00-06:00 Asia/Ho_Chi_Minh games service:roblox", "exam allow-only 00:00-24:00 UTC "]
    );
    assert_eq!(
        shown(profile(&config, "class")),
        ["exam allow-only 00:00-24:00 UTC ", "lesson block 07:00-11:30 Asia/Ho_Chi_Minh social"]
    );
    let garden = profile(&config, "garden");
    assert_eq!(
        (garden.unlisted, garden.block_response, garden.block_ttl_secs),
        (Unlisted::Portal, BlockResponse::Page, Some(5))
    );
    // A service brings its names along, once, and those that nobody names stay out.
    let services: Vec<_> = policy.lists.iter().map(|list| list.name.as_str()).collect();
    assert_eq!(services, ["service:roblox", "service:tiktok"]);
}

#[test]
fn mistakes_in_hours_are_told_with_their_tables() {
    let window = |keys: &str| format!("[profile.a.window.w]\n{keys}");
    let good_keys = "categories = [\"games\"]\ndays = [\"mon\"]\n";
    for (text, expected) in [
        (window("categories = [\"games\"]"), "t.toml:1: [profile.a.window.w] needs `days`"),
        (window("days = [\"mon\"]"), "[profile.a.window.w] needs `categories`"),
        (window(&format!("{good_keys}from = \"22:00\"")), "[profile.a.window.w] needs `to`"),
        (window(&format!("{good_keys}to = \"22:00\"")), "[profile.a.window.w] needs `from`"),
        (window(&format!("{good_keys}from = \"22:00\"\nto = \"22:00\"")), "opens and closes at the same time"),
        (window(&format!("{good_keys}from = \"24:00\"\nto = \"01:00\"")), "`from` in [profile.a.window.w] is 24:00"),
        (window(&format!("{good_keys}from = \"8:00\"\nto = \"09:00\"")), "\"8:00\" is no time of day"),
        (window(&format!("{good_keys}from = \"08:00\"\nto = \"24:01\"")), "\"24:01\" is no time of day"),
        (window(&format!("{good_keys}from = \"08:60\"\nto = \"09:00\"")), "\"08:60\" is no time of day"),
        (window(&format!("{good_keys}from = 8\nto = \"09:00\"")), "`from` in [profile.a.window.w] must be a string"),
        (window("categories = [\"games\"]\ndays = [\"thứ hai\"]"), "is not one of mon, tue"),
        (window("categories = [\"games\"]\ndays = []"), "`days` in [profile.a.window.w] is empty"),
        (window("categories = [\"game\"]\ndays = [\"mon\"]"), "undeclared category `game`; did you mean `games`?"),
        (window("categories = [\"malware\"]\ndays = [\"mon\"]"), "`malware` is a security category"),
        (window(&format!("mode = \"allow-only\"\n{good_keys}")), "blocks whatever the profile's `allow` does not hold"),
        (window(&format!("mode = \"allow\"\n{good_keys}")), "is not one of block, allow-only, off"),
        (window(&format!("time_zone = \"Hanoi\"\n{good_keys}")), "did you mean \"Asia/Ho_Chi_Minh\"?"),
        (
            window(&format!("calendar = \"no.ics\"\n{good_keys}")),
            "`calendar` in [profile.a]: /base/no.ics cannot be read",
        ),
        (window(&format!("day = 1\n{good_keys}")), "unknown key `day` in [profile.a.window.w]; did you mean `days`?"),
        ("[profile.a]\nwindow = 1".into(), "`window` in [profile.a] must be tables: [profile.a.window.NAME]"),
        (
            "[profile.a]\nblock = [\"service:robox\"]".into(),
            "undeclared category `service:robox`; did you mean `service:roblox`?",
        ),
        ("[profile.a]\nshadow = [\"malware\"]".into(), "`malware` is a security category"),
        (
            "[profile.a]\nsafe_search_except = [\"bimg\"]".into(),
            "there is no search engine `bimg`; did you mean `bing`?",
        ),
        ("[profile.a]\nmode = \"walled-garden\"".into(), "answers with a page, so [page] needs `v4` or `v6`"),
        ("[profile.a.block_responses]\ngambling = \"page\"".into(), "answers with a page"),
        (
            "[profile.a.block_responses]\ngambling = \"pages\"".into(),
            "`gambling` in [profile.a.block_responses]: \"pages\" is not one of",
        ),
        ("[profile.a.block_responses]\ngamblin = \"drop\"".into(), "undeclared category `gamblin`"),
        ("[profile.a]\nblock_ttl = \"2 minutes\"".into(), "`block_ttl` in [profile.a]"),
        ("[profile.a]\nsecurity_for = \"mail\"".into(), "is not one of all, addresses"),
        ("observe_percent = 101".into(), "`observe_percent` is 101, must be 0 to 100"),
        (
            "[client.a]\nnetworks = [\"10.0.0.0/8\"]\nprofile = \"default\"\nmode = \"off\"".into(),
            "is not one of enforce, observe",
        ),
    ] {
        let told = mistakes(&text);
        assert!(told.iter().any(|why| why.contains(expected)), "{text}\n{told:#?}");
    }
    let many: String =
        (0..17).map(|i| format!("[profile.a.window.w{i}]\ncategories = [\"games\"]\ndays = [\"mon\"]\n")).collect();
    assert!(mistakes(&many)[0].contains("[profile.a] has 17 windows, at most 16"));
    let twice = "[list.g]\ncategory = \"games\"\nfile = \"g\"\n[profile.a.window.w]\ncategories = [\"games\"]\ndays = [\"mon\", \"mon\"]\n";
    assert!(good(twice).hints.iter().any(|hint| hint.message.contains("names a day twice")));
    let off = good("[profile.a]\nsecurity = false").hints;
    assert!(off.iter().any(|hint| hint.message.contains("the operator's own use")), "{off:?}");
}

#[test]
fn a_calendar_is_read_beside_the_file_that_names_it_and_watched() {
    let directory = tempfile::tempdir().unwrap();
    let (config, calendar) = (directory.path().join("t.toml"), directory.path().join("lich.ics"));
    let text = "[profile.a]\ncalendar = \"lich.ics\"\n[profile.a.window.w]\ncategories = [\"games\"]\ndays = [\"wed\"]\n\
                [profile.a.window.always]\ncalendar = \"off\"\ncategories = [\"games\"]\ndays = [\"wed\"]\n";
    std::fs::write(&config, text).unwrap();
    std::fs::write(&calendar, "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260902\nEND:VEVENT\nEND:VCALENDAR\n").unwrap();
    let mut seen = Versions::new();
    let read = load_noting(&config, &mut seen).unwrap();
    let windows = &profile(&read, "a").windows;
    assert_eq!(windows[0].calendar.as_ref().unwrap().counts(), (1, 0));
    assert_eq!(windows[1].calendar, None);
    assert!(seen.contains_key(&calendar));
    std::fs::write(&calendar, "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260902T080000\nEND:VEVENT\nEND:VCALENDAR\n")
        .unwrap();
    let mut seen = Versions::new();
    let errors = load_noting(&config, &mut seen).unwrap_err();
    assert!(errors[0].to_string().contains("t.toml:2: `calendar` in [profile.a]: "), "{errors:?}");
    assert!(errors[0].message.contains("lich.ics, line 3: DTSTART") && seen.contains_key(&calendar), "{errors:?}");
}
