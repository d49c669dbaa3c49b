//! `dnr`: how clients are told of our encrypted service, in the words of the programs that tell them.
//!
//! What is told is [`engine::dnr`](crate::engine::dnr)'s; here is how each program spells it.

mod apple;
mod servers;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::{self, Trouble};
use crate::cli::language::{Language, error_text};
use crate::cli::out::{complain, say};
use crate::cli::{NO, USAGE, YES};
use crate::config::{self, Config, Settings};
use crate::daemon::certificates::{Certificate, listening};
use crate::engine::compile::Policy;
use crate::engine::discovery::{Protocol, Service};
use crate::engine::dnr::{Instance, V4_OPTION, V6_OPTION, v4_option};
use crate::engine::identity;
use crate::engine::name::Name;

pub const EXAMPLES: &str = "\
Examples:
  lachan dnr -c lachan.toml                         every form
  lachan dnr --kea -c lachan.toml                   one of them
  lachan dnr --ios -c lachan.toml > dns.mobileconfig
  lachan dnr --android --client lop-6a              for the client that has this among its `ids`

The name is `name` in [tls], else the certificate's; the addresses are `addresses` in [tls], else those of `dns` in [listen].";

#[derive(Debug, Args)]
pub struct DnrArgs {
    /// For Kea: DHCPv4 and DHCPv6
    #[arg(long)]
    kea: bool,
    /// For dnsmasq
    #[arg(long)]
    dnsmasq: bool,
    /// For ISC DHCP
    #[arg(long)]
    isc: bool,
    /// For MikroTik RouterOS
    #[arg(long)]
    mikrotik: bool,
    /// For radvd
    #[arg(long)]
    radvd: bool,
    /// A configuration profile for iPhone, iPad and Mac
    #[arg(long)]
    ios: bool,
    /// What is typed into Android's Private DNS
    #[arg(long)]
    android: bool,
    /// Commands for Windows 11
    #[arg(long)]
    windows: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// As the client with this identity
    #[arg(long, value_name = "ID", value_parser = identity)]
    client: Option<String>,
}

fn identity(text: &str) -> Result<String, String> {
    match crate::engine::identity::is_label(text.as_bytes()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("an identity is 1 to 63 letters, digits and hyphens".to_owned()),
    }
}

/// How long a router's word holds, in seconds: three times the longest pause between two of radvd's. RFC 9463 §6.1.
const LIFETIME_SECS: u32 = 1800;

/// What is told.
pub(super) struct Told {
    /// With the client's identity before it.
    name: String,
    addresses: Vec<IpAddr>,
    services: Vec<Service>,
    instances: Vec<Instance>,
    /// Whose it is, for people.
    organization: String,
    identity: Option<String>,
    /// A listener for DNS over TLS at its usual port is one that others than this machine may come to.
    has_dot_for_phones: bool,
    /// Why the client is told of DNS over HTTPS alone.
    by_path_alone: Option<String>,
}

type Form = fn(&Told) -> Result<String, String>;

pub fn run(config: Option<&Path>, args: &DnrArgs) -> u8 {
    let told = match Told::of(config, args.client.as_deref()) {
        Ok(told) => told,
        Err(why) => {
            complain!("lachan: {}", error_text(&why));
            return NO;
        }
    };
    let forms: [(bool, &str, Form); 9] = [
        (args.kea, "Kea", servers::kea),
        (args.dnsmasq, "dnsmasq", servers::dnsmasq),
        (args.isc, "ISC DHCP", servers::isc),
        (args.mikrotik, "MikroTik RouterOS", servers::mikrotik),
        (args.radvd, "radvd", servers::radvd),
        (args.ios, "iPhone, iPad, Mac", apple::profile),
        (args.android, "Android", android),
        (args.windows, "Windows 11", windows),
        (args.json, "JSON", |told| Ok(format!("{:#}\n", told.as_json()))),
    ];
    let asked = forms.iter().filter(|(is_asked, ..)| *is_asked).count();
    if asked == 0 {
        for (_, title, form) in &forms {
            let text = form(&told).unwrap_or_else(|why| format!("({why})\n"));
            say!("== {title}\n\n{text}");
        }
        return YES;
    }
    if asked > 1 {
        complain!("lachan: {}", Language::of_user().pick("one form at a time", "mỗi lần chỉ một dạng"));
        return USAGE;
    }
    if let Some(why) = told.by_path_alone.as_ref().filter(|_| !args.android) {
        complain!("lachan: {why}");
    }
    for (_, _, form) in forms.iter().filter(|(is_asked, ..)| *is_asked) {
        match form(&told) {
            Ok(text) => say!("{}", text.trim_end()),
            Err(why) => {
                complain!("lachan: {why}");
                return NO;
            }
        }
    }
    YES
}

impl Told {
    fn of(config: Option<&Path>, identity: Option<&str>) -> Result<Told, String> {
        let loaded = match config {
            Some(path) => config::load(path)
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nlachan: "))?,
            None => config::embedded(),
        };
        let Config { settings, policy, .. } = loaded;
        if let Some(identity) = identity {
            known(identity, &settings, &policy)?;
        }
        let Some(tls) = &settings.tls else {
            return Err(
                "nothing encrypted is configured: give certificate_file and private_key_file in [tls], and dot, \
                        doh or doq in [listen]"
                    .to_owned(),
            );
        };
        // A name that is configured needs no certificate: it may be another machine's to read.
        let certificate = Certificate::read(tls);
        let discovery = match (&certificate, &tls.name) {
            (Ok(certificate), _) => certificate.discovery(&settings, tls, &listening(&settings), false).0,
            (Err(_), Some(_)) => Certificate::discovery_without(&settings, tls),
            (Err(why), None) => return Err(why.clone()),
        };
        let Some(discovery) = discovery else {
            return Err(
                "no encrypted listener with a name is configured: dot, doh or doq in [listen], name in [tls]".into()
            );
        };
        // A certificate that is not at hand is taken for one that fits.
        let fits_below =
            certificate.as_ref().map_or(true, |certificate| certificate.is_for_all_below(discovery.name()));
        let mut services = discovery.services().to_vec();
        let mut by_path_alone = None;
        if let Some(identity) = identity.filter(|_| !fits_below) {
            services.retain(|service| service.protocol == Protocol::Doh);
            let (own, file) = (discovery.name(), tls.certificate_file.display());
            let why = format!("{file}: the certificate is not for *.{own}, so {identity}.{own} would be refused");
            if services.is_empty() {
                return Err(format!(
                    "{why}; switch DNS over HTTPS on (doh in [listen]): there the path tells who asks"
                ));
            }
            by_path_alone = Some(format!("{why}: this is DNS over HTTPS alone, where the path tells who asks"));
        }
        let name = match identity.filter(|_| fits_below) {
            Some(identity) => Name::from_text(&format!("{identity}.{}", discovery.name()))
                .map_err(|why| format!("{identity} before {}: {why}", discovery.name()))?,
            None => discovery.name().clone(),
        };
        let listened = settings.dns.iter().chain(&settings.dot).chain(&settings.doh).map(|address| address.ip());
        let mut addresses: Vec<IpAddr> = match tls.addresses.is_empty() {
            false => tls.addresses.clone(),
            true => listened.filter(|address| !address.is_unspecified() && !address.is_loopback()).collect(),
        };
        let mut seen = Vec::new();
        addresses.retain(|address| {
            !seen.contains(address) && {
                seen.push(*address);
                true
            }
        });
        let instances = Instance::all(&name, &addresses, &services, identity);
        let is_for_phones = |at: &SocketAddr| {
            at.port() == Protocol::Dot.usual_port() && (!at.ip().is_loopback() || !tls.addresses.is_empty())
        };
        Ok(Told {
            organization: policy.contact.organization.unwrap_or_else(|| discovery.name().to_string()),
            name: name.to_string(),
            addresses,
            services,
            instances,
            identity: identity.map(str::to_owned),
            has_dot_for_phones: settings.dot.iter().any(is_for_phones),
            by_path_alone,
        })
    }

    /// The port of a transport, if it is on; of several the usual one, which clients need not be told.
    fn port(&self, protocol: Protocol) -> Option<u16> {
        let ports = || self.services.iter().filter(|service| service.protocol == protocol).map(|service| service.port);
        ports().find(|port| *port == protocol.usual_port()).or_else(|| ports().next())
    }

    /// Where DNS over HTTPS is asked.
    fn doh_url(&self) -> Option<String> {
        let port = self.port(Protocol::Doh)?;
        let port = if port == Protocol::Doh.usual_port() { String::new() } else { format!(":{port}") };
        let path = match &self.identity {
            Some(identity) => format!("{}/{identity}", identity::DOH_PATH),
            None => identity::DOH_PATH.to_owned(),
        };
        Some(format!("https://{}{port}{path}", self.name))
    }

    /// The value of DHCPv4's option, and what did not fit into it.
    fn v4(&self) -> Option<(Vec<u8>, usize)> {
        let (octets, count) = v4_option(&self.instances)?;
        Some((octets, self.instances.len() - count))
    }

    fn v6(&self) -> Vec<Vec<u8>> {
        self.instances.iter().filter_map(Instance::v6).collect()
    }

    /// # Errors
    /// Nobody said at which addresses clients reach us.
    fn need_addresses(&self) -> Result<(), String> {
        if !self.addresses.is_empty() {
            return Ok(());
        }
        Err("the configuration does not say at which addresses clients reach this resolver: give `addresses` in [tls]"
            .into())
    }

    fn as_json(&self) -> Value {
        let services = self.instances.iter().map(|instance| {
            let Service { protocol, port } = instance.service;
            let protocol = match protocol {
                Protocol::Dot => "dot",
                Protocol::Doh => "doh",
                Protocol::Doq => "doq",
            };
            json!({
                "priority": instance.priority,
                "protocol": protocol,
                "port": port,
                "dohpath": (instance.service.protocol == Protocol::Doh).then(|| instance.doh_path()),
                "dhcpv6": instance.v6().map(|octets| hex(&octets)),
                "router_advertisement": instance.advertised(LIFETIME_SECS).map(|octets| hex(&octets)),
            })
        });
        json!({
            "name": self.name,
            "addresses": self.addresses,
            "doh": self.doh_url(),
            "services": services.collect::<Vec<_>>(),
            "dhcpv4_option": V4_OPTION,
            "dhcpv4": self.v4().map(|(octets, _)| hex(&octets)),
            "dhcpv6_option": V6_OPTION,
        })
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// # Errors
/// Nobody has this identity: by the configuration, or by what the running resolver knows of subscribers.
fn known(identity: &str, settings: &Settings, policy: &Policy) -> Result<(), String> {
    let token = identity::configured(identity);
    if policy.clients.iter().any(|client| token.is_some_and(|token| client.ids.contains(&token))) {
        return Ok(());
    }
    let unknown = format!("no [client.*] has `{identity}` among its `ids`");
    let Some(address) = settings.subscribers.as_ref().and(settings.admin) else { return Err(unknown) };
    // A name that is answered here: nobody upstream is asked.
    let asked = client::get_json::<Value>(address, "/api/v1/explain", &[("name", "localhost"), ("client", identity)]);
    match asked {
        Ok(_) => Ok(()),
        Err(Trouble::Refused(_)) => Err(format!("{unknown}, and no subscriber has it")),
        Err(why @ (Trouble::NoDaemon(_) | Trouble::NoAddress(_))) => {
            complain!("lachan: {unknown}; whether a subscriber has it is not known: {why}");
            Ok(())
        }
    }
}

/// Private DNS knows DNS over TLS at port 853 alone.
fn android(told: &Told) -> Result<String, String> {
    if let Some(why) = &told.by_path_alone {
        return Err(format!("Android's Private DNS needs DNS over TLS. {why}"));
    }
    if told.port(Protocol::Dot) != Some(Protocol::Dot.usual_port()) {
        return Err("Android's Private DNS needs DNS over TLS at port 853: dot in [listen]".to_owned());
    }
    if !told.has_dot_for_phones {
        return Err(
            "every listener for DNS over TLS at port 853 is this machine's own (loopback): give dot in [listen] an \
                    address that phones reach, or `addresses` in [tls]"
                .to_owned(),
        );
    }
    let (name, language) = (&told.name, Language::of_user());
    Ok(language
        .pick(
            &format!("Settings → Network & internet → Private DNS → Private DNS provider hostname:\n{name}\n"),
            &format!("Cài đặt → Mạng và Internet → DNS riêng → Tên máy chủ của nhà cung cấp DNS riêng:\n{name}\n"),
        )
        .to_owned())
}

/// For a terminal of the administrator's.
fn windows(told: &Told) -> Result<String, String> {
    told.need_addresses()?;
    let url = told.doh_url().ok_or("Windows needs DNS over HTTPS: doh in [listen]")?;
    let mut out = String::from("# PowerShell\n");
    for address in &told.addresses {
        out += &format!(
            "Add-DnsClientDohServerAddress -ServerAddress '{address}' -DohTemplate '{url}' -AllowFallbackToUdp $false \
             -AutoUpgrade $true\n"
        );
    }
    let quoted: Vec<String> = told.addresses.iter().map(|address| format!("'{address}'")).collect();
    out += "Get-NetAdapter -Physical | Where-Object Status -eq 'Up' | Set-DnsClientServerAddress -ServerAddresses ";
    out += &format!("({})\n\n# cmd\n", quoted.join(","));
    for address in &told.addresses {
        out += &format!("netsh dns add encryption server={address} dohtemplate={url} autoupgrade=yes udpfallback=no\n");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two addresses, three transports.
    pub(super) fn told() -> Told {
        let addresses = ["192.0.2.53", "2001:db8::53"].map(|address| address.parse().unwrap()).to_vec();
        let services = [(Protocol::Dot, 853), (Protocol::Doq, 853), (Protocol::Doh, 443)];
        let services = services.map(|(protocol, port)| Service { protocol, port }).to_vec();
        let name = Name::from_text("dns.example.vn").unwrap();
        Told {
            instances: Instance::all(&name, &addresses, &services, None),
            name: name.to_string(),
            addresses,
            services,
            organization: "Nhà mạng <Ví Dụ>".to_owned(),
            identity: None,
            has_dot_for_phones: true,
            by_path_alone: None,
        }
    }

    #[test]
    fn windows_is_told_addresses_and_template() {
        assert_eq!(
            windows(&told()).unwrap(),
            "\
# PowerShell
Add-DnsClientDohServerAddress -ServerAddress '192.0.2.53' -DohTemplate 'https://dns.example.vn/dns-query' -AllowFallbackToUdp $false -AutoUpgrade $true
Add-DnsClientDohServerAddress -ServerAddress '2001:db8::53' -DohTemplate 'https://dns.example.vn/dns-query' -AllowFallbackToUdp $false -AutoUpgrade $true
Get-NetAdapter -Physical | Where-Object Status -eq 'Up' | Set-DnsClientServerAddress -ServerAddresses ('192.0.2.53','2001:db8::53')

# cmd
netsh dns add encryption server=192.0.2.53 dohtemplate=https://dns.example.vn/dns-query autoupgrade=yes udpfallback=no
netsh dns add encryption server=2001:db8::53 dohtemplate=https://dns.example.vn/dns-query autoupgrade=yes udpfallback=no
"
        );
    }

    #[test]
    fn what_cannot_be_told_says_what_is_missing() {
        let bare = Told { addresses: Vec::new(), services: Vec::new(), ..told() };
        assert!(windows(&bare).unwrap_err().contains("`addresses` in [tls]"));
        assert!(android(&bare).unwrap_err().contains("port 853"));
        assert!(servers::kea(&bare).unwrap_err().contains("`addresses` in [tls]"));
        assert!(android(&told()).unwrap().contains("\ndns.example.vn\n"));
        let own = Told { has_dot_for_phones: false, ..told() };
        assert!(android(&own).unwrap_err().contains("loopback"));
        // Any of several listeners will do.
        let mut several = told();
        several.services.insert(0, Service { protocol: Protocol::Dot, port: 8853 });
        assert!(android(&several).is_ok());
    }

    #[test]
    fn json_has_the_octets_of_every_option() {
        let json = told().as_json();
        assert_eq!(json["dhcpv4_option"], 162);
        assert_eq!(json["doh"], "https://dns.example.vn/dns-query");
        let first = &json["services"][0];
        let name = "03646e73076578616d706c6502766e00";
        let address = "20010db8000000000000000000000053";
        assert_eq!(first["dhcpv6"], format!("00010010{name}0010{address}0001000403646f74"));
        assert_eq!(
            first["router_advertisement"],
            format!("9007000100000708 0010{name}0010{address}00080001000403646f740000").replace(' ', "")
        );
        assert_eq!(json["services"][2]["dohpath"], "/dns-query{?dns}");
    }
}
