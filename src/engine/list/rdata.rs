//! Record data as text → octets, for rules that bring an answer of their own.
//!
//! The types that such rules use; any other can be written as RFC 3597 has it (`\# 4 c0000201`).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::engine::limits::NAME_OCTETS_MAX;
use crate::engine::name::Name;
use crate::engine::query::RecordType;

/// Types by name; `TYPE123` is any.
const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("NULL", 10),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("SIG", 24),
    ("KEY", 25),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("DNAME", 39),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("IPSECKEY", 45),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("DHCID", 49),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("SMIMEA", 53),
    ("HIP", 55),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("CSYNC", 62),
    ("ZONEMD", 63),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("EUI48", 108),
    ("EUI64", 109),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
];

/// A record type by its name, in any case.
pub(super) fn record_type(text: &str) -> Option<RecordType> {
    if let Some((_, number)) = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Some(RecordType(*number));
    }
    let (word, number) = text.split_at_checked(4)?;
    let number: u16 = number.parse().ok().filter(|_| word.eq_ignore_ascii_case("TYPE"))?;
    (number != 0).then_some(RecordType(number))
}

/// The data of a record from its words; a quoted string is one word without its quotes. Names are below `origin` unless
/// they end with a dot.
pub(super) fn rdata(rtype: RecordType, words: &[&str], origin: &Name) -> Option<Box<[u8]>> {
    if let ["\\#", length, hex @ ..] = words {
        return generic(length, &hex.concat());
    }
    let mut out = Vec::new();
    match (rtype, words) {
        (RecordType::A, [address]) => out.extend(address.parse::<Ipv4Addr>().ok()?.octets()),
        (RecordType::AAAA, [address]) => out.extend(address.parse::<Ipv6Addr>().ok()?.octets()),
        (RecordType::CNAME | RecordType::DNAME | RecordType::NS | RecordType::PTR, [target]) => {
            out.extend_from_slice(name(target, origin)?.as_wire());
        }
        (RecordType::MX, [preference, exchange]) => {
            out.extend(preference.parse::<u16>().ok()?.to_be_bytes());
            out.extend_from_slice(name(exchange, origin)?.as_wire());
        }
        (RecordType::SRV, [priority, weight, port, target]) => {
            for number in [priority, weight, port] {
                out.extend(number.parse::<u16>().ok()?.to_be_bytes());
            }
            out.extend_from_slice(name(target, origin)?.as_wire());
        }
        (RecordType::TXT, [_, ..]) => {
            for text in words {
                string(&unescape(text)?, &mut out)?;
            }
        }
        (RecordType::CAA, [flags, tag, value]) => {
            out.push(flags.parse().ok()?);
            string(tag.as_bytes(), &mut out)?;
            out.extend(unescape(value)?);
        }
        (RecordType::SVCB | RecordType::HTTPS, [priority, target, params @ ..]) => {
            out.extend(priority.parse::<u16>().ok()?.to_be_bytes());
            out.extend_from_slice(name(target, origin)?.as_wire());
            service_params(params, &mut out)?;
        }
        _ => return None,
    }
    (out.len() <= usize::from(u16::MAX)).then(|| out.into())
}

/// A name of record data: `.` is the root, one without a final dot is below `origin`.
pub(super) fn name(text: &str, origin: &Name) -> Option<Name> {
    match text {
        "." => Some(Name::ROOT),
        "@" => Some(origin.clone()),
        _ => match text.strip_suffix('.').filter(|rest| !rest.ends_with('\\')) {
            Some(absolute) => zone_name(absolute),
            None => below(text, origin),
        },
    }
}

/// `text` put in front of `origin`.
fn below(text: &str, origin: &Name) -> Option<Name> {
    let name = zone_name(text)?;
    let labels = &name.as_wire()[..name.as_wire().len() - 1];
    Name::from_wire(&[labels, origin.as_wire()].concat()).ok()
}

/// A name as zone files write it: `\.` and `\123` stand for octets that text cannot have. RFC 1035 §5.1.
pub(super) fn zone_name(text: &str) -> Option<Name> {
    if !text.is_ascii() {
        return Name::from_text(text).ok();
    }
    let mut wire = Vec::with_capacity(text.len() + 2);
    let mut label_at = 0;
    wire.push(0);
    let mut octets = text.bytes();
    while let Some(c) = octets.next() {
        match c {
            b'.' => {
                let length = wire.len() - label_at - 1;
                wire[label_at] = u8::try_from(length).ok().filter(|n| (1..=63).contains(n))?;
                label_at = wire.len();
                wire.push(0);
            }
            b'\\' => wire.push(escaped(&mut octets)?),
            _ => wire.push(c),
        }
        if wire.len() > NAME_OCTETS_MAX {
            return None;
        }
    }
    let length = wire.len() - label_at - 1;
    wire[label_at] = u8::try_from(length).ok().filter(|n| (1..=63).contains(n))?;
    wire.push(0);
    Name::from_wire(&wire).ok()
}

/// What follows a `\`: three decimal digits, or the character itself.
fn escaped(octets: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let first = octets.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digit = |c: u8| c.is_ascii_digit().then(|| u16::from(c - b'0'));
    let number = digit(first)? * 100 + digit(octets.next()?)? * 10 + digit(octets.next()?)?;
    u8::try_from(number).ok()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(c) = octets.next() {
        out.push(if c == b'\\' { escaped(&mut octets)? } else { c });
    }
    Some(out)
}

/// A character-string: its length in one octet, then its octets.
fn string(octets: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(u8::try_from(octets.len()).ok()?);
    out.extend_from_slice(octets);
    Some(())
}

/// RFC 3597 §5.
fn generic(length: &str, hex: &str) -> Option<Box<[u8]>> {
    let octets: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    octets.filter(|octets| length.parse() == Ok(octets.len())).map(Into::into)
}

/// `alpn=h3,h2 port=8443`, by rising number. RFC 9460 §2.1, §2.2.
fn service_params(params: &[&str], out: &mut Vec<u8>) -> Option<()> {
    let mut all = Vec::with_capacity(params.len());
    for param in params {
        let (key, value) = param.split_once('=').unwrap_or((param, ""));
        let value = value.trim_matches('"');
        let mut octets = Vec::new();
        let number: u16 = match key {
            "mandatory" => {
                let mut keys: Vec<u16> = value.split(',').map(param_number).collect::<Option<_>>()?;
                keys.sort_unstable();
                octets.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
                0
            }
            "alpn" => {
                value.split(',').try_for_each(|id| string(id.as_bytes(), &mut octets))?;
                1
            }
            "no-default-alpn" => 2,
            "port" => {
                octets.extend(value.parse::<u16>().ok()?.to_be_bytes());
                3
            }
            "ipv4hint" => {
                for address in value.split(',') {
                    octets.extend(address.parse::<Ipv4Addr>().ok()?.octets());
                }
                4
            }
            "ipv6hint" => {
                for address in value.split(',') {
                    octets.extend(address.parse::<Ipv6Addr>().ok()?.octets());
                }
                6
            }
            "dohpath" => {
                octets.extend_from_slice(value.as_bytes());
                7
            }
            _ => {
                octets.extend(unescape(value)?);
                param_number(key)?
            }
        };
        // `key=` is only left out where a key has no value.
        if param.contains('=') == (number == 2) {
            return None;
        }
        all.push((number, octets));
    }
    all.sort_unstable();
    if all.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return None;
    }
    for (number, octets) in all {
        out.extend(number.to_be_bytes());
        out.extend(u16::try_from(octets.len()).ok()?.to_be_bytes());
        out.extend(octets);
    }
    Some(())
}

fn param_number(key: &str) -> Option<u16> {
    const KEYS: &[&str] = &["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath"];
    match KEYS.iter().position(|known| *known == key) {
        Some(number) => Some(number as u16),
        None => key.strip_prefix("key")?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn data_is_written_as_the_wire_has_it() {
        let origin = Name::from_text("zone.example").unwrap();
        for (rtype, words, expected) in [
            ("A", &["192.0.2.1"][..], Some("c0000201")),
            ("AAAA", &["::1"], Some("00000000000000000000000000000001")),
            ("CNAME", &["a"], Some("0161047a6f6e65076578616d706c6500")),
            ("CNAME", &["a.b."], Some("0161016200")),
            ("CNAME", &["a\\.b."], Some("03612e6200")),
            ("PTR", &["."], Some("00")),
            ("MX", &["10", "a."], Some("000a016100")),
            ("SRV", &["1", "2", "3", "."], Some("00010002000300")),
            ("TXT", &["hi", "\\097\\\""], Some("026869026122")),
            ("CAA", &["0", "issue", "a"], Some("0005697373756561")),
            ("HTTPS", &["1", ".", "port=8443", "alpn=h3"], Some("00010000010003026833000300 0220fb")),
            ("SVCB", &["1", ".", "no-default-alpn"], Some("00010000020000")),
            ("TYPE65280", &["\\#", "2", "ab", "cd"], Some("abcd")),
            ("TYPE65280", &["\\#", "3", "abcd"], None),
            ("A", &["::1"], None),
            ("A", &["192.0.2.1", "192.0.2.2"], None),
            ("MX", &["bad", "a."], None),
            ("SRV", &["1", "2", "3"], None),
            ("SVCB", &["1", ".", "h3"], None),
            ("SVCB", &["1", ".", "port=1", "port=2"], None),
            ("CNAME", &["a..b."], None),
            ("DS", &["1"], None),
        ] {
            let made = rdata(record_type(rtype).unwrap(), words, &origin);
            let expected = expected.map(|hex| hex.replace(' ', ""));
            assert_eq!(made.as_deref().map(hex), expected, "{rtype} {words:?}");
        }
    }

    #[test]
    fn types_have_names_and_numbers() {
        for (text, number) in
            [("a", Some(1)), ("Https", Some(65)), ("TYPE65280", Some(65280)), ("TYPE0", None), ("NONE", None)]
        {
            assert_eq!(record_type(text).map(|rtype| rtype.0), number, "{text}");
        }
    }
}
