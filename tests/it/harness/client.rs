//! A DNS client: one question, by UDP or TCP, over either family, from an address of choice.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use lachan::engine::proxy::SIGNATURE;
use socket2::{Domain, Socket, Type};

use crate::harness::PATIENCE;

/// One question and how it is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// With the case in which it is sent.
    pub name: String,
    pub qtype: RecordType,
    pub class: DNSClass,
    pub tcp: bool,
    /// The address it is sent from.
    pub from: Option<IpAddr>,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    pub authentic_data: bool,
    pub dnssec_ok: bool,
    /// UDP payload; `None`: no OPT.
    pub edns: Option<u16>,
    pub options: Vec<EdnsOption>,
    /// What a proxy says of the client before a datagram or a connection's first message; see [`behind_proxy`].
    pub before: Vec<u8>,
}

/// A PROXY header, version 2: whom a proxy asks for, and in which realm.
pub fn behind_proxy(client: IpAddr, realm: Option<&str>) -> Vec<u8> {
    let (family, addresses) = match client {
        IpAddr::V4(client) => (0x12, [client.octets(), [127, 0, 0, 53]].concat()),
        IpAddr::V6(client) => (0x22, [client.octets(), Ipv6Addr::LOCALHOST.octets()].concat()),
    };
    let realm = realm.map(|realm| [&[0xe1][..], &(realm.len() as u16).to_be_bytes(), realm.as_bytes()].concat());
    let told = [&addresses[..], &[0x0f, 0xa0, 0, 53], &realm.unwrap_or_default()].concat();
    [&SIGNATURE[..], &[0x21, family], &(told.len() as u16).to_be_bytes(), &told].concat()
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Told {
    pub message: Message,
    pub bytes: Vec<u8>,
}

impl Ask {
    /// By UDP, with EDNS.
    pub fn new(name: &str, qtype: RecordType) -> Ask {
        Ask {
            name: name.to_owned(),
            qtype,
            class: DNSClass::IN,
            tcp: false,
            from: None,
            recursion_desired: true,
            checking_disabled: false,
            authentic_data: false,
            dnssec_ok: false,
            edns: Some(1232),
            options: Vec::new(),
            before: Vec::new(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = next_id();
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.authentic_data = self.authentic_data;
        let name = Name::from_ascii(format!("{}.", self.name.trim_end_matches('.'))).unwrap();
        let mut query = Query::query(name, self.qtype);
        query.set_query_class(self.class);
        message.add_query(query);
        if let Some(payload) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(payload).set_dnssec_ok(self.dnssec_ok);
            self.options.iter().for_each(|option| edns.options_mut().insert(option.clone()));
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    /// The answer, with what holds for every answer checked (I10).
    pub fn send(&self, server: SocketAddr) -> Told {
        let query = self.encode();
        let (bytes, from) = if self.tcp {
            (self.connect(server).exchange(&query), server)
        } else {
            let socket = self.socket(server);
            socket.send_to(&[&self.before[..], &query].concat(), server).unwrap();
            receive(&socket).unwrap_or_else(|| panic!("no answer to {self:?} within {PATIENCE:?}"))
        };
        assert_eq!(from, server, "answered from another address than asked: {self:?}");
        self.told(&query, bytes, self.tcp)
    }

    /// An answer to `query`, however it came, with what holds for every answer checked (I10).
    pub fn told(&self, query: &[u8], bytes: Vec<u8>, is_whole: bool) -> Told {
        let message = Message::from_vec(&bytes).unwrap_or_else(|why| panic!("{self:?}: {why}: {bytes:x?}"));
        let told = Told { message, bytes };
        self.check(query, &told, is_whole);
        told
    }

    /// Whether nothing comes back: another question, sent after it on the same way, is answered first.
    pub fn is_met_with_silence(&self, server: SocketAddr) -> bool {
        let sentinel = Ask { class: DNSClass::CH, tcp: self.tcp, ..Ask::new("version.bind", RecordType::TXT) }.encode();
        let query = self.encode();
        let first = if self.tcp {
            let mut connection = self.connect(server);
            connection.send(&query);
            connection.exchange(&sentinel)
        } else {
            let socket = self.socket(server);
            socket.send_to(&[&self.before[..], &query].concat(), server).unwrap();
            socket.send_to(&[&self.before[..], &sentinel].concat(), server).unwrap();
            receive(&socket).expect("the second question is answered").0
        };
        first[..2] == sentinel[..2]
    }

    fn socket(&self, server: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind(self.local(server)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    pub fn connect(&self, server: SocketAddr) -> Connection {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).unwrap();
        socket.bind(&self.local(server).into()).unwrap();
        socket.connect_timeout(&server.into(), PATIENCE).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Connection(socket.into());
        connection.stream().write_all(&self.before).unwrap();
        connection
    }

    fn local(&self, server: SocketAddr) -> SocketAddr {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        SocketAddr::new(self.from.unwrap_or(any), 0)
    }

    /// The reply is the client's own question back: id, case, question; EDNS as asked; never larger than allowed.
    fn check(&self, query: &[u8], told: &Told, is_whole: bool) {
        let (bytes, metadata) = (&told.bytes, &told.message.metadata);
        assert_eq!(bytes[..2], query[..2], "{self:?}: id");
        let end = query.iter().skip(12).position(|&octet| octet == 0).unwrap() + 12 + 5;
        assert_eq!(bytes[12..end], query[12..end], "{self:?}: the question, with its case");
        assert_eq!(bytes[2] & 0x80, 0x80, "{self:?}: QR");
        assert!(!metadata.authoritative, "{self:?}: AA");
        assert!(metadata.recursion_available, "{self:?}: RA");
        assert_eq!(metadata.recursion_desired, self.recursion_desired, "{self:?}: RD");
        assert_eq!(metadata.checking_disabled, self.checking_disabled, "{self:?}: CD");
        assert_eq!(told.message.edns.is_some(), self.edns.is_some(), "{self:?}: OPT");
        if let Some(edns) = &told.message.edns {
            assert_eq!(edns.max_payload(), 1232, "{self:?}: payload");
            assert_eq!(edns.flags().dnssec_ok, self.dnssec_ok, "{self:?}: DO");
        }
        let limit = if is_whole { 65_535 } else { usize::from(self.edns.unwrap_or(512).clamp(512, 1232)) };
        assert!(bytes.len() <= limit, "{self:?}: {} octets", bytes.len());
    }
}

impl Told {
    /// The code, with the bits that travel in OPT.
    pub fn rcode(&self) -> u16 {
        let high = self.message.edns.as_ref().map_or(0, Edns::rcode_high);
        u16::from(high) << 4 | u16::from(self.bytes[3] & 0xf)
    }

    /// Code and text of each extended error.
    pub fn ede(&self) -> Vec<(u16, String)> {
        let Some(edns) = &self.message.edns else { return Vec::new() };
        let options = edns.options().get_all(EdnsCode::Unknown(15));
        options
            .into_iter()
            .map(|option| {
                let octets = Vec::try_from(option).unwrap();
                (u16::from_be_bytes([octets[0], octets[1]]), String::from_utf8(octets[2..].to_vec()).unwrap())
            })
            .collect()
    }

    /// Owner, TTL and minimum of the authority section's SOA.
    pub fn soa(&self) -> Option<(String, u32, u32)> {
        self.message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some((plain(&record.name), record.ttl, soa.minimum)),
            _ => None,
        })
    }

    /// `owner TYPE data` of each record of the answer section.
    pub fn answers(&self) -> Vec<String> {
        self.message.answers.iter().map(show).collect()
    }
}

/// `owner TYPE data`, names without their last dot.
pub fn show(record: &Record) -> String {
    let data: Vec<String> = record
        .data
        .to_string()
        .split(' ')
        .map(|word| if word == "." { word } else { word.trim_end_matches('.') }.to_owned())
        .collect();
    format!("{} {} {}", plain(&record.name), record.record_type(), data.join(" "))
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

/// One TCP connection.
pub struct Connection(TcpStream);

impl Connection {
    pub fn send(&mut self, message: &[u8]) {
        assert!(self.try_send(message), "the other side has closed");
    }

    /// As [`send`](Connection::send); `false` when the other side has closed.
    pub fn try_send(&mut self, message: &[u8]) -> bool {
        let len = u16::try_from(message.len()).unwrap();
        self.0.write_all(&[&len.to_be_bytes(), message].concat()).is_ok()
    }

    /// The octets below the messages.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    /// The next message; `None` when the other side has closed.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 2];
        self.0.read_exact(&mut len).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        self.0.read_exact(&mut message).ok()?;
        Some(message)
    }

    pub fn exchange(&mut self, message: &[u8]) -> Vec<u8> {
        self.send(message);
        self.receive().expect("a question by TCP is answered")
    }
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 65_535];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    buffer.truncate(len);
    Some((buffer, from))
}

/// Ids that differ within one test run, so that a sentinel is never taken for the question before it.
fn next_id() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
