//! Policy asked without a resolver: lists as text and a client, a verdict back.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use lachan::config;
use lachan::engine::client::{Client, Realm};
use lachan::engine::compile::{
    BuiltIn, ClientSettings, Inputs, ListRules, ListSettings, ListSource, LoadedList, compile,
};
use lachan::engine::gate::GateSettings;
use lachan::engine::list::{Format, ParseOptions, parse};
use lachan::engine::matcher::{HashSeed, Part};
use lachan::engine::name::Name;
use lachan::engine::safe_search::SafeSearch;
use lachan::engine::snapshot::Snapshot;

/// Who asks; `name` and `tags` are of a configured client at `source`.
#[derive(Default, Clone)]
pub struct Who {
    pub source: Option<IpAddr>,
    pub name: Option<String>,
    pub tags: Vec<String>,
}

impl Who {
    fn source(&self) -> IpAddr {
        self.source.unwrap_or(IpAddr::from([198, 51, 100, 77]))
    }
}

/// A policy that blocks what these lists hold, in their order, for everybody. A list that is refused holds nothing; public
/// suffixes are obeyed, because many cases have names of one label.
pub fn snapshot(format: Format, lists: &[String], who: &Who) -> (Snapshot, Client) {
    let text = "[profile.default]\nblock = [\"adult\"]\nsafe_search = false\n";
    let mut policy = config::load_str("suite.toml", text, std::path::Path::new("/")).expect("it is sound").policy;
    if who.name.is_some() || !who.tags.is_empty() {
        policy.clients.push(ClientSettings {
            name: who.name.clone().unwrap_or_default(),
            networks: vec![IpNet::from(who.source())],
            realm: Realm::default(),
            ids: Vec::new(),
            listeners: Vec::new(),
            tags: who.tags.clone(),
            profile: 0,
            lines: 1,
            mode: None,
            place: None,
        });
    }
    let adult = policy.categories.id("adult").unwrap();
    let options = ParseOptions { format, bare_reach: None };
    let lists = lists.iter().enumerate().map(|(i, text)| LoadedList {
        settings: ListSettings {
            name: format!("list{i}"),
            category: adult,
            options,
            source: ListSource::File("suite.txt".into()),
            required: true,
            obey_public_suffixes: true,
            block_keywords: Vec::new(),
            gate: GateSettings::OPEN,
        },
        rules: ListRules::Read(Part::of(&parse(text.as_bytes(), options).unwrap_or_default(), &|_| false)),
    });
    let built_in = BuiltIn {
        infrastructure: Vec::new(),
        connectivity: Vec::new(),
        safe_search: Arc::new(SafeSearch::from_csv("").unwrap()),
        protected: Vec::new(),
        protected_content: Vec::new(),
        browser_canaries: Vec::new(),
    };
    let lists = lists.collect();
    let inputs = Inputs {
        generation: 1,
        policy,
        lists,
        built_in,
        upstreams: Vec::new(),
        seed: HashSeed(5, 6),
        texts: None,
        room: None,
        now: None,
    };
    let (snapshot, _) = compile(inputs, None).unwrap();
    let client = snapshot.clients.identify(who.source());
    (snapshot, client)
}

/// A name as a query has it.
pub fn name(text: &str) -> Name {
    Name::zone_from_text(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}
