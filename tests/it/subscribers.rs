//! Subscribers in the fast lane: a change acts with the next question, costs no allocation, and outlives a reload.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::rr::RecordType as T;
use lachan::daemon::lane::{Fast, Lane};
use lachan::daemon::subscribers::Feed;
use lachan::engine::client::{Realm, Token};
use lachan::engine::query::{Origin, Transport};
use lachan::engine::subscribers::{Change, Entry, Holder, Key, Term};

use crate::allocations;
use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess, with_upstream};

/// `default` says NXDOMAIN, `school` REFUSED, `home` that there is nothing.
const CONFIG: &str = "[list.adult]\ncategory = \"adult\"\nfile = \"adult.txt\"\n[profile.default]\nblock = [\"adult\"]\n\
                      [profile.school]\nblock = [\"adult\"]\nblock_response = \"refused\"\n[profile.home]\nblock = \
                      [\"adult\"]\nblock_response = \"nodata\"\n[subscribers]\ninterim_interval = \"10 min\"\n\
                      [access]\nallow = [\"0.0.0.0/0\", \"::/0\"]\n";

struct Bench {
    served: InProcess,
    lane: Lane,
    message: Vec<u8>,
    out: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let config = with_upstream(CONFIG, "127.0.0.1:9".parse().unwrap());
        let served = InProcess::start(&Files { config, files: &[("adult.txt", "bad.example\n")] });
        let lane = Lane::new(Arc::clone(&served.resolver));
        Bench { served, lane, message: Ask::new("bad.example", T::A).encode(), out: Vec::with_capacity(4_096) }
    }

    fn apply(&self, change: Change) {
        self.served.reloader.subscribers().apply(Feed::Api, &[change]).unwrap();
    }

    fn put(&self, key: Key, profile: &str) {
        let name = self.served.reloader.subscribers().table().intern(profile).unwrap();
        self.apply(Change::Put(key, Entry { holder: Holder::Profile(name), term: Term::default() }));
    }

    /// The code of the answer, and how often memory was asked for.
    fn ask(&mut self, origin: Origin) -> (u8, u64) {
        let Bench { lane, message, out, .. } = self;
        let mut fast = Fast::Slow;
        let count = allocations::in_work(|| {
            let now = Instant::now();
            let mut batch = lane.begin(now);
            fast = batch.answer(message, origin, out);
            batch.end(now);
        });
        assert_eq!(fast, Fast::Answer);
        (self.out[3] & 15, count)
    }

    fn code(&mut self, source: &str) -> u8 {
        self.ask(Origin::new(source.parse().unwrap(), None, Transport::Udp)).0
    }
}

const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

#[test]
fn a_change_acts_with_the_next_question_and_outlives_a_reload() {
    let mut bench = Bench::new();
    let (line, gateway) = ("100.64.1.2:9", "198.51.100.7:2048");
    assert_eq!((bench.code(line), bench.code(gateway)), (NXDOMAIN, NXDOMAIN));
    let key = Key::of_net(Realm(0), "100.64.1.2/32".parse().unwrap());
    bench.put(key, "school");
    for key in Key::of_ports(Realm(0), [198, 51, 100, 7].into(), 2_048..=3_071) {
        bench.put(key, "home");
    }
    assert_eq!((bench.code(line), bench.code(gateway), bench.code("198.51.100.7:4000")), (REFUSED, 0, NXDOMAIN));
    // Somebody says who it is.
    let token = Token(7);
    let identified =
        |token| Origin { identity: Some(token), ..Origin::new(line.parse().unwrap(), None, Transport::Udp) };
    bench.apply(Change::Choose(token, bench.served.reloader.subscribers().table().intern("home")));
    assert_eq!((bench.ask(identified(token)).0, bench.ask(identified(Token(8))).0), (0, REFUSED));
    // Profiles get other numbers, and one is gone.
    let config = CONFIG
        .replace("[profile.school]", "[profile.a]\nblock = []\n[profile.school]")
        .replace("profile.home", "profile.hom");
    bench.served.write("lachan.toml", &with_upstream(&config, "127.0.0.1:9".parse().unwrap()));
    assert_eq!(bench.served.reload().result, "ok");
    assert_eq!((bench.code(line), bench.code(gateway)), (REFUSED, NXDOMAIN));
    bench.apply(Change::Remove(key));
    assert_eq!(bench.code(line), NXDOMAIN);
}

#[test]
fn knowing_who_asks_allocates_nothing() {
    let mut bench = Bench::new();
    for n in 0..10_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x6440_0000 + n);
        bench.put(Key::of_net(Realm(0), std::net::IpAddr::from(address).into()), "school");
    }
    bench.put(Key::of_net(Realm(0), "2001:db8::/56".parse().unwrap()), "school");
    let sources = ["100.64.0.9:1", "[2001:db8::7]:1", "203.0.113.1:1"];
    for (i, source) in sources.iter().chain(&sources).enumerate() {
        let source: SocketAddr = source.parse().unwrap();
        let (code, count) = bench.ask(Origin::new(source, None, Transport::Udp));
        assert_eq!(code, if i % 3 == 2 { NXDOMAIN } else { REFUSED }, "{source}");
        // The first answer of a thread makes what it keeps.
        if i >= 3 {
            assert_eq!(count, 0, "{source}");
        }
    }
}
