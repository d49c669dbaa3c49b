//! RADIUS accounting (RFC 2866), as far as it tells which line has which addresses: octets to a [`Told`], no more.
//!
//! What a packet says is kept only until it is applied; a line's identifier becomes a token and is gone. What follows from a
//! sequence of packets, late, doubled and out of order as they are, is [`sessions`]'.

pub mod sessions;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use md5::{Digest, Md5};
use smallvec::SmallVec;

use crate::engine::client::Realm;
use crate::engine::limits::{FRAMED_NETMASK_BITS_MIN, SESSION_PLACES_MAX, SUBSCRIBER_PREFIX_BITS_MIN};
use crate::engine::subscribers::Key;

/// RFC 2865 §3: code, identifier, length, authenticator.
const HEADER_OCTETS: usize = 20;
/// RFC 2865 §3.
pub const PACKET_OCTETS_MAX: usize = 4_096;
const ACCOUNTING_REQUEST: u8 = 4;
const ACCOUNTING_RESPONSE: u8 = 5;
/// RFC 4679 §3: the Broadband Forum's number.
const BROADBAND_FORUM: u32 = 3_561;
/// How a Class names a profile: `lachan:family`.
const CLASS_LEAD: &str = "lachan:";

/// Why a packet is not listened to. It is dropped in silence (RFC 2866 §3, RFC 2865 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    #[error("malformed")]
    Malformed,
    #[error("not an accounting request")]
    OtherCode,
    #[error("its authenticator is not made with our secret")]
    Forged,
}

impl Dropped {
    pub fn as_str(self) -> &'static str {
        match self {
            Dropped::Malformed => "malformed",
            Dropped::OtherCode => "other-code",
            Dropped::Forged => "forged",
        }
    }
}

/// An attribute that identifies a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFrom {
    /// RFC 4679 §3.3.1.
    AgentCircuitId,
    NasPortId,
    UserName,
}

impl TokenFrom {
    pub const DEFAULT: [TokenFrom; 3] = [TokenFrom::AgentCircuitId, TokenFrom::NasPortId, TokenFrom::UserName];

    pub fn from_text(text: &str) -> Result<TokenFrom, String> {
        match text {
            "Agent-Circuit-Id" => Ok(TokenFrom::AgentCircuitId),
            "NAS-Port-Id" => Ok(TokenFrom::NasPortId),
            "User-Name" => Ok(TokenFrom::UserName),
            _ => Err(format!("{text:?} is not one of Agent-Circuit-Id, NAS-Port-Id, User-Name")),
        }
    }
}

/// Acct-Status-Type, as far as it matters. RFC 2866 §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Start,
    Stop,
    Interim,
    /// The whole NAS began or ended: no session of before is left.
    AllOff,
    /// Acknowledged, and nothing else.
    Other,
}

/// Which attribute a place came by: when one is told anew, it replaces those that came by the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    FramedAddress,
    /// The block around the address, by Framed-IP-Netmask.
    FramedNet,
    FramedRoute,
    FramedV6Prefix,
    FramedV6Route,
    DelegatedPrefix,
    FramedV6Address,
    Ports,
}

/// What a packet says, borrowed from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<'p> {
    pub identifier: u8,
    pub status: Status,
    /// NAS-Identifier, NAS-IP-Address, NAS-IPv6-Address, as far as they are there.
    pub nas: [Option<&'p [u8]>; 3],
    pub session: &'p [u8],
    pub circuit: Option<&'p [u8]>,
    pub port: Option<&'p [u8]>,
    pub user: Option<&'p [u8]>,
    /// The profile that a Class names.
    pub profile: Option<&'p str>,
    /// When it happened, in seconds since 1970: Event-Timestamp; `None`: it does not say.
    pub at: Option<u32>,
    /// Seconds that it was on its way before it was sent.
    pub delay: u32,
    pub places: Vec<(Kind, Place)>,
    /// More places than a session has; those are not listened to.
    pub has_too_many: bool,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Net(IpNet),
    Ports(Ipv4Addr, u16, u16),
    /// Ports that it has no more.
    PortsBack(Ipv4Addr, u16, u16),
}

impl Place {
    pub fn keys(&self, realm: Realm) -> SmallVec<[Key; 1]> {
        match *self {
            Place::Net(net) => SmallVec::from_elem(Key::of_net(realm, net), 1),
            Place::Ports(address, from, to) | Place::PortsBack(address, from, to) => {
                Key::of_ports(realm, address, from..=to).collect()
            }
        }
    }
}

impl<'p> Told<'p> {
    /// What identifies the line.
    pub fn line(&self, from: &[TokenFrom]) -> Option<&'p [u8]> {
        from.iter().find_map(|from| match from {
            TokenFrom::AgentCircuitId => self.circuit,
            TokenFrom::NasPortId => self.port,
            TokenFrom::UserName => self.user,
        })
    }
}

/// Reads a datagram. Only who knows the secret is listened to.
pub fn read<'p>(datagram: &'p [u8], secret: &[u8]) -> Result<Told<'p>, Dropped> {
    attributes(authentic(datagram, secret)?)
}

/// The packet in a datagram, made by one who knows the secret.
fn authentic<'p>(datagram: &'p [u8], secret: &[u8]) -> Result<&'p [u8], Dropped> {
    let packet = whole(datagram)?;
    if packet[0] != ACCOUNTING_REQUEST {
        return Err(Dropped::OtherCode);
    }
    if !is_equal(&authenticator(packet, &[0; 16], secret), &packet[4..HEADER_OCTETS]) {
        return Err(Dropped::Forged);
    }
    Ok(packet)
}

/// The acknowledgement of a datagram that is authentic and whole.
pub fn answer(datagram: &[u8], secret: &[u8]) -> Result<[u8; HEADER_OCTETS], Dropped> {
    let packet = authentic(datagram, secret)?;
    each_value(&packet[HEADER_OCTETS..], |_, _| {})?;
    Ok(acknowledge(packet, secret))
}

/// Reads a datagram that [`answer`] was given before.
pub fn read_again(datagram: &[u8]) -> Result<Told<'_>, Dropped> {
    attributes(whole(datagram)?)
}

/// The acknowledgement of a packet that was read. RFC 2866 §4.2.
fn acknowledge(request: &[u8], secret: &[u8]) -> [u8; HEADER_OCTETS] {
    let mut response = [0; HEADER_OCTETS];
    (response[0], response[1], response[3]) = (ACCOUNTING_RESPONSE, request[1], HEADER_OCTETS as u8);
    let sum = authenticator(&response, &request[4..HEADER_OCTETS], secret);
    response[4..].copy_from_slice(&sum);
    response
}

/// A request with its authenticator put in: for those who send some.
pub fn sign(packet: &mut [u8], secret: &[u8]) {
    let sum = authenticator(packet, &[0; 16], secret);
    packet[4..HEADER_OCTETS].copy_from_slice(&sum);
}

/// RFC 2865 §3: octets beyond the length are padding; a datagram that is shorter is dropped.
fn whole(datagram: &[u8]) -> Result<&[u8], Dropped> {
    let length = datagram.get(2..4).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
    let length = length.filter(|length| (HEADER_OCTETS..=PACKET_OCTETS_MAX).contains(length));
    length.and_then(|length| datagram.get(..length)).ok_or(Dropped::Malformed)
}

/// MD5 over code, identifier, length, sixteen octets, attributes and secret: RFC 2866 §3.
fn authenticator(packet: &[u8], sixteen: &[u8], secret: &[u8]) -> [u8; 16] {
    let parts = [&packet[..4], sixteen, &packet[HEADER_OCTETS..], secret];
    parts.iter().fold(Md5::new(), |sum, part| sum.chain_update(part)).finalize().into()
}

/// In the same time wherever they differ.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Type, length, value, until nothing is left.
fn each_value<'p>(mut rest: &'p [u8], mut with: impl FnMut(u8, &'p [u8])) -> Result<(), Dropped> {
    while let [kind, length, ..] = *rest {
        let value = rest.get(2..usize::from(length)).ok_or(Dropped::Malformed)?;
        with(kind, value);
        rest = &rest[usize::from(length)..];
    }
    if rest.is_empty() { Ok(()) } else { Err(Dropped::Malformed) }
}

fn attributes(packet: &[u8]) -> Result<Told<'_>, Dropped> {
    let mut told = Told {
        identifier: packet[1],
        status: Status::Other,
        nas: [None; 3],
        session: &[],
        circuit: None,
        port: None,
        user: None,
        profile: None,
        at: None,
        delay: 0,
        places: Vec::new(),
        has_too_many: false,
    };
    let (mut ports, mut mask) = (Vec::new(), None);
    each_value(&packet[HEADER_OCTETS..], |kind, value| {
        let mut place = |kind: Kind, net: Option<IpNet>| told.places.extend(net.map(|net| (kind, Place::Net(net))));
        match kind {
            1 => told.user = some(value),
            4 => told.nas[1] = some(value),
            // RFC 2865 §5.8: these two say that the client chooses, or the NAS will.
            8 if value != [255; 4] && value != [255, 255, 255, 254] => place(Kind::FramedAddress, host_v4(value)),
            9 => mask = netmask(value),
            22 => place(Kind::FramedRoute, route(value)),
            25 => {
                told.profile =
                    std::str::from_utf8(value).ok().and_then(|text| text.strip_prefix(CLASS_LEAD)).or(told.profile)
            }
            26 => told.circuit = circuit(value).or(told.circuit),
            32 => told.nas[0] = some(value),
            40 => told.status = status(value),
            41 => told.delay = number(value).unwrap_or(0),
            44 => told.session = value,
            // RFC 2869 §5.3.
            55 => told.at = number(value),
            87 => told.port = some(value),
            95 => told.nas[2] = some(value),
            // RFC 3162 §2.3 and §2.5, RFC 4818 §3, RFC 6911 §3.1.
            97 => place(Kind::FramedV6Prefix, prefix_v6(value)),
            99 => place(Kind::FramedV6Route, route(value)),
            123 => place(Kind::DelegatedPrefix, prefix_v6(value)),
            168 => place(Kind::FramedV6Address, host_v6(value)),
            // RFC 6929 §2.1: the first octet is the attribute; RFC 8045 §3.1.2.
            241 if value.first() == Some(&6) => ports.extend(port_range(&value[1..])),
            _ => {}
        }
    })?;
    let address = told.places.iter().find_map(|(kind, place)| match (kind, place) {
        (Kind::FramedAddress, Place::Net(IpNet::V4(net))) => Some(net.addr()),
        _ => None,
    });
    if let (Some(IpAddr::V4(address)), Some(bits), true) = (address.map(IpAddr::from), mask, ports.is_empty()) {
        let net = Ipv4Net::new(address, bits).map(|net| Place::Net(net.trunc().into()));
        told.places.extend(net.ok().map(|net| (Kind::FramedNet, net)));
    }
    for PortRange { address: own, from, to, is_back } in ports {
        // Without an outside address of its own the range is the session's address's.
        let Some(address) = own.or(address) else { continue };
        let place = if is_back { Place::PortsBack(address, from, to) } else { Place::Ports(address, from, to) };
        told.places.push((Kind::Ports, place));
        // An address that is shared is not this session's alone.
        told.places.retain(|(kind, place)| *kind != Kind::FramedAddress || *place != Place::Net(host(address.into())));
    }
    told.has_too_many = told.places.len() > SESSION_PLACES_MAX;
    told.places.truncate(SESSION_PLACES_MAX);
    Ok(told)
}

fn some(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn status(value: &[u8]) -> Status {
    match number(value) {
        Some(1) => Status::Start,
        Some(2) => Status::Stop,
        Some(3) => Status::Interim,
        Some(7 | 8) => Status::AllOff,
        _ => Status::Other,
    }
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn host_v4(value: &[u8]) -> Option<IpNet> {
    let octets: [u8; 4] = value.try_into().ok()?;
    Some(host(Ipv4Addr::from(octets).into()))
}

/// Bits of a mask that says of a few addresses that they are the line's.
fn netmask(value: &[u8]) -> Option<u8> {
    let mask = number(value)?;
    let bits = mask.leading_ones();
    let is_whole = bits + mask.trailing_zeros() == u32::BITS;
    u8::try_from(bits).ok().filter(|bits| is_whole && (FRAMED_NETMASK_BITS_MIN..32).contains(bits))
}

fn host_v6(value: &[u8]) -> Option<IpNet> {
    let octets: [u8; 16] = value.try_into().ok()?;
    Some(host(Ipv6Addr::from(octets).into()))
}

/// A reserved octet, a length, and as many octets as needed.
fn prefix_v6(value: &[u8]) -> Option<IpNet> {
    let (&[_, length], octets) = value.split_first_chunk::<2>()?;
    let mut whole = [0; 16];
    whole.get_mut(..octets.len())?.copy_from_slice(octets);
    let net = Ipv6Net::new(Ipv6Addr::from(whole), length).ok()?.trunc();
    (length >= SUBSCRIBER_PREFIX_BITS_MIN).then_some(net.into())
}

/// RFC 2865 §5.22: text, a prefix first; without a length that of its class, which nobody means any more: a host.
fn route(value: &[u8]) -> Option<IpNet> {
    let text = std::str::from_utf8(value).ok()?.split_ascii_whitespace().next()?;
    let net: IpNet = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    (net.prefix_len() >= SUBSCRIBER_PREFIX_BITS_MIN).then(|| net.trunc())
}

fn circuit(value: &[u8]) -> Option<&[u8]> {
    let (vendor, rest) = value.split_first_chunk::<4>()?;
    let mut found = None;
    if u32::from_be_bytes(*vendor) == BROADBAND_FORUM {
        let whole = each_value(rest, |kind, value| found = if kind == 1 { some(value) } else { found });
        whole.ok()?;
    }
    found
}

struct PortRange {
    address: Option<Ipv4Addr>,
    from: u16,
    to: u16,
    is_back: bool,
}

/// RFC 8045 §3.1.2: start and end, the outside address perhaps, and whether they are given or taken back.
fn port_range(value: &[u8]) -> Option<PortRange> {
    let (mut address, mut from, mut to, mut is_back) = (None, None, None, false);
    let port = |value: &[u8]| number(value).and_then(|port| u16::try_from(port).ok());
    let whole = each_value(value, |kind, value| match kind {
        3 => address = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
        8 => is_back = number(value) == Some(2),
        9 => from = port(value),
        10 => to = port(value),
        _ => {}
    });
    whole.ok()?;
    let (from, to) = (from?, to?);
    (from <= to).then_some(PortRange { address, from, to, is_back })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a-good-secret";

    fn packet(attributes: &[(u8, &[u8])]) -> Vec<u8> {
        let mut packet = vec![ACCOUNTING_REQUEST, 9, 0, 0];
        packet.extend([0; 16]);
        for (kind, value) in attributes {
            packet.extend([*kind, value.len() as u8 + 2]);
            packet.extend_from_slice(value);
        }
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        sign(&mut packet, SECRET);
        packet
    }

    #[test]
    fn only_a_whole_packet_made_with_our_secret_is_listened_to() {
        let good = packet(&[(40, &[0, 0, 0, 1]), (44, b"s1")]);
        assert_eq!(read(&good, SECRET).unwrap().status, Status::Start);
        assert_eq!(answer(&good, SECRET), Ok(acknowledge(&good, SECRET)));
        assert_eq!(read_again(&good), read(&good, SECRET));
        let padded = [&good[..], &[0; 5]].concat();
        assert_eq!(read(&padded, SECRET).unwrap().session, b"s1");
        for length in 0..good.len() {
            assert_eq!(read(&good[..length], SECRET), Err(Dropped::Malformed), "{length}");
        }
        assert_eq!(read(&good, b"another-secret"), Err(Dropped::Forged));
        for at in 4..good.len() {
            let mut forged = good.clone();
            forged[at] ^= 1;
            assert_eq!(read(&forged, SECRET), Err(Dropped::Forged), "octet {at}");
            assert_eq!(answer(&forged, SECRET), Err(Dropped::Forged), "octet {at}");
        }
        let mut other = good.clone();
        other[0] = 1;
        assert_eq!(read(&other, SECRET), Err(Dropped::OtherCode));
        // An attribute that is longer than what is left, and one that is shorter than its own head.
        for bad in [&[44_u8, 9, 1][..], &[44, 1], &[44]] {
            let mut whole = packet(&[]);
            whole.extend_from_slice(bad);
            whole[3] = whole.len() as u8;
            sign(&mut whole, SECRET);
            assert_eq!(read(&whole, SECRET), Err(Dropped::Malformed), "{bad:?}");
            assert_eq!(answer(&whole, SECRET), Err(Dropped::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn the_acknowledgement_is_made_with_the_requests_authenticator() {
        let request = packet(&[(44, b"s1")]);
        let response = acknowledge(&request, SECRET);
        assert_eq!(response[..4], [5, 9, 0, 20]);
        let mut sum = Md5::new();
        sum.update([5, 9, 0, 20]);
        sum.update(&request[4..20]);
        sum.update(SECRET);
        assert_eq!(response[4..], <[u8; 16]>::from(sum.finalize()));
    }

    #[test]
    fn attributes_say_where_a_session_is() {
        let range = |start: u32, end: u32, alloc: u32| {
            let tlv = |kind: u8, value: u32| [&[kind, 6][..], &value.to_be_bytes()].concat();
            [&[6][..], &tlv(3, 0xc633_6407), &tlv(8, alloc), &tlv(9, start), &tlv(10, end)].concat()
        };
        let net = |text: &str| Place::Net(text.parse().unwrap());
        let shared = Ipv4Addr::new(198, 51, 100, 7);
        let delegated: &[u8] = &[0, 56, 0x20, 1, 0xd, 0xb8, 0, 0, 1, 0xff];
        type Case = (u8, Vec<u8>, Option<(Kind, Place)>);
        let cases: Vec<Case> = vec![
            (8, vec![100, 64, 1, 2], Some((Kind::FramedAddress, net("100.64.1.2/32")))),
            (8, vec![255, 255, 255, 254], None),
            (8, vec![1, 2, 3], None),
            (22, b"203.0.113.0/29 100.64.1.2 1".to_vec(), Some((Kind::FramedRoute, net("203.0.113.0/29")))),
            (22, b"203.0.113.9 0.0.0.0".to_vec(), Some((Kind::FramedRoute, net("203.0.113.9/32")))),
            (22, b"0.0.0.0/0 100.64.1.2 1".to_vec(), None),
            (22, vec![0xff; 9], None),
            (97, vec![0, 64, 0x20, 1, 0xd, 0xb8, 0, 1, 0, 2], Some((Kind::FramedV6Prefix, net("2001:db8:1:2::/64")))),
            (97, vec![0, 129], None),
            (97, vec![0; 19], None),
            (99, b"2001:db8:9::/48 :: 1".to_vec(), Some((Kind::FramedV6Route, net("2001:db8:9::/48")))),
            // Bits beyond the length do not count.
            (123, delegated.to_vec(), Some((Kind::DelegatedPrefix, net("2001:db8:0:100::/56")))),
            (168, vec![0xfd; 16], Some((Kind::FramedV6Address, net("fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd/128")))),
            (241, range(1_024, 2_047, 1), Some((Kind::Ports, Place::Ports(shared, 1_024, 2_047)))),
            (241, range(1_024, 2_047, 2), Some((Kind::Ports, Place::PortsBack(shared, 1_024, 2_047)))),
            (241, range(2_047, 1_024, 1), None),
            (241, range(1_024, 70_000, 1), None),
            (241, vec![5, 1, 6, 0, 0, 0, 1], None),
        ];
        for (kind, value, place) in cases {
            let packet = packet(&[(kind, &value)]);
            assert_eq!(
                read(&packet, SECRET).unwrap().places,
                place.into_iter().collect::<Vec<_>>(),
                "{kind} {value:?}"
            );
        }
        // The block around an address, where a mask says so that no network of many lines has.
        for (mask, block) in [
            ([255, 255, 255, 240], Some("100.64.1.16/28")),
            ([255, 255, 255, 192], Some("100.64.1.0/26")),
            ([255, 255, 255, 128], None),
            ([255, 255, 255, 255], None),
            ([255, 0, 255, 240], None),
            ([0; 4], None),
        ] {
            let address = (Kind::FramedAddress, net("100.64.1.18/32"));
            let block = block.map(|block| (Kind::FramedNet, net(block)));
            for attributes in [[(9, &mask), (8, &[100, 64, 1, 18])], [(8, &[100, 64, 1, 18]), (9, &mask)]] {
                let packet = packet(&attributes.map(|(kind, value)| (kind, &value[..])));
                let expected: Vec<_> = std::iter::once(address).chain(block).collect();
                assert_eq!(read(&packet, SECRET).unwrap().places, expected, "{mask:?}");
            }
            assert!(read(&packet(&[(9, &mask)]), SECRET).unwrap().places.is_empty(), "of no address");
        }
        // A shared address is not the session's alone.
        let both = packet(&[(8, &[198, 51, 100, 7]), (241, &range(1_024, 2_047, 1))]);
        assert_eq!(read(&both, SECRET).unwrap().places, [(Kind::Ports, Place::Ports(shared, 1_024, 2_047))]);
    }

    #[test]
    fn the_first_identifier_that_is_there_names_the_line() {
        let circuit = [&3_561_u32.to_be_bytes()[..], &[1, 8], b"olt/1/"].concat();
        let all: &[(u8, &[u8])] =
            &[(1, b"an@isp"), (87, b"ge-0/0/1"), (26, &circuit), (25, b"lachan:family"), (25, b"x")];
        let whole = packet(all);
        let told = read(&whole, SECRET).unwrap();
        use TokenFrom::{AgentCircuitId, NasPortId, UserName};
        assert_eq!(told.line(&TokenFrom::DEFAULT), Some(&b"olt/1/"[..]));
        assert_eq!(told.line(&[UserName, AgentCircuitId]), Some(&b"an@isp"[..]));
        assert_eq!(told.profile, Some("family"));
        let little = packet(&all[..2]);
        assert_eq!(read(&little, SECRET).unwrap().line(&[AgentCircuitId, NasPortId]), Some(&b"ge-0/0/1"[..]));
        assert_eq!(read(&packet(&[]), SECRET).unwrap().line(&TokenFrom::DEFAULT), None);
        for text in ["Agent-Circuit-Id", "NAS-Port-Id", "User-Name"] {
            assert!(TokenFrom::from_text(text).is_ok());
        }
        assert!(TokenFrom::from_text("user-name").is_err());
    }
}
