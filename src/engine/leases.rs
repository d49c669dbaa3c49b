//! A DHCP server's file of leases, as Kea keeps it (memfile): lines to leases, with the line that the relay told of.
//!
//! The file grows by a line for each change, so the last line of an address counts. What tells lines apart is the relay's: option 82
//! (RFC 3046, circuit and remote identifier), or of DHCPv6 the interface and remote identifier (RFC 8415 §21.18, RFC 4649), which
//! Kea puts into `user_context` with `store-extended-info`.

use ipnet::IpNet;

use crate::engine::limits::SUBSCRIBER_PREFIX_BITS_MIN;

/// Kea's state of a lease that is in use.
const STATE_DEFAULT: &str = "0";
/// Kea's word for a comma inside a value.
const COMMA: &str = "&#x2c";
/// Octets of an identifier that are taken; more is no identifier.
const IDENTIFIER_OCTETS_MAX: usize = 512;

/// Where in a line each value stands, as the file's head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    address: usize,
    expire: usize,
    state: usize,
    user_context: usize,
    lease_type: Option<usize>,
    prefix_len: Option<usize>,
}

/// One line: an address or prefix, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub net: IpNet,
    /// When it ends, in seconds since 1970; zero: it has ended.
    pub until: u32,
    /// The relay's identifier of the line; `None`: it was not told, or is not kept.
    pub line: Option<Vec<u8>>,
}

impl Head {
    /// # Errors
    /// The column that is missing.
    pub fn read(line: &str) -> Result<Head, String> {
        let columns: Vec<&str> = line.trim_end().split(',').collect();
        let find = |name: &str| columns.iter().position(|column| *column == name);
        let need =
            |name: &str| find(name).ok_or_else(|| format!("line 1: no column `{name}`: is it a lease file of Kea?"));
        Ok(Head {
            address: need("address")?,
            expire: need("expire")?,
            state: need("state")?,
            user_context: need("user_context")?,
            lease_type: find("lease_type"),
            prefix_len: find("prefix_len"),
        })
    }

    /// # Errors
    /// What is wrong with the line; its values are not repeated.
    pub fn lease(&self, line: &str) -> Result<Lease, &'static str> {
        let values: Vec<&str> = line.trim_end().split(',').collect();
        let value = |at: usize| values.get(at).copied().ok_or("it is too short");
        let address: std::net::IpAddr = value(self.address)?.parse().map_err(|_| "its address is none")?;
        let is_prefix = self.lease_type.is_some_and(|at| values.get(at) == Some(&"2"));
        let net = match (is_prefix, self.prefix_len) {
            (true, Some(at)) => {
                let length = value(at)?.parse().map_err(|_| "its prefix length is none")?;
                let net = IpNet::new(address, length).map_err(|_| "its prefix length is out of bounds")?.trunc();
                if net.prefix_len() < SUBSCRIBER_PREFIX_BITS_MIN {
                    return Err("its prefix is wider than any line's (subscriber_prefix_bits_min)");
                }
                net
            }
            _ => IpNet::from(address),
        };
        let until = value(self.expire)?.parse().map_err(|_| "its end is no time")?;
        let until = if value(self.state)? == STATE_DEFAULT { until } else { 0 };
        let context = values.get(self.user_context).copied().unwrap_or_default();
        Ok(Lease { net, until, line: identifier(context) })
    }
}

/// The relay's identifier out of the context: the circuit or interface, else the remote end.
fn identifier(context: &str) -> Option<Vec<u8>> {
    if context.is_empty() {
        return None;
    }
    let context: serde_json::Value = serde_json::from_str(&context.replace(COMMA, ",")).ok()?;
    let isc = context.get("ISC")?;
    if let Some(info) = isc.get("relay-agent-info") {
        // Kea wrote the sub-options alone before 2.3.
        let text = info.get("sub-options").or(Some(info)).and_then(|info| info.as_str())?;
        let options = octets(text)?;
        return sub_option(&options, 1).or_else(|| sub_option(&options, 2));
    }
    // The relay that is nearest to the client is the first.
    let relay = isc.get("relay-info")?.get(0)?;
    let options = octets(relay.get("options")?.as_str()?)?;
    option_v6(&options, 18).or_else(|| option_v6(&options, 37).and_then(|value| value.get(4..).map(<[u8]>::to_vec)))
}

/// `0x` and hexadecimal digits.
fn octets(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|digit| digit as u8);
    let is_whole = digits.len().is_multiple_of(2) && digits.len() <= 2 * IDENTIFIER_OCTETS_MAX;
    is_whole.then(|| digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect())?
}

/// RFC 3046 §2.0: an octet each of code and length.
fn sub_option(mut rest: &[u8], wanted: u8) -> Option<Vec<u8>> {
    while let [code, length, after @ ..] = rest {
        let (value, next) = after.split_at_checked(usize::from(*length))?;
        if *code == wanted && !value.is_empty() {
            return Some(value.to_vec());
        }
        rest = next;
    }
    None
}

/// RFC 8415 §21.1: two octets each.
fn option_v6(mut rest: &[u8], wanted: u16) -> Option<Vec<u8>> {
    while let Some((&[a, b, c, d], after)) = rest.split_first_chunk::<4>() {
        let (value, next) = after.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
        if u16::from_be_bytes([a, b]) == wanted && !value.is_empty() {
            return Some(value.to_vec());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id";
    const V6: &str = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,\
                      hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id";

    #[test]
    fn leases_of_both_families_are_read_with_their_lines() {
        // Sub-option 1 is "olt-7", 2 is "cpe".
        let both = r#"{ "ISC": { "relay-agent-info": { "sub-options": "0x01056f6c742d370203637065" } } }"#;
        let remote = r#"{ "ISC": { "relay-agent-info": "0x0203637065" } }"#;
        let relay =
            r#"{ "ISC": { "relay-info": [ { "hop": 0&#x2c "link": "::"&#x2c "options": "0x00120003706f6e" } ] } }"#;
        let head = Head::read(V4).unwrap();
        for (context, line) in [(both, Some("olt-7")), (remote, Some("cpe")), ("", None), ("{}", None), ("{", None)] {
            let text = format!("100.64.1.2,00:11:22:33:44:55,,3600,1800000000,1,0,0,an-phone,0,{context},0");
            let lease = head.lease(&text).unwrap();
            let line = line.map(|line: &str| line.as_bytes().to_vec());
            assert_eq!(lease, Lease { net: "100.64.1.2/32".parse().unwrap(), until: 1_800_000_000, line }, "{context}");
        }
        let declined = "100.64.1.2,,,3600,1800000000,1,0,0,,1,,0";
        assert_eq!(head.lease(declined).unwrap().until, 0);
        let head = Head::read(V6).unwrap();
        for (text, net) in [
            ("2001:db8:1::,00:03,3600,1800000000,1,3000,2,1,56,0,0,,,0,CONTEXT,,,0", "2001:db8:1::/56"),
            ("2001:db8::9,00:03,3600,1800000000,1,3000,0,1,128,0,0,,,0,CONTEXT,,,0", "2001:db8::9/128"),
        ] {
            let lease = head.lease(&text.replace("CONTEXT", relay)).unwrap();
            assert_eq!((lease.net, lease.line), (net.parse().unwrap(), Some(b"pon".to_vec())), "{text}");
        }
    }

    #[test]
    fn what_is_no_lease_is_told() {
        assert_eq!(Head::read("a,b").unwrap_err(), "line 1: no column `address`: is it a lease file of Kea?");
        let head = Head::read(V4).unwrap();
        for (text, why) in [
            ("", "its address is none"),
            ("100.64.1.2", "it is too short"),
            ("an,,,3600,1800000000,1,0,0,,0,,0", "its address is none"),
            ("100.64.1.2,,,3600,soon,1,0,0,,0,,0", "its end is no time"),
        ] {
            assert_eq!(head.lease(text).unwrap_err(), why, "{text}");
        }
        let head = Head::read(V6).unwrap();
        let prefix = |length| format!("2001:db8::,00:03,3600,1800000000,1,3000,2,1,{length},0,0,,,0,,,,0");
        for (length, is_good) in [(0, false), (7, false), (8, true), (129, false)] {
            assert_eq!(head.lease(&prefix(length)).is_ok(), is_good, "/{length}");
        }
        for bad in ["0x01", "0x0105aa", "0x1", "01", "0xzz"] {
            assert_eq!(octets(bad).and_then(|options| sub_option(&options, 1)), None, "{bad}");
        }
    }
}
