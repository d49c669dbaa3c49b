//! SafeSearch: search engines as data, and which host stands for which.
//!
//! The table comes from `blocklists/safe_search.csv`, whose header explains its lines. A host is matched exactly, so that
//! an engine's mail, maps and help keep their own answers. What is answered, and when a profile wants it, is decided
//! by [`policy`](crate::engine::policy) and [`reply`](crate::engine::reply); here is only the table.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::engine::compile::YouTube;
use crate::engine::name::{Labels, Name};
use crate::engine::query::RecordType;
use crate::engine::verdict::EngineId;

/// One host and what answers in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub host: Name,
    pub engine: EngineId,
    pub target: Name,
    /// Addresses for when the target cannot be resolved; empty where the vendor has none that last.
    pub ipv4: Vec<Ipv4Addr>,
    pub ipv6: Vec<Ipv6Addr>,
    /// The host is a zone apex: addresses go under its own name, never a CNAME, and HTTPS and SVCB get NODATA.
    /// RFC 1034 §3.6.2: a CNAME beside the zone's MX and NS would hide them in caches behind us.
    pub apex: bool,
    /// The YouTube setting it belongs to; `Off` for a rule that `safe_search` turns on.
    pub youtube: YouTube,
}

/// The whole table, immutable after [`SafeSearch::from_csv`].
#[derive(Debug, Default)]
pub struct SafeSearch {
    /// Names of engines; an [`EngineId`] is an index.
    engines: Vec<String>,
    /// In the order of the file.
    rules: Vec<Arc<Rule>>,
    /// By canonical wire form. Holds only hosts that some setting rewrites.
    hosts: HashMap<Box<[u8]>, HostRules>,
    shapes: Shapes,
    /// By canonical wire form: hosts without a safe form.
    unsafe_hosts: HashSet<Box<[u8]>>,
    /// By canonical wire form: names below which every host is without a safe form.
    unsafe_parents: HashSet<Box<[u8]>>,
    /// In the order of the file, each once.
    targets: Vec<Name>,
}

/// What the settings make of one host.
#[derive(Debug, Default)]
struct HostRules {
    safe_search: Option<Arc<Rule>>,
    moderate: Option<Arc<Rule>>,
    strict: Option<Arc<Rule>>,
}

/// Lengths and first octets of the hosts, a bit for each: some sixty, since most are one engine's in another country. Nearly every
/// name of the world has another, and needs no hash of the whole of it.
#[derive(Debug, Default)]
struct Shapes([u64; 16]);

impl Shapes {
    fn insert(&mut self, wire: &[u8]) {
        let (word, bit) = Shapes::place(wire);
        self.0[word] |= 1 << bit;
    }

    fn may_hold(&self, wire: &[u8]) -> bool {
        let (word, bit) = Shapes::place(wire);
        self.0[word] >> bit & 1 == 1
    }

    fn place(wire: &[u8]) -> (usize, u32) {
        // A host shorter than that has a shape by its length.
        let first = wire.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        let mixed = (first ^ wire.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        (mixed as usize / 64, mixed as u32 % 64)
    }
}

/// Whether a question of this type for a rewritten host gets the safe answer.
///
/// These are the types that lead a browser to a server. MX, TXT, NS, SOA, CAA and the rest pass: they lead elsewhere.
pub fn rewrites_type(qtype: RecordType) -> bool {
    matches!(qtype, RecordType::A | RecordType::AAAA | RecordType::HTTPS | RecordType::SVCB | RecordType::ANY)
}

impl SafeSearch {
    /// Reads the table. The error names the line.
    pub fn from_csv(text: &str) -> Result<SafeSearch, String> {
        let mut reader = Reader::default();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            reader.line(line).map_err(|why| format!("line {}: {why}", i + 1))?;
        }
        Ok(reader.table)
    }

    pub fn engine_name(&self, engine: EngineId) -> &str {
        &self.engines[usize::from(engine.0)]
    }

    pub fn engines(&self) -> impl Iterator<Item = (EngineId, &str)> {
        self.engines.iter().enumerate().map(|(i, name)| (EngineId(i as u8), name.as_str()))
    }

    /// What stands for `qname` under these settings of a profile.
    pub fn rule(&self, qname: &Name, safe_search: bool, youtube: YouTube) -> Option<&Arc<Rule>> {
        if !self.shapes.may_hold(qname.as_wire()) {
            return None;
        }
        let host = self.hosts.get(qname.as_wire())?;
        let restricted = match youtube {
            YouTube::Off => None,
            YouTube::Moderate => host.moderate.as_ref(),
            YouTube::Strict => host.strict.as_ref(),
        };
        let searched = if safe_search { host.safe_search.as_ref() } else { None };
        restricted.or(searched)
    }

    /// Labels of the rule's name if `qname` has no safe form, for profiles that block `unsafe-search`.
    pub fn unsafe_labels(&self, qname: &Name) -> Option<u8> {
        let labels = Labels::of(qname.as_wire());
        if self.unsafe_hosts.contains(qname.as_wire()) {
            return Some(labels.count() as u8);
        }
        let mut parents = 1..labels.count();
        let depth = parents.rfind(|&depth| self.unsafe_parents.contains(labels.suffix(depth)))?;
        Some(depth as u8)
    }

    /// Whether some setting of a profile speaks about a name.
    pub fn knows(&self, name: &Name) -> bool {
        self.hosts.contains_key(name.as_wire()) || self.unsafe_labels(name).is_some()
    }

    /// Every host that a rule leads to. No list may block them.
    pub fn targets(&self) -> impl Iterator<Item = &Name> {
        self.targets.iter()
    }

    /// Every rule that some setting turns on, in the order of the file.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }
}

/// The fifth field: what becomes of a host.
enum State {
    Cname,
    Address,
    Off,
    Block,
}

/// The table while it is read.
#[derive(Default)]
struct Reader {
    table: SafeSearch,
    /// From the `target` lines.
    addresses: HashMap<Name, (Vec<Ipv4Addr>, Vec<Ipv6Addr>)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        match fields[..] {
            ["target", host, ipv4, ipv6] => self.target_line(host, ipv4, ipv6),
            ["target", ..] => Err(format!("a target line has 4 fields, not {}", fields.len())),
            [engine, host, target, mode, state] => self.host_line(engine, host, target, mode, state),
            _ => Err(format!("a host line has 5 fields, not {}", fields.len())),
        }
    }

    fn target_line(&mut self, host: &str, ipv4: &str, ipv6: &str) -> Result<(), String> {
        let name = read_name(host)?;
        let ipv4 = read_addresses(ipv4, "IPv4")?;
        let ipv6 = read_addresses(ipv6, "IPv6")?;
        match self.addresses.insert(name, (ipv4, ipv6)) {
            None => Ok(()),
            Some(_) => Err(format!("target {host:?} is here a second time")),
        }
    }

    fn host_line(&mut self, engine: &str, host: &str, target: &str, mode: &str, state: &str) -> Result<(), String> {
        let state = read_state(state)?;
        let youtube = read_mode(mode)?;
        let engine = self.engine(engine)?;
        let apex = match state {
            State::Cname => false,
            State::Address => true,
            State::Off => return read_name(host).map(drop),
            State::Block => return self.block(host),
        };
        let host = read_name(host)?;
        let target = read_name(target)?;
        let Some((ipv4, ipv6)) = self.addresses.get(&target) else {
            return Err(format!("target {target} has no `target` line above"));
        };
        let (ipv4, ipv6) = (ipv4.clone(), ipv6.clone());
        self.add(Rule { host, engine, target, ipv4, ipv6, apex, youtube })
    }

    fn engine(&mut self, name: &str) -> Result<EngineId, String> {
        if name.is_empty() {
            return Err("the engine's name is empty".to_owned());
        }
        let engines = &mut self.table.engines;
        let at = engines.iter().position(|known| known == name).unwrap_or(engines.len());
        let id = u8::try_from(at).map_err(|_| format!("{name:?} is one engine too many, at most {}", u8::MAX))?;
        if at == engines.len() {
            engines.push(name.to_owned());
        }
        Ok(EngineId(id))
    }

    fn block(&mut self, host: &str) -> Result<(), String> {
        let (set, text) = match host.strip_prefix("*.") {
            Some(parent) => (&mut self.table.unsafe_parents, parent),
            None => (&mut self.table.unsafe_hosts, host),
        };
        if set.insert(read_name(text)?.as_wire().into()) {
            return Ok(());
        }
        Err(format!("host {host:?} is blocked a second time"))
    }

    fn add(&mut self, rule: Rule) -> Result<(), String> {
        let rule = Arc::new(rule);
        self.table.shapes.insert(rule.host.as_wire());
        let host = self.table.hosts.entry(rule.host.as_wire().into()).or_default();
        let slot = match rule.youtube {
            YouTube::Off => &mut host.safe_search,
            YouTube::Moderate => &mut host.moderate,
            YouTube::Strict => &mut host.strict,
        };
        if slot.is_some() {
            return Err(format!("host {} is on a second time", rule.host));
        }
        *slot = Some(Arc::clone(&rule));
        if !self.table.targets.contains(&rule.target) {
            self.table.targets.push(rule.target.clone());
        }
        self.table.rules.push(rule);
        Ok(())
    }
}

fn read_name(text: &str) -> Result<Name, String> {
    Name::from_text(text).map_err(|why| format!("{text:?} is no name: {why}"))
}

/// Addresses with blanks between them; none is an empty field.
fn read_addresses<A: std::str::FromStr>(field: &str, family: &str) -> Result<Vec<A>, String> {
    let read = |word: &str| word.parse().map_err(|_| format!("{word:?} is no {family} address"));
    field.split_ascii_whitespace().map(read).collect()
}

fn read_state(text: &str) -> Result<State, String> {
    match text {
        "cname" => Ok(State::Cname),
        "address" => Ok(State::Address),
        "off" => Ok(State::Off),
        "block" => Ok(State::Block),
        _ => Err(format!("state {text:?} is not one of cname, address, off, block")),
    }
}

/// The mode is for people, except that it says which YouTube setting a line belongs to.
fn read_mode(text: &str) -> Result<YouTube, String> {
    match text {
        "moderate" => Ok(YouTube::Moderate),
        "strict" => Ok(YouTube::Strict),
        "default" | "loophole" | "optional-apex" | "alternative" | "not-covered" | "bypass" | "no-enforcement" => {
            Ok(YouTube::Off)
        }
        _ => Err(format!("mode {text:?} is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
# a comment
target,safe.search.example,192.0.2.1,2001:db8::1
target,moderate.video.example,,
target,strict.video.example,192.0.2.3 192.0.2.4,

one,www.search.example,safe.search.example,default,cname
one,search.example,safe.search.example,default,address
one,old.search.example,safe.search.example,optional-apex,off
one,lite.search.example,,bypass,block
video,www.video.example,moderate.video.example,moderate,cname
video,www.video.example,strict.video.example,strict,cname
two,two.example,,no-enforcement,block
two,*.find.two.example,,no-enforcement,block
";

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn unsafe_owner(table: &SafeSearch, host: &str) -> Option<String> {
        let host = name(host);
        Some(host.suffix(usize::from(table.unsafe_labels(&host)?)).to_string())
    }

    fn shipped() -> SafeSearch {
        SafeSearch::from_csv(include_str!("../../blocklists/safe_search.csv")).unwrap()
    }

    #[test]
    fn a_host_is_rewritten_by_the_setting_it_belongs_to() {
        use YouTube::{Moderate, Off, Strict};
        let table = SafeSearch::from_csv(TABLE).unwrap();
        for (host, safe_search, youtube, target) in [
            ("www.search.example", true, Off, Some("safe.search.example")),
            ("WWW.Search.Example", true, Strict, Some("safe.search.example")),
            ("www.search.example", false, Strict, None),
            ("search.example", true, Off, Some("safe.search.example")),
            ("old.search.example", true, Off, None),
            ("lite.search.example", true, Off, None),
            ("mail.search.example", true, Off, None),
            ("a.www.search.example", true, Off, None),
            ("www.video.example", true, Off, None),
            ("www.video.example", false, Moderate, Some("moderate.video.example")),
            ("www.video.example", true, Strict, Some("strict.video.example")),
        ] {
            let rule = table.rule(&name(host), safe_search, youtube);
            assert_eq!(rule.map(|r| r.target.to_string()).as_deref(), target, "{host} {safe_search} {youtube:?}");
        }
        let apex = table.rule(&name("search.example"), true, Off).unwrap();
        assert!(apex.apex);
        assert_eq!(apex.ipv6, ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]);
        let strict = table.rule(&name("www.video.example"), false, Strict).unwrap();
        assert_eq!((strict.ipv4.len(), strict.ipv6.len(), strict.apex), (2, 0, false));
        assert_eq!(table.engine_name(strict.engine), "video");
    }

    #[test]
    fn a_host_without_a_safe_form_names_its_rule() {
        let table = SafeSearch::from_csv(TABLE).unwrap();
        for (host, owner) in [
            ("lite.search.example", Some("lite.search.example")),
            ("two.example", Some("two.example")),
            ("mail.two.example", None),
            ("find.two.example", None),
            ("a.find.two.example", Some("find.two.example")),
            ("b.a.find.two.example", Some("find.two.example")),
            ("www.search.example", None),
        ] {
            assert_eq!(unsafe_owner(&table, host).as_deref(), owner, "{host}");
        }
        assert_eq!(table.unsafe_labels(&Name::ROOT), None);
    }

    #[test]
    fn targets_and_engines_are_told_once_each() {
        let table = SafeSearch::from_csv(TABLE).unwrap();
        let targets: Vec<_> = table.targets().map(Name::to_string).collect();
        assert_eq!(targets, ["safe.search.example", "moderate.video.example", "strict.video.example"]);
        let engines: Vec<_> = table.engines().map(|(_, engine)| engine).collect();
        assert_eq!(engines, ["one", "video", "two"]);
        assert_eq!(table.rules().count(), 4);
    }

    #[test]
    fn a_bad_line_says_where_and_why() {
        let too_many: String = (0..=256).map(|i| format!("e{i},h{i}.example,,bypass,block\n")).collect();
        for (text, why) in [
            ("one,www.a.example", "line 1: a host line has 5 fields, not 2"),
            ("\n# x\ntarget,a.example", "line 3: a target line has 4 fields, not 2"),
            ("target,a..example,,", "line 1: \"a..example\" is no name: a label is empty (two dots in a row?)"),
            ("target,a.example,1.2.3,", "line 1: \"1.2.3\" is no IPv4 address"),
            ("target,a.example,,1.2.3.4", "line 1: \"1.2.3.4\" is no IPv6 address"),
            ("target,a.example,,\ntarget,a.example,,", "line 2: target \"a.example\" is here a second time"),
            ("one,h.example,t.example,default,cname", "line 1: target t.example has no `target` line above"),
            ("one,h.example,t.example,default,on", "line 1: state \"on\" is not one of cname, address, off, block"),
            ("one,h.example,t.example,maybe,off", "line 1: mode \"maybe\" is unknown"),
            (",h.example,,bypass,block", "line 1: the engine's name is empty"),
            (
                "one,h.example,,bypass,block\none,h.example,,bypass,block",
                "line 2: host \"h.example\" is blocked a second time",
            ),
            (
                "target,t.example,,\none,h.example,t.example,default,cname\none,H.example,t.example,default,address",
                "line 3: host h.example is on a second time",
            ),
            (&too_many, "line 257: \"e256\" is one engine too many, at most 255"),
        ] {
            assert_eq!(SafeSearch::from_csv(text).err().as_deref(), Some(why), "{text:.60}");
        }
    }

    #[test]
    fn only_types_that_lead_a_browser_are_rewritten() {
        use RecordType as T;
        for qtype in [T::A, T::AAAA, T::HTTPS, T::SVCB, T::ANY] {
            assert!(rewrites_type(qtype), "{qtype:?}");
        }
        for qtype in [T::MX, T::TXT, T::NS, T::SOA, T::CAA, T::DS, T::SRV, T::PTR] {
            assert!(!rewrites_type(qtype), "{qtype:?}");
        }
    }

    #[test]
    fn the_shipped_table_holds_what_it_promises() {
        use YouTube::{Moderate, Off, Strict};
        let table = shipped();
        for (host, youtube, target, apex) in [
            ("www.google.com.vn", Off, Some("forcesafesearch.google.com"), false),
            ("encrypted.google.com", Off, Some("forcesafesearch.google.com"), false),
            ("ipv6.google.com", Off, Some("forcesafesearch.google.com"), false),
            ("google.com", Off, None, false),
            ("mail.google.com", Off, None, false),
            ("www.bing.com", Off, Some("strict.bing.com"), false),
            ("duckduckgo.com", Off, Some("safe.duckduckgo.com"), true),
            ("yandex.com.tr", Off, Some("familysearch.yandex.ru"), true),
            ("www.yandex.ru", Off, Some("familysearch.yandex.ru"), false),
            ("pixabay.com", Off, Some("safesearch.pixabay.com"), true),
            ("www.ecosia.org", Off, Some("strict-safe-search.ecosia.org"), false),
            ("search.brave.com", Off, Some("safesearch.brave.com"), false),
            ("api.qwant.com", Off, Some("safeapi.qwant.com"), false),
            ("startpage.com", Off, None, false),
            ("www.youtube.com", Off, None, false),
            ("www.youtube.com", Moderate, Some("restrictmoderate.youtube.com"), false),
            ("www.youtube.com", Strict, Some("restrict.youtube.com"), false),
            ("youtube.com", Strict, None, false),
            ("www.youtubekids.com", Strict, None, false),
        ] {
            let rule = table.rule(&name(host), true, youtube);
            assert_eq!(rule.map(|r| r.target.to_string()).as_deref(), target, "{host} {youtube:?}");
            assert_eq!(rule.is_some_and(|r| r.apex), apex, "{host}");
        }
        for level in [Moderate, Strict] {
            assert_eq!(table.rules().filter(|r| r.youtube == level).count(), 5, "{level:?}");
        }
        // Of 1,024: else most names of the world would be hashed after all.
        let shapes: u32 = table.shapes.0.iter().map(|word| word.count_ones()).sum();
        assert!((1..=128).contains(&shapes), "{shapes} shapes");
        // A host that is both rewritten and without a safe form would be one mistake or the other.
        for rule in table.rules() {
            assert_eq!(table.unsafe_labels(&rule.host), None, "{}", rule.host);
        }
        // Nor may a target be rewritten again.
        for target in table.targets() {
            assert!(!table.hosts.contains_key(target.as_wire()), "{target}");
        }
        assert_eq!(unsafe_owner(&table, "vn.search.yahoo.com").as_deref(), Some("search.yahoo.com"));
        assert_eq!(unsafe_owner(&table, "mail.yahoo.com"), None);
    }
}
