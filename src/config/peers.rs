//! `[access] trusted`, `proxies` and what goes with them, and `[realm.NAME]`: whose word about clients is believed.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::client::Realm;
use crate::engine::limits::REALMS_MAX;
use crate::engine::peers::{IDENTITY_TLV, OWN_TLVS, PeerSettings, REALM_TLV, RealmSettings};

use super::errors::{Place, Sink, Spanned, suggestion};
use super::reader::Section;
use super::values;

/// The keys of `[access]` that are about those who ask for others.
pub(super) struct PeersSpec {
    trusted: Option<Vec<Spanned<IpNet>>>,
    proxies: Option<Vec<Spanned<IpNet>>>,
    identity_tlv: Option<i64>,
    realm_tlv: Option<i64>,
    /// Where `[access]` stands.
    at: Place,
}

/// `[realm.NAME]`.
pub(super) struct RealmSpec {
    name: Spanned<String>,
    number: Option<i64>,
    listeners: Option<Vec<Spanned<IpAddr>>>,
}

pub(super) fn keys(access: &mut Section<'_>) -> PeersSpec {
    access.only_with("proxies", &["proxy_identity_tlv", "proxy_realm_tlv"]);
    PeersSpec {
        trusted: access.strings("trusted", values::network),
        proxies: access.strings("proxies", values::network),
        identity_tlv: access.integer("proxy_identity_tlv", OWN_TLVS),
        realm_tlv: access.integer("proxy_realm_tlv", OWN_TLVS),
        at: access.at,
    }
}

pub(super) fn realm(name: Spanned<String>, mut section: Section<'_>, top_level: &[&str]) -> RealmSpec {
    if !section.has("number") {
        section.missing("number", "1");
    }
    let number = section.integer("number", 1..=i64::from(Realm::UNKNOWN.0) - 1);
    let spec = RealmSpec { name, number, listeners: section.strings("listeners", listener) };
    section.finish(top_level);
    spec
}

/// An address of this machine, without a port.
pub(super) fn listener(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| format!("{text:?} is no address; write it without a port, as \"192.0.2.53\""))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!("{text:?}: nobody can ask at this address"));
    }
    Ok(address.to_canonical())
}

pub(super) fn lower(spec: &PeersSpec, realms: &[RealmSpec], sink: &Sink) -> PeerSettings {
    let nets = |given: &Option<Vec<Spanned<IpNet>>>| given.iter().flatten().map(|net| net.value).collect();
    for (key, given) in [("trusted", &spec.trusted), ("proxies", &spec.proxies)] {
        for net in given.iter().flatten().filter(|net| net.value.prefix_len() == 0) {
            let said = net.value;
            sink.error(net.at, format!("`{key}` in [access] holds {said}: then anyone may say to be anyone"));
        }
    }
    let tlv = |given: Option<i64>, default: u8| given.map_or(default, |kind| kind as u8);
    let (identity_tlv, realm_tlv) = (tlv(spec.identity_tlv, IDENTITY_TLV), tlv(spec.realm_tlv, REALM_TLV));
    if identity_tlv == realm_tlv {
        sink.error(spec.at, format!("`proxy_identity_tlv` and `proxy_realm_tlv` in [access] are both {realm_tlv}"));
    }
    PeerSettings {
        trusted: nets(&spec.trusted),
        proxies: nets(&spec.proxies),
        identity_tlv,
        realm_tlv,
        realms: self::realms(realms, sink),
    }
}

fn realms(given: &[RealmSpec], sink: &Sink) -> Vec<RealmSettings> {
    let mut made: Vec<RealmSettings> = Vec::new();
    for spec in given {
        let (name, at) = (&spec.name.value, spec.name.at);
        if let Err(why) = values::check_thing_name(name) {
            sink.error(at, format!("[realm.{name}]: {why}"));
        }
        let Some(realm) = spec.number.map(|number| Realm(number as u16)) else { continue };
        if let Some(other) = made.iter().find(|other| other.realm == realm) {
            sink.error(at, format!("[realm.{name}] has the number of [realm.{}], {}", other.name, realm.0));
        }
        for listener in spec.listeners.iter().flatten() {
            if let Some(other) = made.iter().find(|other| other.listeners.contains(&listener.value)) {
                let (address, other) = (listener.value, &other.name);
                sink.error(listener.at, format!("`listeners` in [realm.{name}]: {address} is [realm.{other}]'s"));
            }
        }
        let listeners = spec.listeners.iter().flatten().map(|listener| listener.value).collect();
        made.push(RealmSettings { name: name.clone(), realm, listeners });
    }
    if let Some(last) = given.last().filter(|_| given.len() > REALMS_MAX) {
        sink.error(last.name.at, format!("{} realms, at most {REALMS_MAX}", given.len()));
    }
    made
}

/// The realm that a client's networks are in.
pub(super) fn realm_of(client: &str, given: Option<&Spanned<String>>, realms: &[RealmSettings], sink: &Sink) -> Realm {
    let Some(wanted) = given else { return Realm::default() };
    if let Some(realm) = realms.iter().find(|realm| realm.name == wanted.value) {
        return realm.realm;
    }
    let more = suggestion(&wanted.value, realms.iter().map(|realm| realm.name.as_str()));
    sink.error(wanted.at, format!("[client.{client}] is in undeclared realm `{}`{more}", wanted.value));
    Realm::default()
}
