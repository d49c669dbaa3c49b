//! Text of one value → its type: durations, sizes, networks, addresses, names of things.
//!
//! Each reader says in one sentence what is wrong with the text; where it stands is its caller's to add. Upstream servers
//! are in [`server`](super::server).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::engine::gate::Share;

use super::errors::nearest;

/// Longest name of a list, profile or client, in octets: it becomes a metric's label. Chosen.
const NAME_OF_THING_OCTETS_MAX: usize = 64;

const SECOND: u64 = 1_000;
/// Unit → milliseconds.
const TIME_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", SECOND),
    ("sec", SECOND),
    ("second", SECOND),
    ("seconds", SECOND),
    ("m", 60 * SECOND),
    ("min", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("minutes", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("hour", 3_600 * SECOND),
    ("hours", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
    ("day", 86_400 * SECOND),
    ("days", 86_400 * SECOND),
];

/// `30 s`, `10m`, `1 hour`, `1 h 30 m`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let example = "write it as \"30 s\", \"10 m\", \"1 hour\" or \"1 day\"";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("a duration is empty; {example}"));
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (digits, after) = split_number(rest);
        let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no duration; {example}"))?;
        let after = after.trim_start();
        let end = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit_ms = match TIME_UNITS.iter().find(|(name, _)| *name == unit) {
            Some(&(_, ms)) => ms,
            None if unit.is_empty() && digits.len() == text.trim().len() => SECOND,
            None => return Err(format!("{text:?} is no duration: {unit:?} is no unit of time; {example}")),
        };
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| format!("{text:?} is longer than can be counted"))?;
        rest = next.trim_start();
    }
    Ok(Duration::from_millis(total_ms))
}

/// A duration within bounds; both are named when it is not.
pub(super) fn duration_within(text: &str, low: (&str, Duration), high: (&str, Duration)) -> Result<Duration, String> {
    let value = duration(text)?;
    if value < low.1 || value > high.1 {
        return Err(format!("{text:?} is out of bounds, must be {} to {}", low.0, high.0));
    }
    Ok(value)
}

/// `256 MiB`; a bare number is octets.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (digits, unit) = split_number(text);
    let unit = unit.trim();
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "K" | "k" | "KB" | "kB" | "M" | "MB" | "G" | "GB" => {
            let letter = unit[..1].to_uppercase();
            return Err(format!("{text:?} leaves open which unit is meant; write \"{digits} {letter}iB\""));
        }
        _ => return Err(format!("{text:?} is no size; write it as \"256 MiB\" (KiB, MiB, GiB)")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no size; write it as \"256 MiB\""))?;
    number
        .checked_mul(1 << shift)
        .filter(|&octets| usize::try_from(octets).is_ok())
        .ok_or_else(|| format!("{text:?} is more than this machine can address"))
}

/// `30 %`, `0.5%`: to a hundredth of a percent.
pub(super) fn share(text: &str) -> Result<Share, String> {
    let bad = || format!("{text:?} is no share; write it as \"30 %\" or \"0.5 %\"");
    let number = text.trim().strip_suffix('%').ok_or_else(bad)?.trim_end();
    let (whole, hundredths) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_digits(whole) || !is_digits(hundredths) || hundredths.len() > 2 || whole.len() > 6 {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let rest: u64 = format!("{hundredths:0<2}").parse().map_err(|_| bad())?;
    Ok(Share(whole * 100 + rest))
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits beyond the prefix are a slip, so they are refused.
/// # Errors
/// What is wrong with it, and what may have been meant.
pub fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return not_mapped(IpNet::from(address), text);
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("{text:?} is no network; write it as \"10.20.0.0/16\" or \"2001:db8::/48\""))?;
    if net.addr() != net.network() {
        return Err(format!("{text:?} has bits set beyond its prefix; did you mean {:?}?", net.trunc().to_string()));
    }
    not_mapped(net, text)
}

/// Sources are unmapped before they are looked up, so a v4-mapped network would never match.
fn not_mapped(net: IpNet, text: &str) -> Result<IpNet, String> {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
            Err(format!("{text:?} is a v4-mapped network; write its IPv4 form"))
        }
        IpNet::V4(_) | IpNet::V6(_) => Ok(net),
    }
}

/// Address and port to listen on. Port 0 lets the system choose; `usual` is the one that is shown in an error.
pub(super) fn listen_address(text: &str, usual: u16) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let with_port = SocketAddr::new(ip, usual);
        return Err(format!("{text:?} has no port; did you mean {:?}?", with_port.to_string()));
    }
    Err(format!(
        "{text:?} is no address with a port (0 to 65535); write it as \"192.0.2.1:{usual}\" or \"[2001:db8::1]:{usual}\""
    ))
}

/// Address of a server, with port 53 when none is given.
pub(super) fn server_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    let address = bare.or_else(|_| text.parse::<SocketAddr>()).map_err(|_| {
        format!("{text:?} is no address; write it as \"192.0.2.1\", \"192.0.2.1:53\" or \"[2001:db8::1]:53\"")
    })?;
    reachable(address, text)
}

/// Refuses addresses that no server can have.
pub(super) fn reachable(address: SocketAddr, text: &str) -> Result<SocketAddr, String> {
    let ip = address.ip().to_canonical();
    let broadcast = ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(format!("{text:?}: no server can have the address {ip}"));
    }
    if address.port() == 0 {
        return Err(format!("{text:?}: no server can have port 0"));
    }
    Ok(address)
}

/// An address for block pages: never loopback or `0.0.0.0`, which would name the asker's own machine.
pub(super) fn page_address<T>(text: &str, family: &str) -> Result<T, String>
where
    T: std::str::FromStr + Copy + Into<IpAddr>,
{
    let address: T = text.parse().map_err(|_| format!("{text:?} is no {family} address"))?;
    let ip: IpAddr = address.into();
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{text:?} cannot be the address of a notice page"));
    }
    Ok(address)
}

/// The name of a list, profile or client: it is shown and becomes a metric's label.
pub(super) fn check_thing_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is empty".to_owned());
    }
    if name.len() > NAME_OF_THING_OCTETS_MAX {
        return Err(format!("the name is {} octets, at most {NAME_OF_THING_OCTETS_MAX}", name.len()));
    }
    match name.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("{c:?} cannot stand in a name")),
        None => Ok(()),
    }
}

/// The name of a category: also a label of its test name, `adult.block.lachan.example`.
pub(super) fn check_category_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > crate::engine::limits::LABEL_OCTETS_MAX || !name.chars().all(fits) {
        return Err(format!("the category's name {name:?} must be 1 to 63 lower-case letters, digits and hyphens"));
    }
    Ok(())
}

/// What people in Việt Nam call their time, lower case and without spaces and the like; the database has one name for it.
const VIET_NAM: &[&str] = &[
    "hanoi",
    "hànội",
    "saigon",
    "sàigòn",
    "hochiminh",
    "hồchíminh",
    "hochiminhcity",
    "tphcm",
    "hcm",
    "hcmc",
    "vietnam",
    "việtnam",
    "vn",
    "danang",
    "đànẵng",
    "haiphong",
    "hảiphòng",
    "cantho",
    "cầnthơ",
    "hue",
    "huế",
    "ict",
    "utc+7",
    "utc+07",
    "utc+0700",
    "gmt+7",
    "gmt+07",
    "gmt+0700",
    "+7",
    "+07",
    "+0700",
];
const VIET_NAM_ZONE: &str = "Asia/Ho_Chi_Minh";

/// The zone that somebody probably means who wrote `text`: a place of this country, else the nearest spelling.
fn zone_meant<'a>(text: &str, all: &'a [String]) -> &'a str {
    let place = text.rsplit('/').next().unwrap_or(text);
    let folded: String = place.chars().filter(|c| !" _.:".contains(*c)).flat_map(char::to_lowercase).collect();
    if VIET_NAM.contains(&folded.as_str()) {
        return VIET_NAM_ZONE;
    }
    nearest(text, all.iter().map(String::as_str)).unwrap_or(VIET_NAM_ZONE)
}

/// A time zone of the IANA database.
pub(super) fn time_zone(text: &str) -> Result<String, String> {
    let database = jiff::tz::db();
    if let Ok(zone) = database.get(text) {
        return Ok(zone.iana_name().unwrap_or(text).to_owned());
    }
    let all: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let near = zone_meant(text, &all);
    Err(format!("{text:?} is no time zone of the IANA database; did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("30 s", 30_000),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1 hour", 3_600_000),
            ("1 day", 86_400_000),
            ("2 days", 172_800_000),
            ("1 h 30 m", 5_400_000),
            ("1h30m", 5_400_000),
            ("500 ms", 500),
            ("0", 0),
            ("45", 45_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", " ", "s", "10 x", "-1 s", "1.5 h", "1 h 30", "1 day ago", "99999999999999999999 s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert!(duration("999999999999999999 days").unwrap_err().contains("longer than can be counted"));
    }

    #[test]
    fn sizes() {
        for (text, octets) in [("256 MiB", 256 << 20), ("1GiB", 1 << 30), ("4 KiB", 4096), ("7 B", 7), ("1000", 1000)] {
            assert_eq!(size(text), Ok(octets), "{text}");
        }
        for text in ["", "MiB", "1.5 GiB", "-1", "10 XiB", "99999999999 GiB"] {
            assert!(size(text).is_err(), "{text:?}");
        }
        assert!(size("256 MB").unwrap_err().contains("write \"256 MiB\""));
    }

    #[test]
    fn networks() {
        for (text, want) in
            [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("2001:db8::/32", "2001:db8::/32")]
        {
            assert_eq!(network(text).unwrap().to_string(), want);
        }
        for text in ["10.0.0.0/33", "10.0.0/8", "", "all", "2001:db8::/129", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1"] {
            assert!(network(text).is_err(), "{text:?}");
        }
        assert!(network("10.20.3.4/16").unwrap_err().contains("did you mean \"10.20.0.0/16\"?"));
    }

    #[test]
    fn addresses() {
        assert!(listen_address("127.0.0.1:0", 53).is_ok());
        assert!(listen_address("[::1]:53", 53).is_ok());
        assert!(listen_address("::1", 53).unwrap_err().contains("did you mean \"[::1]:53\"?"));
        for text in ["127.0.0.1:70000", "localhost:53", "", ":53"] {
            assert!(listen_address(text, 53).is_err(), "{text:?}");
        }
        assert_eq!(server_address("192.0.2.1"), Ok("192.0.2.1:53".parse().unwrap()));
        assert_eq!(server_address("[2001:db8::1]:54"), Ok("[2001:db8::1]:54".parse().unwrap()));
        for text in ["0.0.0.0", "192.0.2.1:0", "224.0.0.1", "255.255.255.255", "::", "dns.example"] {
            assert!(server_address(text).is_err(), "{text:?}");
        }
        assert!(page_address::<std::net::Ipv4Addr>("192.0.2.1", "IPv4").is_ok());
        assert!(page_address::<std::net::Ipv4Addr>("127.0.0.1", "IPv4").is_err());
        assert!(page_address::<std::net::Ipv6Addr>("192.0.2.1", "IPv6").is_err());
    }

    #[test]
    fn names_of_things() {
        assert!(check_thing_name("Lớp 6A").is_ok());
        assert!(check_thing_name("").is_err());
        assert!(check_thing_name("a\nb").is_err());
        assert!(check_thing_name(&"x".repeat(65)).is_err());
        assert!(check_category_name("self-harm").is_ok());
        assert!(check_category_name("Adult").is_err());
        assert!(check_category_name("a.b").is_err());
    }

    #[test]
    fn time_zones() {
        assert_eq!(time_zone("Asia/Ho_Chi_Minh").as_deref(), Ok("Asia/Ho_Chi_Minh"));
        assert_eq!(time_zone("UTC").as_deref(), Ok("UTC"));
        assert!(time_zone("Asia/Ho_Chi_Min").unwrap_err().contains("did you mean \"Asia/Ho_Chi_Minh\"?"));
        for text in [
            "Asia/Hanoi",
            "Hanoi",
            "Hà Nội",
            "Asia/Ha_Noi",
            "Saigon",
            "Ho Chi Minh",
            "Asia/HoChiMinh",
            "TP.HCM",
            "Vietnam",
            "Asia/Da_Nang",
            "+07",
            "UTC+7",
            "GMT+07:00",
        ] {
            let why = time_zone(text).unwrap_err();
            assert!(why.contains("did you mean \"Asia/Ho_Chi_Minh\"?"), "{why}");
        }
        assert!(time_zone("Asia/Bankok").unwrap_err().contains("Asia/Bangkok"));
        assert!(!time_zone("UTC-7").unwrap_err().contains("Ho_Chi_Minh"));
        assert!(time_zone("").is_err());
    }
}
