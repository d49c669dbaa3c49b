//! One line of what the operator's books say, as JSON: text to changes, and a table's entry back to text.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::engine::client::{Realm, Token, TokenKey};
use crate::engine::limits::SUBSCRIBER_PREFIX_BITS_MIN;
use crate::engine::subscribers::{Change, Entry, Holder, Key, NameId, Table, Term};

/// Octets of a profile's name; a configuration's are shorter.
const PROFILE_OCTETS_MAX: usize = 64;

/// A line as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// `100.64.1.2/32`, `2001:db8:20::/56`, or one address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Ports of a shared address: `1024-2047`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<String>,
    /// 0 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<u16>,
    /// 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A line's identifier as the network tells it; kept as a keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What a client calls itself in a host name or a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Seconds since 1970, or RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expires>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
}

/// When an entry ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Expires {
    Seconds(u32),
    Text(String),
}

/// What lines are read with.
pub struct Reading<'t> {
    pub table: &'t Table,
    /// Makes tokens of lines' identifiers.
    pub key: Option<TokenKey>,
}

impl Line {
    /// Reads JSON.
    ///
    /// # Errors
    /// What is wrong, without the line itself: it may name a person.
    pub fn parse(text: &[u8]) -> Result<Line, String> {
        serde_json::from_slice(text).map_err(|why| match why.classify() {
            serde_json::error::Category::Data => {
                // "unknown field `x`, expected …" names a key, and nothing of a value.
                let text = why.to_string();
                let is_of_keys =
                    ["unknown field", "missing field", "duplicate field"].iter().any(|lead| text.starts_with(lead));
                if is_of_keys { text } else { format!("column {}: a value has the wrong type", why.column()) }
            }
            _ => format!("column {}: not JSON", why.column()),
        })
    }

    /// What it changes. A line with a prefix and a profile and somebody's token says both: whose the prefix is, and what
    /// that one chose.
    pub fn changes(&self, with: &Reading<'_>) -> Result<Vec<Change>, String> {
        let keys = self.keys()?;
        let token = self.token(with)?;
        let profile = self.profile(with)?;
        if self.remove {
            if profile.is_some() || self.expires.is_some() {
                return Err("`remove` goes with a prefix or a token alone".to_owned());
            }
            return match (keys.is_empty(), token) {
                (false, None) => Ok(keys.into_iter().map(Change::Remove).collect()),
                (true, Some(token)) => Ok(vec![Change::Choose(token, None)]),
                (false, Some(_)) => Err("`remove` needs a prefix or a token, not both".to_owned()),
                (true, None) => Err("`remove` needs a prefix or a token".to_owned()),
            };
        }
        if keys.iter().any(Key::is_too_wide) {
            return Err(format!(
                "`prefix` is wider than /{SUBSCRIBER_PREFIX_BITS_MIN}, which is no line's (subscriber_prefix_bits_min)"
            ));
        }
        let term = Term { until: self.until()?, is_hard: true, is_session: false };
        if keys.is_empty() && term.until.is_some() {
            return Err("`expires` needs a `prefix`".to_owned());
        }
        let put = |holder| keys.iter().map(move |key| Change::Put(*key, Entry { holder, term }));
        match (token, profile) {
            (Some(token), profile) => {
                let mut changes: Vec<Change> = put(Holder::Token(token)).collect();
                if profile.is_some() {
                    changes.push(Change::Choose(token, profile));
                }
                if changes.is_empty() {
                    return Err("a token needs a `profile`, or a `prefix` that is its".to_owned());
                }
                Ok(changes)
            }
            (None, Some(profile)) if !keys.is_empty() => Ok(put(Holder::Profile(profile)).collect()),
            (None, Some(_)) => Err("`profile` needs a `prefix`, `token`, `line` or `label`".to_owned()),
            (None, None) if keys.is_empty() => {
                Err("it says nothing: no `prefix`, `token`, `line` or `label`".to_owned())
            }
            (None, None) => Err("a prefix needs a `profile`, `token`, `line` or `label`".to_owned()),
        }
    }

    /// The keys of its prefix; none without one.
    pub fn keys(&self) -> Result<Vec<Key>, String> {
        let realm = Realm(self.realm.unwrap_or(0));
        let Some(prefix) = &self.prefix else {
            return match (&self.ports, self.realm) {
                (None, None) => Ok(Vec::new()),
                _ => Err("`ports` and `realm` need a `prefix`".to_owned()),
            };
        };
        let bad = || "`prefix` is no network; write it as \"100.64.1.2/32\" or \"2001:db8:20::/56\"".to_owned();
        let host = |_| prefix.parse::<IpAddr>().map(IpNet::from).map_err(|_| bad());
        let net: IpNet = prefix.parse().or_else(host)?;
        if net.addr() != net.network() {
            return Err("`prefix` has bits set beyond its length".to_owned());
        }
        if let IpNet::V6(v6) = net
            && v6.prefix_len() >= 96
            && v6.addr().to_ipv4_mapped().is_some()
        {
            return Err("`prefix` is a v4-mapped network; write its IPv4 form".to_owned());
        }
        let Some(ports) = &self.ports else { return Ok(vec![Key::of_net(realm, net)]) };
        let (address, from, to) = v4_host(net)
            .and_then(|address| {
                let (from, to) = ports.split_once('-')?;
                Some((address, from.trim().parse::<u16>().ok()?, to.trim().parse::<u16>().ok()?))
            })
            .filter(|(_, from, to)| from <= to)
            .ok_or("`ports` must be \"FIRST-LAST\", of one IPv4 address")?;
        Ok(Key::of_ports(realm, address, from..=to).collect())
    }

    /// Whose it is.
    pub fn token(&self, with: &Reading<'_>) -> Result<Option<Token>, String> {
        match (&self.token, &self.line, &self.label) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => parse_token(token).map(Some),
            (None, Some(line), None) if line.is_empty() => Err("`line` is empty".to_owned()),
            (None, Some(line), None) => {
                let key =
                    with.key.ok_or("`line` needs token_key_files in [subscribers]: only a keyed hash of it is kept")?;
                Ok(Some(Token::of(&key, line.as_bytes())))
            }
            (None, None, Some(label)) if label.is_empty() => Err("`label` is empty".to_owned()),
            (None, None, Some(label)) => Ok(Some(Token::of(&TokenKey::LABELS, label.as_bytes()))),
            _ => Err("give one of `token`, `line` and `label`".to_owned()),
        }
    }

    fn profile(&self, with: &Reading<'_>) -> Result<Option<NameId>, String> {
        let Some(name) = self.profile.as_deref() else { return Ok(None) };
        if name.is_empty() || name.len() > PROFILE_OCTETS_MAX || name.chars().any(char::is_control) {
            return Err(format!("`profile` must be a name of 1 to {PROFILE_OCTETS_MAX} octets"));
        }
        with.table.intern(name).map(Some).ok_or_else(|| "there are too many different profiles".to_owned())
    }

    fn until(&self) -> Result<Option<u32>, String> {
        match &self.expires {
            None => Ok(None),
            Some(Expires::Seconds(0)) => Err("`expires` is 0: the entry would be over".to_owned()),
            Some(Expires::Seconds(seconds)) => Ok(Some(*seconds)),
            Some(Expires::Text(text)) => {
                let at: jiff::Timestamp = text.parse().map_err(
                    |_| "`expires` must be RFC 3339, as \"2027-01-31T22:00:00+07:00\", or seconds since 1970",
                )?;
                u32::try_from(at.as_second())
                    .map(Some)
                    .map_err(|_| "`expires` is out of bounds: 1970 to 2106".to_owned())
            }
        }
    }
}

fn v4_host(net: IpNet) -> Option<Ipv4Addr> {
    match net {
        IpNet::V4(net) if net.prefix_len() == 32 => Some(net.addr()),
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}

/// 32 hexadecimal digits.
pub fn parse_token(text: &str) -> Result<Token, String> {
    let fits = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let token = fits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    token.map(Token).ok_or_else(|| "`token` must be 32 hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_or_refused_with_what_is_wrong() {
        let (table, _) = Table::new((0, 0));
        let with = Reading { table: &table, key: None };
        let token = "00112233445566778899aabbccddeeff";
        for (text, expected) in [
            (r#"{"prefix":"100.64.1.2/32","profile":"family"}"#.to_owned(), Ok(1)),
            (r#"{"prefix":"100.64.1.2","profile":"family","realm":7,"expires":1900000000}"#.to_owned(), Ok(1)),
            (
                r#"{"prefix":"2001:db8::/56","profile":"family","expires":"2027-01-31T22:00:00+07:00"}"#.to_owned(),
                Ok(1),
            ),
            (format!(r#"{{"prefix":"2001:db8::/56","token":"{token}","profile":"family"}}"#), Ok(2)),
            (format!(r#"{{"prefix":"2001:db8::/56","token":"{token}"}}"#), Ok(1)),
            (format!(r#"{{"token":"{token}","profile":"family"}}"#), Ok(1)),
            (r#"{"label":"nha-an","profile":"family"}"#.to_owned(), Ok(1)),
            (format!(r#"{{"token":"{token}","remove":true}}"#), Ok(1)),
            (r#"{"prefix":"198.51.100.7","ports":"1024-2023","profile":"family"}"#.to_owned(), Ok(6)),
            (r#"{"prefix":"198.51.100.7","ports":"1024-2047","remove":true}"#.to_owned(), Ok(1)),
            ("{}".to_owned(), Err("it says nothing")),
            ("{".to_owned(), Err("column 1: not JSON")),
            ("[]".to_owned(), Err("column 2: a value has the wrong type")),
            (r#"{"prefix":"100.64.1.2/32"}"#.to_owned(), Err("a prefix needs a `profile`")),
            (r#"{"profile":"family"}"#.to_owned(), Err("`profile` needs a `prefix`")),
            (format!(r#"{{"token":"{token}"}}"#), Err("a token needs a `profile`")),
            (r#"{"prefix":"100.64.1.2/24","profile":"family"}"#.to_owned(), Err("`prefix` has bits set")),
            (r#"{"prefix":"0.0.0.0/0","profile":"family"}"#.to_owned(), Err("`prefix` is wider than /8")),
            (r#"{"prefix":"2000::/7","profile":"family"}"#.to_owned(), Err("`prefix` is wider than /8")),
            (r#"{"prefix":"10.0.0.0/8","profile":"family"}"#.to_owned(), Ok(1)),
            // What is there from before can be taken out.
            (r#"{"prefix":"0.0.0.0/0","remove":true}"#.to_owned(), Ok(1)),
            (r#"{"prefix":"::ffff:1.2.3.4/128","profile":"family"}"#.to_owned(), Err("`prefix` is a v4-mapped")),
            (r#"{"prefix":"an","profile":"family"}"#.to_owned(), Err("`prefix` is no network")),
            (r#"{"prefix":"198.51.100.0/24","ports":"1-2","profile":"family"}"#.to_owned(), Err("`ports` must be")),
            (r#"{"prefix":"198.51.100.7","ports":"9-2","profile":"family"}"#.to_owned(), Err("`ports` must be")),
            (r#"{"ports":"1-2","profile":"family"}"#.to_owned(), Err("`ports` and `realm` need")),
            (r#"{"token":"0011","profile":"family"}"#.to_owned(), Err("`token` must be 32")),
            (r#"{"line":"olt-1","profile":"family"}"#.to_owned(), Err("`line` needs token_key_files")),
            (format!(r#"{{"label":"a","token":"{token}","profile":"family"}}"#), Err("give one of")),
            (r#"{"prefix":"100.64.1.2/32","profile":""}"#.to_owned(), Err("`profile` must be")),
            (
                r#"{"prefix":"100.64.1.2/32","profile":"a","expires":"soon"}"#.to_owned(),
                Err("`expires` must be RFC 3339"),
            ),
            (r#"{"prefix":"100.64.1.2/32","profile":"a","expires":0}"#.to_owned(), Err("`expires` is 0")),
            (r#"{"prefix":"100.64.1.2/32","profile":"a","name":"An"}"#.to_owned(), Err("unknown field `name`")),
            (r#"{"prefix":7,"profile":"a"}"#.to_owned(), Err("column 11: a value has the wrong type")),
            (r#"{"prefix":"100.64.1.2/32","profile":"a","remove":true}"#.to_owned(), Err("`remove` goes with")),
            (r#"{"remove":true}"#.to_owned(), Err("`remove` needs a prefix or a token")),
        ] {
            let told = Line::parse(text.as_bytes()).and_then(|line| line.changes(&with));
            match (told, expected) {
                (Ok(changes), Ok(count)) => assert_eq!(changes.len(), count, "{text}"),
                (Err(why), Err(lead)) => assert!(why.starts_with(lead), "{text}: {why}"),
                (told, _) => panic!("{text}: {told:?}"),
            }
        }
        let with = Reading { key: Some(TokenKey::new([1; 16])), ..with };
        let line = Line { line: Some("OLT-1".into()), profile: Some("family".into()), ..Line::default() };
        let Change::Choose(token, _) = line.changes(&with).unwrap()[0] else { panic!("a choice") };
        assert_eq!(token, Token::of(&TokenKey::new([1; 16]), b"olt-1"));
    }
}
