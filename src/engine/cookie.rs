//! DNS cookies: what shows that a client is at the address it asks from. RFC 7873, RFC 9018.
//!
//! A server cookie is made of the client's own, its address, the time and a secret, so nothing is remembered, and servers
//! that share a secret take each other's. Secrets and time are arguments.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;
use smallvec::SmallVec;

/// Octets of a client's part.
pub const CLIENT_OCTETS: usize = 8;
/// Octets of the interoperable server part. RFC 9018 §4.
pub const SERVER_OCTETS: usize = 16;
/// Octets of both.
pub const COOKIE_OCTETS: usize = CLIENT_OCTETS + SERVER_OCTETS;
/// Octets of a server part that may be sent. RFC 7873 §4.
const SERVER_OCTETS_ALLOWED: std::ops::RangeInclusive<usize> = 8..=32;
const VERSION: u8 = 1;
/// RFC 9018 §4.3: how old a cookie may be, and how far ahead of our clock, in seconds.
const AGE_MAX: i32 = 3600;
const AHEAD_MAX: i32 = 300;
/// One that is older is replaced.
const RENEWED_AFTER: i32 = 1800;

/// A COOKIE option as a client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    client: [u8; CLIENT_OCTETS],
    server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Absent,
    /// It has the length of ours.
    Given([u8; SERVER_OCTETS]),
    /// Whosever it is, it is not ours.
    Foreign,
}

/// What a client's cookie came to, and the one that its answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub octets: [u8; COOKIE_OCTETS],
    pub standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has none of ours yet.
    New,
    /// It has one that is wrong, too old, or somebody else's.
    Bad,
    /// Nobody else could have sent it.
    Proven,
}

/// 128 bits that nobody else knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

/// What cookies are made and known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookies {
    /// The first makes them, all are accepted: so a fleet changes its secret without a moment of disagreement.
    secrets: SmallVec<[Secret; 2]>,
}

/// What the configuration says of cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CookieSettings {
    Off,
    /// A secret of this process's own.
    Random,
    Given(Cookies),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    pub fn new(octets: [u8; 16]) -> Secret {
        Secret(octets)
    }

    /// Of 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Secret> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut octets = [0; 16];
        if pairs.len() != octets.len() || !rest.is_empty() {
            return None;
        }
        for (octet, pair) in octets.iter_mut().zip(pairs) {
            let digit = |c: u8| char::from(c).to_digit(16);
            *octet = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Some(Secret(octets))
    }
}

impl Cookie {
    /// The value of an option. `None`: it has a length that no cookie has, and the message is FORMERR (RFC 7873 §5.2.2).
    pub fn read(value: &[u8]) -> Option<Cookie> {
        let (client, server) = value.split_first_chunk()?;
        let server = match server.first_chunk() {
            _ if server.is_empty() => Server::Absent,
            _ if !SERVER_OCTETS_ALLOWED.contains(&server.len()) => return None,
            Some(given) if server.len() == SERVER_OCTETS => Server::Given(*given),
            _ => Server::Foreign,
        };
        Some(Cookie { client: *client, server })
    }
}

impl Cookies {
    /// `None` without a secret.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Option<Cookies> {
        let secrets: SmallVec<_> = secrets.into_iter().collect();
        (!secrets.is_empty()).then_some(Cookies { secrets })
    }

    /// Judges a cookie and says which one the answer carries. `now`: seconds since 1970.
    pub fn meet(&self, cookie: Cookie, source: IpAddr, now: u64) -> Told {
        // RFC 9018 §4.3: serial number arithmetic, so that 2106 is no end.
        let now = now as u32;
        let Cookie { client, server } = cookie;
        let made = |server: [u8; SERVER_OCTETS], standing| {
            let mut octets = [0; COOKIE_OCTETS];
            octets[..CLIENT_OCTETS].copy_from_slice(&client);
            octets[CLIENT_OCTETS..].copy_from_slice(&server);
            Told { octets, standing }
        };
        let fresh = || {
            let mut server = [0; SERVER_OCTETS];
            server[0] = VERSION;
            server[4..8].copy_from_slice(&now.to_be_bytes());
            let hash = hash(&self.secrets[0], client, &server, source);
            server[8..].copy_from_slice(&hash.to_le_bytes());
            server
        };
        match server {
            Server::Absent => made(fresh(), Standing::New),
            Server::Foreign => made(fresh(), Standing::Bad),
            Server::Given(given) => match self.is_current(client, &given, source, now) {
                None => made(fresh(), Standing::Bad),
                Some(is_current) => made(if is_current { given } else { fresh() }, Standing::Proven),
            },
        }
    }

    /// Whether a cookie of ours is to be used on. `None`: it is too old, or none of ours.
    fn is_current(&self, client: [u8; 8], server: &[u8; SERVER_OCTETS], source: IpAddr, now: u32) -> Option<bool> {
        let made_at = u32::from_be_bytes([server[4], server[5], server[6], server[7]]);
        let age = now.wrapping_sub(made_at) as i32;
        if server[0] != VERSION || !(-AHEAD_MAX..=AGE_MAX).contains(&age) {
            return None;
        }
        let (_, given) = server.split_last_chunk::<8>()?;
        let given = u64::from_le_bytes(*given);
        // Every secret is tried, and 64 bits are compared at once: the time tells nothing.
        let by =
            self.secrets.iter().enumerate().fold(None, |by, (i, secret)| {
                if hash(secret, client, server, source) == given { Some(i) } else { by }
            })?;
        Some(by == 0 && age <= RENEWED_AFTER)
    }
}

/// RFC 9018 §4.4: over the client's part, version, reserved octets, time and address.
fn hash(secret: &Secret, client: [u8; 8], server: &[u8; SERVER_OCTETS], source: IpAddr) -> u64 {
    let mut octets = [0; CLIENT_OCTETS + 8 + 16];
    octets[..8].copy_from_slice(&client);
    octets[8..16].copy_from_slice(&server[..8]);
    let len = match source.to_canonical() {
        IpAddr::V4(v4) => {
            octets[16..20].copy_from_slice(&v4.octets());
            20
        }
        IpAddr::V6(v6) => {
            octets[16..].copy_from_slice(&v6.octets());
            32
        }
    };
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(&octets[..len]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn cookies(secrets: &[&str]) -> Cookies {
        Cookies::new(secrets.iter().map(|text| Secret::from_hex(text).unwrap())).unwrap()
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    #[test]
    fn the_vectors_of_rfc_9018_hold() {
        let (old, new) = ("dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962");
        for (what, secrets, source, now, asked, told, standing) in [
            (
                "A.1: a new one",
                &[SECRET][..],
                "198.51.100.100",
                1_559_731_985,
                "2464c4abcf10c957",
                "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
                Standing::New,
            ),
            (
                "A.2: the same a while later",
                &[SECRET],
                "198.51.100.100",
                1_559_734_385,
                "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
                "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
                Standing::Proven,
            ),
            (
                "A.3: reserved octets",
                &[SECRET],
                "203.0.113.203",
                1_559_734_700,
                "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
                "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
                Standing::Bad,
            ),
            (
                "A.4: a secret that was replaced",
                &[new, old],
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                1_559_741_961,
                "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
                "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
                Standing::Proven,
            ),
        ] {
            let cookie = Cookie::read(&hex(asked)).unwrap();
            let got = cookies(secrets).meet(cookie, source.parse().unwrap(), now);
            assert_eq!((hex(told), standing), (got.octets.to_vec(), got.standing), "{what}");
        }
    }

    #[test]
    fn a_cookie_is_good_for_an_hour_at_one_address() {
        let cookies = cookies(&[SECRET]);
        let (source, made_at) = ("192.0.2.1".parse().unwrap(), 1_559_731_985);
        let first = cookies.meet(Cookie::read(&hex("2464c4abcf10c957")).unwrap(), source, made_at);
        let again = Cookie::read(&first.octets).unwrap();
        for (what, source, after, standing) in [
            ("at once", "192.0.2.1", 0, Standing::Proven),
            ("as IPv6", "::ffff:192.0.2.1", 0, Standing::Proven),
            ("elsewhere", "192.0.2.2", 0, Standing::Bad),
            ("nearly too old", "192.0.2.1", 3600, Standing::Proven),
            ("too old", "192.0.2.1", 3601, Standing::Bad),
            ("a clock that lags", "192.0.2.1", -300, Standing::Proven),
            ("one that is wrong", "192.0.2.1", -301, Standing::Bad),
        ] {
            let now = made_at.wrapping_add_signed(after);
            let told = cookies.meet(again, source.parse().unwrap(), now);
            assert_eq!(told.standing, standing, "{what}");
            assert_eq!(told.octets == first.octets, standing == Standing::Proven && after <= 1800, "{what}");
        }
        let mut forged = first.octets;
        forged[23] ^= 1;
        assert_eq!(cookies.meet(Cookie::read(&forged).unwrap(), source, made_at).standing, Standing::Bad);
    }

    #[test]
    fn lengths_that_no_cookie_has_are_refused() {
        for len in 0..=64 {
            let is_good = len == 8 || (16..=40).contains(&len);
            assert_eq!(Cookie::read(&vec![7; len]).is_some(), is_good, "{len} octets");
        }
        let foreign = Cookie::read(&[7; 20]).unwrap();
        assert_eq!(cookies(&[SECRET]).meet(foreign, [192, 0, 2, 1].into(), 0).standing, Standing::Bad);
    }

    #[test]
    fn a_secret_is_32_digits() {
        assert!(Secret::from_hex(SECRET).is_some() && Secret::from_hex(&SECRET.to_uppercase()).is_some());
        for bad in [
            "",
            "e5",
            &SECRET[1..],
            &format!("{SECRET}00"),
            &SECRET.replace('e', "g"),
            "é5e973e5a6b2a43f48e7dc849e37bfc",
        ] {
            assert_eq!(Secret::from_hex(bad), None, "{bad}");
        }
        assert_eq!(format!("{:?}", Secret::from_hex(SECRET).unwrap()), "Secret(…)");
    }
}
