//! An upstream: hickory-server's `Server` over a zone in memory. It keeps what it was asked and misbehaves where told to.
//!
//! The zone is a zone file. Lines that begin with `;!` tell how a name behaves, for every type:
//!
//!     ;! NAME delay=MS | held | silent | rcode=NAME | ede=CODE | ad | alone | dname=OWNER>TARGET | stray=OWNER>ADDRESS

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, NULL};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_proto::serialize::binary::BinEncodable;
use hickory_proto::serialize::txt::Parser;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Served until dropped.
pub struct Upstream {
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    log: Log,
    zone: Arc<Mutex<Zone>>,
    let_go: LetGo,
    _runtime: Runtime,
}

/// Names that are `held` no longer.
type LetGo = watch::Sender<BTreeSet<LowerName>>;

/// What was asked so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Asked>>>);

/// A question as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub name: String,
    pub qtype: RecordType,
    pub tcp: bool,
    pub recursion_desired: bool,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
    /// EDNS options, as numbers.
    pub options: Vec<u16>,
}

struct Zone {
    rrsets: BTreeMap<RrKey, RecordSet>,
    /// Names that exist, with those that only have something below them.
    names: BTreeSet<LowerName>,
    behaviours: HashMap<LowerName, Vec<Behaviour>>,
}

#[derive(Debug, Clone)]
enum Behaviour {
    Delay(Duration),
    /// Answered when the test says so, which may be after many questions.
    Held,
    Silent,
    Rcode(ResponseCode),
    Ede(u16),
    Authentic,
    /// The first record alone, by a server that does not recurse.
    Alone,
    /// This DNAME alone, without the CNAME that belongs beside it.
    Dname(Name, Name),
    /// This address in front of the answer, whoever asked.
    Stray(Name, Ipv4Addr),
}

/// Answers from a zone.
pub struct Handler {
    log: Log,
    zone: Arc<Mutex<Zone>>,
    let_go: watch::Receiver<BTreeSet<LowerName>>,
    /// There where nobody lets anything go.
    _held: Option<Arc<watch::Sender<BTreeSet<LowerName>>>>,
}

/// An answer before it is written.
struct Made {
    rcode: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
}

impl Upstream {
    pub fn start(zone_text: &str) -> Upstream {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let log = Log::default();
        let zone = Arc::new(Mutex::new(Zone::parse(zone_text)));
        let (let_go, is_let_go) = watch::channel(BTreeSet::new());
        let mut server =
            Server::new(Handler { log: log.clone(), zone: Arc::clone(&zone), let_go: is_let_go, _held: None });
        let (v4, v6) = runtime.block_on(async {
            let mut addresses = Vec::new();
            for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
                let (udp, tcp) = bind_pair(ip).await;
                addresses.push(udp.local_addr().unwrap());
                server.register_socket(udp);
                server.register_listener(tcp, Duration::from_secs(5), 64);
            }
            (addresses[0], addresses[1])
        });
        runtime.spawn(async move { server.block_until_done().await });
        Upstream { v4, v6, log, zone, let_go, _runtime: runtime }
    }

    /// Answers a name that is `held`, from now on.
    pub fn let_go(&self, name: &str) {
        let name = LowerName::from(Name::from_ascii(format!("{name}.")).unwrap());
        self.let_go.send_modify(|let_go| {
            let_go.insert(name);
        });
    }

    /// Puts another zone in the place of the first.
    pub fn change(&self, zone_text: &str) {
        *self.zone.lock().unwrap() = Zone::parse(zone_text);
    }

    pub fn log(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.log.lock()
    }

    /// The log that this one writes, to keep.
    pub fn shared_log(&self) -> Log {
        self.log.clone()
    }

    pub fn count(&self, name: &str, qtype: RecordType) -> usize {
        self.log.count(name, qtype)
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.0.lock().unwrap()
    }

    /// How often a name was asked for, with this type.
    pub fn count(&self, name: &str, qtype: RecordType) -> usize {
        self.lock().iter().filter(|asked| asked.name == name && asked.qtype == qtype).count()
    }
}

impl Handler {
    /// For a server that somebody else sets up, and the log that it writes. What it holds it never lets go.
    pub fn over(zone_text: &str) -> (Handler, Log) {
        let log = Log::default();
        let (held, let_go) = watch::channel(BTreeSet::new());
        let zone = Arc::new(Mutex::new(Zone::parse(zone_text)));
        (Handler { log: log.clone(), zone, let_go, _held: Some(Arc::new(held)) }, log)
    }
}

async fn bind_pair(ip: std::net::IpAddr) -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind((ip, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port of {ip} is free for both UDP and TCP");
}

impl Zone {
    fn parse(text: &str) -> Zone {
        let mut behaviours = HashMap::<LowerName, Vec<Behaviour>>::new();
        for line in text.lines().filter_map(|line| line.trim().strip_prefix(";!")) {
            let mut words = line.split_whitespace();
            let name = words.next().expect("`;!` is followed by a name");
            let name = LowerName::from(Name::from_ascii(name).unwrap());
            behaviours.entry(name).or_default().extend(words.map(Behaviour::parse));
        }
        let (_, rrsets) = Parser::new(format!("{text}\n"), None, Some(Name::root())).parse().unwrap();
        let mut names = BTreeSet::new();
        for key in rrsets.keys() {
            let mut name = key.name.clone();
            while !name.is_root() {
                let up = name.base_name();
                names.insert(std::mem::replace(&mut name, up));
            }
            names.insert(name);
        }
        Zone { rrsets, names, behaviours }
    }

    fn answer(&self, qname: &LowerName, qtype: RecordType) -> Made {
        let mut made = Made { rcode: ResponseCode::NoError, answers: Vec::new(), authorities: Vec::new() };
        let mut name = qname.clone();
        // Long enough for any chain that a test makes; a loop ends as well.
        for _ in 0..100 {
            if let Some(set) = self.rrsets.get(&RrKey::new(name.clone(), qtype)) {
                made.answers.extend(set.records_without_rrsigs().cloned());
                return made;
            }
            let alias = self.rrsets.get(&RrKey::new(name.clone(), RecordType::CNAME));
            let Some(record) = alias.and_then(RecordSet::record) else { break };
            made.answers.push(record.clone());
            let RData::CNAME(target) = &record.data else { panic!("a CNAME holds a name") };
            name = LowerName::from(&target.0);
        }
        if !self.names.contains(&name) {
            made.rcode = ResponseCode::NXDomain;
        }
        made.authorities.extend(self.soa_above(&name));
        made
    }

    fn soa_above(&self, name: &LowerName) -> Option<Record> {
        let mut zone = name.clone();
        loop {
            if let Some(set) = self.rrsets.get(&RrKey::new(zone.clone(), RecordType::SOA)) {
                return set.record().cloned();
            }
            if zone.is_root() {
                return None;
            }
            zone = zone.base_name();
        }
    }
}

impl Behaviour {
    fn parse(word: &str) -> Behaviour {
        match word.split_once('=') {
            None if word == "held" => Behaviour::Held,
            None if word == "silent" => Behaviour::Silent,
            None if word == "ad" => Behaviour::Authentic,
            None if word == "alone" => Behaviour::Alone,
            Some(("delay", ms)) => Behaviour::Delay(Duration::from_millis(ms.parse().unwrap())),
            Some(("ede", code)) => Behaviour::Ede(code.parse().unwrap()),
            Some(("dname", names)) => {
                let (owner, target) = names.split_once('>').expect("a DNAME has owner and target");
                Behaviour::Dname(Name::from_ascii(owner).unwrap(), Name::from_ascii(target).unwrap())
            }
            Some(("stray", record)) => {
                let (owner, address) = record.split_once('>').expect("an address has an owner");
                Behaviour::Stray(Name::from_ascii(owner).unwrap(), address.parse().unwrap())
            }
            Some(("rcode", "SERVFAIL")) => Behaviour::Rcode(ResponseCode::ServFail),
            Some(("rcode", "FORMERR")) => Behaviour::Rcode(ResponseCode::FormErr),
            Some(("rcode", "REFUSED")) => Behaviour::Rcode(ResponseCode::Refused),
            Some(("rcode", "NOTAUTH")) => Behaviour::Rcode(ResponseCode::NotAuth),
            Some(("rcode", "BADCOOKIE")) => Behaviour::Rcode(ResponseCode::BADCOOKIE),
            _ => panic!("an upstream cannot do {word:?}"),
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let query = request.request_info().expect("the resolver asks one question").query.clone();
        self.log.lock().push(Asked {
            name: query.name().to_string().trim_end_matches('.').to_owned(),
            qtype: query.query_type(),
            tcp: request.protocol() == Protocol::Tcp,
            recursion_desired: request.metadata.recursion_desired,
            dnssec_ok: request.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok),
            checking_disabled: request.metadata.checking_disabled,
            options: request.edns.iter().flat_map(|e| e.options().as_ref()).map(|(code, _)| (*code).into()).collect(),
        });
        let (mut made, behaviours) = {
            let zone = self.zone.lock().unwrap();
            let behaviours = zone.behaviours.get(query.name()).cloned().unwrap_or_default();
            (zone.answer(query.name(), query.query_type()), behaviours)
        };
        let mut edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().min(1232)).set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        for behaviour in behaviours {
            match behaviour {
                Behaviour::Delay(delay) => tokio::time::sleep(delay).await,
                // It fails where nobody is left who could let it go.
                Behaviour::Held => drop(self.let_go.clone().wait_for(|let_go| let_go.contains(query.name())).await),
                Behaviour::Silent => {
                    return ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
                }
                Behaviour::Rcode(rcode) => made = Made { rcode, answers: Vec::new(), authorities: Vec::new() },
                Behaviour::Ede(code) => {
                    if let Some(edns) = &mut edns {
                        let octets = [&code.to_be_bytes()[..], b"upstream says so"].concat();
                        edns.options_mut().insert(EdnsOption::Unknown(15, octets));
                    }
                }
                Behaviour::Dname(owner, target) => {
                    let rdata = NULL::with(target.to_bytes().unwrap());
                    let data = RData::Unknown { code: RecordType::Unknown(39), rdata };
                    made = Made { rcode: ResponseCode::NoError, answers: vec![], authorities: vec![] };
                    made.answers.push(Record::from_rdata(owner, 300, data));
                }
                Behaviour::Stray(owner, address) => {
                    made.answers.insert(0, Record::from_rdata(owner, 300, RData::A(A(address))));
                }
                Behaviour::Authentic => metadata.authentic_data = true,
                Behaviour::Alone => {
                    metadata.recursion_available = false;
                    made.answers.truncate(1);
                    made.authorities.clear();
                    made.rcode = ResponseCode::NoError;
                }
            }
        }
        metadata.response_code = made.rcode;
        let mut builder = MessageResponseBuilder::new(&request.queries, None);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &made.answers, &made.authorities, &[], &[]);
        reply.send_response(response).await.expect("an upstream can send its answer")
    }
}
