//! A configuration profile for iPhone, iPad and Mac: DNS over HTTPS and over TLS, to be chosen from in the settings. Not signed.

use sha2::{Digest, Sha256};

use crate::cli::dnr::Told;
use crate::engine::discovery::Protocol;

pub(super) fn profile(told: &Told) -> Result<String, String> {
    let mut payloads = String::new();
    if let Some(url) = told.doh_url() {
        payloads += &payload(told, "HTTPS", "DoH", ("ServerURL", &url));
    }
    if told.port(Protocol::Dot) == Some(Protocol::Dot.usual_port()) {
        payloads += &payload(told, "TLS", "DoT", ("ServerName", &told.name));
    }
    if payloads.is_empty() {
        return Err(
            "Apple's devices need DNS over HTTPS, or DNS over TLS at port 853: doh or dot in [listen]".to_owned()
        );
    }
    let (name, organization) = (escape(&told.name), escape(&told.organization));
    let id = identifier(&told.name);
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>PayloadContent</key>
    <array>
{payloads}    </array>
    <key>PayloadDescription</key>
    <string>DNS: {name}</string>
    <key>PayloadDisplayName</key>
    <string>{organization}: DNS</string>
    <key>PayloadIdentifier</key>
    <string>{id}</string>
    <key>PayloadOrganization</key>
    <string>{organization}</string>
    <key>PayloadRemovalDisallowed</key>
    <false/>
    <key>PayloadType</key>
    <string>Configuration</string>
    <key>PayloadUUID</key>
    <string>{uuid}</string>
    <key>PayloadVersion</key>
    <integer>1</integer>
</dict>
</plist>
"#,
        uuid = uuid(&told.name, "profile")
    ))
}

fn payload(told: &Told, protocol: &str, title: &str, (key, server): (&str, &str)) -> String {
    let addresses: String =
        told.addresses.iter().map(|address| format!("                    <string>{address}</string>\n")).collect();
    let addresses = match addresses.is_empty() {
        true => String::new(),
        false => format!(
            "                <key>ServerAddresses</key>\n                <array>\n{addresses}                </array>\n"
        ),
    };
    format!(
        r#"        <dict>
            <key>DNSSettings</key>
            <dict>
                <key>DNSProtocol</key>
                <string>{protocol}</string>
{addresses}                <key>{key}</key>
                <string>{server}</string>
            </dict>
            <key>PayloadDisplayName</key>
            <string>{organization} ({title})</string>
            <key>PayloadIdentifier</key>
            <string>{id}.{lower}</string>
            <key>PayloadType</key>
            <string>com.apple.dnsSettings.managed</string>
            <key>PayloadUUID</key>
            <string>{uuid}</string>
            <key>PayloadVersion</key>
            <integer>1</integer>
        </dict>
"#,
        server = escape(server),
        organization = escape(&told.organization),
        id = identifier(&told.name),
        lower = title.to_ascii_lowercase(),
        uuid = uuid(&told.name, title)
    )
}

/// The name from its end, as Apple writes identifiers.
fn identifier(name: &str) -> String {
    let labels: Vec<&str> = name.rsplit('.').collect();
    escape(&format!("{}.lachan", labels.join(".")))
}

/// The same for the same name, so that a newer profile takes the older one's place. RFC 9562 §5.8: version 8.
fn uuid(name: &str, what: &str) -> String {
    let sum = Sha256::digest(format!("lachan dnr {what} {name}"));
    let mut octets: [u8; 16] = std::array::from_fn(|i| sum[i]);
    octets[6] = octets[6] & 0x0f | 0x80;
    octets[8] = octets[8] & 0x3f | 0x80;
    let hex: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dnr::tests::told;

    #[test]
    fn the_profile_has_both_transports_and_keeps_its_identity() {
        let text = profile(&told()).unwrap();
        for part in [
            "<string>HTTPS</string>\n                <key>ServerAddresses</key>\n                <array>\n                    \
             <string>192.0.2.53</string>\n                    <string>2001:db8::53</string>\n                </array>\n                \
             <key>ServerURL</key>\n                <string>https://dns.example.vn/dns-query</string>",
            "<string>TLS</string>",
            "<key>ServerName</key>\n                <string>dns.example.vn</string>",
            "<string>Nhà mạng &lt;Ví Dụ&gt;</string>",
            "<string>vn.example.dns.lachan.doh</string>",
            "<string>com.apple.dnsSettings.managed</string>",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(text, profile(&told()).unwrap());
        let other = Told { name: "dns.example.com".into(), ..told() };
        assert_ne!(uuid(&other.name, "profile"), uuid(&told().name, "profile"));
        assert_eq!(uuid("dns.example.vn", "profile").len(), 36);
        for tag in ["dict", "array", "key", "string", "integer", "plist"] {
            let (opened, closed) =
                (text.matches(&format!("<{tag}")).count(), text.matches(&format!("</{tag}>")).count());
            assert_eq!(opened, closed, "{tag}");
        }
    }

    #[test]
    fn one_transport_is_enough_and_none_is_not() {
        let dot_elsewhere = |told: Told| Told {
            services: told.services.into_iter().filter(|service| service.protocol == Protocol::Doq).collect(),
            ..told
        };
        assert!(profile(&dot_elsewhere(told())).unwrap_err().contains("port 853"));
    }
}
