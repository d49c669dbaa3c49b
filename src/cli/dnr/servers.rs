//! What is told, as servers of DHCP and routers read it.

use crate::cli::dnr::{Told, hex};
use crate::engine::dnr::{V4_OPTION, V6_OPTION};

/// `0a:0b`.
fn with_colons(octets: &[u8]) -> String {
    let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    pairs.join(":")
}

/// A line that says what had no room; nothing when all is there.
fn left_out(count: usize, comment: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("{comment} 1 transport does not fit into 255 octets and is left out.\n"),
        _ => format!("{comment} {count} transports do not fit into 255 octets and are left out.\n"),
    }
}

/// Octets in place of words: only the newest versions know the option by its name.
pub(super) fn kea(told: &Told) -> Result<String, String> {
    told.need_addresses()?;
    let mut out = String::new();
    if let Some((octets, rest)) = told.v4() {
        out += &left_out(rest, "//");
        out += &format!(
            "\"Dhcp4\": {{\n  \"option-data\": [\n    {{ \"space\": \"dhcp4\", \"code\": {V4_OPTION}, \"csv-format\": false, \
             \"always-send\": true,\n      \"data\": \"{}\" }}\n  ]\n}}\n",
            hex(&octets)
        );
    }
    let v6 = told.v6();
    if !v6.is_empty() {
        let options: Vec<String> = v6
            .iter()
            .map(|octets| {
                format!(
                    "    {{ \"space\": \"dhcp6\", \"code\": {V6_OPTION}, \"csv-format\": false, \"always-send\": true,\n      \
                     \"data\": \"{}\" }}",
                    hex(octets)
                )
            })
            .collect();
        out += &format!("\"Dhcp6\": {{\n  \"option-data\": [\n{}\n  ]\n}}\n", options.join(",\n"));
    }
    Ok(out)
}

pub(super) fn dnsmasq(told: &Told) -> Result<String, String> {
    told.need_addresses()?;
    let mut out = String::new();
    if let Some((octets, rest)) = told.v4() {
        out += &left_out(rest, "#");
        out += &format!("dhcp-option-force={V4_OPTION},{}\n", with_colons(&octets));
    }
    for octets in told.v6() {
        out += &format!("dhcp-option-force=option6:{V6_OPTION},{}\n", with_colons(&octets));
    }
    Ok(out)
}

pub(super) fn isc(told: &Told) -> Result<String, String> {
    told.need_addresses()?;
    let mut out = String::new();
    if let Some((octets, rest)) = told.v4() {
        out += &left_out(rest, "#");
        out += &format!("# dhcpd.conf\noption dnr code {V4_OPTION} = string;\noption dnr {};\n", with_colons(&octets));
    }
    // One option of a kind is all that it sends; the best liked.
    if let Some(octets) = told.v6().first() {
        out += &format!(
            "# dhcpd6.conf\noption dhcp6.dnr code {V6_OPTION} = string;\noption dhcp6.dnr {};\n",
            with_colons(octets)
        );
    }
    Ok(out)
}

pub(super) fn mikrotik(told: &Told) -> Result<String, String> {
    told.need_addresses()?;
    let mut out = String::new();
    if let Some((octets, rest)) = told.v4() {
        out += &left_out(rest, "#");
        out +=
            &format!("/ip dhcp-server option add name=dnr code={V4_OPTION} value=\"0x{}\" force=yes\n", hex(&octets));
        out += "/ip dhcp-server network set [find] dhcp-option=dnr\n";
    }
    if let Some(octets) = told.v6().first() {
        out += &format!("/ipv6 dhcp-server option add name=dnr6 code={V6_OPTION} value=\"0x{}\"\n", hex(octets));
        out += "/ipv6 dhcp-server set [find] dhcp-option=dnr6\n";
    }
    Ok(out)
}

/// radvd has no word for the option; with the address alone clients find the rest by DDR (RFC 9462).
pub(super) fn radvd(told: &Told) -> Result<String, String> {
    told.need_addresses()?;
    let v6: Vec<String> = told.addresses.iter().filter(|address| address.is_ipv6()).map(ToString::to_string).collect();
    if v6.is_empty() {
        return Err("radvd tells of IPv6 alone, and no address of ours is of it: `addresses` in [tls]".to_owned());
    }
    let mut out = String::from(
        "# radvd does not know the option of RFC 9463 §6.1; clients take the address from here, and ask there for the rest\n\
         # (DDR, RFC 9462): the certificate must have the address.\ninterface eth0\n{\n    AdvSendAdvert on;\n",
    );
    out += &format!("    RDNSS {}\n    {{\n        AdvRDNSSLifetime 1800;\n    }};\n}};\n", v6.join(" "));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dnr::tests::told;

    const NAME: &str = "03646e73076578616d706c6502766e00";
    const V6: &str = "20010db8000000000000000000000053";

    /// The three instances, without colons.
    fn v4_octets() -> String {
        let one = |len: &str, priority: &str, rest: &str| format!("{len}{priority}10{NAME}04c0000235{rest}");
        let doh = "000100060268320268330007 00102f646e732d71756572797b3f646e737d".replace(' ', "");
        [one("0020", "0001", "0001000403646f74"), one("0020", "0002", "0001000403646f71"), one("0036", "0003", &doh)]
            .concat()
    }

    fn colons(hex: &str) -> String {
        let pairs: Vec<&str> = (0..hex.len()).step_by(2).map(|i| &hex[i..i + 2]).collect();
        pairs.join(":")
    }

    #[test]
    fn kea_reads_octets() {
        let text = kea(&told()).unwrap();
        let v4 = format!(
            "\"Dhcp4\": {{\n  \"option-data\": [\n    {{ \"space\": \"dhcp4\", \"code\": 162, \"csv-format\": false, \
             \"always-send\": true,\n      \"data\": \"{}\" }}\n  ]\n}}\n",
            v4_octets()
        );
        assert!(text.starts_with(&v4), "{text}");
        assert!(text.contains(&format!("\"data\": \"00010010{NAME}0010{V6}0001000403646f74\" }},\n")), "{text}");
        let whole: serde_json::Value =
            serde_json::from_str(&format!("{{{}}}", text.replace("}\n\"Dhcp6\"", "},\n\"Dhcp6\""))).unwrap();
        assert_eq!(whole["Dhcp6"]["option-data"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn others_read_octets_with_colons_or_at_once() {
        let (v4, v6) = (colons(&v4_octets()), colons(&format!("00010010{NAME}0010{V6}0001000403646f74")));
        let dnsmasq = dnsmasq(&told()).unwrap();
        assert_eq!(dnsmasq.lines().next(), Some(&*format!("dhcp-option-force=162,{v4}")));
        assert_eq!(dnsmasq.lines().nth(1), Some(&*format!("dhcp-option-force=option6:144,{v6}")));
        assert_eq!(dnsmasq.lines().count(), 4);
        assert_eq!(
            isc(&told()).unwrap(),
            format!(
                "# dhcpd.conf\noption dnr code 162 = string;\noption dnr {v4};\n# dhcpd6.conf\noption dhcp6.dnr code 144 = \
                 string;\noption dhcp6.dnr {v6};\n"
            )
        );
        let mikrotik = mikrotik(&told()).unwrap();
        assert!(mikrotik.starts_with(&format!(
            "/ip dhcp-server option add name=dnr code=162 value=\"0x{}\" force=yes\n/ip dhcp-server network set [find] dhcp-option=dnr\n",
            v4_octets()
        )));
        assert!(mikrotik.ends_with("/ipv6 dhcp-server set [find] dhcp-option=dnr6\n"));
        assert!(radvd(&told()).unwrap().contains("    RDNSS 2001:db8::53\n"));
    }
}
