//! Routing: from a question's name to the group of servers that is asked.
//!
//! Immutable and part of the snapshot. The most specific configured zone wins; tables that name the same zone are one
//! group, their tiers side by side.

use crate::engine::name::{Labels, Name};
use crate::engine::query::{Question, RecordType};
use crate::engine::upstream::{Fallback, Server, UpstreamTable};

/// A group of this configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// A server of this configuration: the same one in two tables is one server with one health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerIdx(pub u32);

/// A server's place in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub server: ServerIdx,
    /// AD of its answers may reach a client: loopback, an authenticated channel, or `trust_ad = true`.
    pub trust_ad: bool,
}

/// The servers of one zone.
#[derive(Debug, Clone)]
pub struct Group {
    pub zone: Name,
    /// Lowest tier first; none is empty.
    pub tiers: Vec<Vec<Member>>,
    pub fallback: Fallback,
    /// The group of the closest enclosing zone; where `Fallback::Parent` leads.
    pub parent: Option<GroupId>,
    /// See [`Routes::key`]. Holds after `new`.
    key: u64,
}

/// Every group, found by name.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    servers: Vec<Server>,
    groups: Vec<Group>,
    /// Canonical wire form of each zone with its group, sorted by the octets. Holds after `new`.
    zones: Vec<(Box<[u8]>, GroupId)>,
    /// Labels of the longest zone: no look-up starts deeper.
    labels_max: usize,
}

impl Routes {
    pub fn new(tables: &[UpstreamTable]) -> Routes {
        let mut routes = Routes::default();
        let mut zones: Vec<Name> = tables.iter().flat_map(|table| table.zones.iter().cloned()).collect();
        zones.sort();
        zones.dedup();
        for zone in zones {
            routes.add_group(zone, tables);
        }
        for i in 0..routes.groups.len() {
            let zone = &routes.groups[i].zone;
            let parent = if zone.is_root() { None } else { routes.group_for(&zone.parent()) };
            routes.groups[i].parent = parent;
        }
        let keys: Vec<u64> = (0..routes.groups.len()).map(|i| routes.chain_key(GroupId(i as u32))).collect();
        routes.groups.iter_mut().zip(keys).for_each(|(group, key)| group.key = key);
        routes
    }

    fn add_group(&mut self, zone: Name, tables: &[UpstreamTable]) {
        let mut of_zone: Vec<&UpstreamTable> = tables.iter().filter(|table| table.zones.contains(&zone)).collect();
        of_zone.sort_by_key(|table| table.tier);
        let mut tiers: Vec<(u8, Vec<Member>)> = Vec::new();
        for table in &of_zone {
            if tiers.last().is_none_or(|(tier, _)| *tier != table.tier) {
                tiers.push((table.tier, Vec::new()));
            }
            for server in &table.servers {
                let member =
                    Member { server: self.intern(server), trust_ad: table.trust_ad || server.is_trusted_path() };
                let known = tiers.iter_mut().flat_map(|(_, tier)| tier).find(|m| m.server == member.server);
                match known {
                    Some(known) => known.trust_ad |= member.trust_ad,
                    None => tiers.last_mut().expect("a tier was pushed above").1.push(member),
                }
            }
        }
        let tiers: Vec<Vec<Member>> = tiers.into_iter().map(|(_, tier)| tier).filter(|tier| !tier.is_empty()).collect();
        let wants_parent = of_zone.iter().any(|table| table.fallback == Fallback::Parent);
        let fallback = if wants_parent { Fallback::Parent } else { Fallback::None };
        let id = GroupId(self.groups.len() as u32);
        self.labels_max = self.labels_max.max(zone.label_count());
        // Zones come in the order of their octets, so `zones` stays sorted.
        self.zones.push((zone.as_wire().into(), id));
        self.groups.push(Group { zone, tiers, fallback, parent: None, key: 0 });
    }

    fn intern(&mut self, server: &Server) -> ServerIdx {
        let known = self.servers.iter().position(|s| s == server);
        let at = known.unwrap_or_else(|| {
            self.servers.push(server.clone());
            self.servers.len() - 1
        });
        ServerIdx(at as u32)
    }

    /// The group of the most specific zone that holds `qname`; none when no zone does.
    pub fn group_for(&self, qname: &Name) -> Option<GroupId> {
        let labels = Labels::of(qname.as_wire());
        self.group_from(&labels, labels.count())
    }

    /// The group that a question is for. The DS of a zone stands in its parent, whose servers alone know of it (RFC 4035 §3.1.4.1).
    pub fn group_of(&self, question: &Question) -> Option<GroupId> {
        let labels = Labels::of(question.qname.as_wire());
        let above = usize::from(question.qtype == RecordType::DS);
        self.group_from(&labels, labels.count().saturating_sub(above))
    }

    fn group_from(&self, labels: &Labels<'_>, depth: usize) -> Option<GroupId> {
        (0..=depth.min(self.labels_max)).rev().find_map(|depth| self.zone(labels.suffix(depth)))
    }

    fn zone(&self, wire: &[u8]) -> Option<GroupId> {
        let at = self.zones.binary_search_by(|(zone, _)| (**zone).cmp(wire)).ok()?;
        Some(self.zones[at].1)
    }

    /// # Panics
    /// When the id is of other routes.
    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[id.0 as usize]
    }

    /// A number that stays the same over reloads while zone, servers and their trust do, and those of the zones it falls
    /// back to: for the keys of caches.
    pub fn key(&self, id: GroupId) -> u64 {
        self.group(id).key
    }

    /// Whether a zone other than the root holds `qname`: such a zone takes over local names, and its answers may hold
    /// private addresses.
    pub fn is_explicit_zone(&self, qname: &Name) -> bool {
        self.group_for(qname).is_some_and(|id| !self.group(id).zone.is_root())
    }

    pub fn zones(&self) -> impl Iterator<Item = &Name> {
        self.groups.iter().map(|group| &group.zone)
    }

    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter().enumerate().map(|(i, group)| (GroupId(i as u32), group))
    }

    /// Every server once; [`ServerIdx`] counts these.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Groups have the numbers below this.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The tiers a question of the group walks: its own, then those of the enclosing zones as far as `fallback` leads.
    pub fn stages(&self, id: GroupId) -> impl Iterator<Item = &[Member]> {
        self.chain(id).flat_map(|group| group.tiers.iter().map(Vec::as_slice))
    }

    /// The group and those of the enclosing zones as far as `fallback` leads.
    fn chain(&self, id: GroupId) -> impl Iterator<Item = &Group> {
        std::iter::successors(Some(self.group(id)), |group| match group.fallback {
            Fallback::None => None,
            Fallback::Parent => group.parent.map(|parent| self.group(parent)),
        })
    }

    fn chain_key(&self, id: GroupId) -> u64 {
        let own = |group: &Group| group_key(&group.zone, &group.tiers, &self.servers);
        self.chain(id).map(own).fold(FNV_OFFSET, |hash, key| fnv1a(hash, &key.to_be_bytes()))
    }
}

/// FNV-1a over the zone and its servers, sorted: the order of tables and tiers changes no answer.
fn group_key(zone: &Name, tiers: &[Vec<Member>], servers: &[Server]) -> u64 {
    let mut parts: Vec<String> =
        tiers.iter().flatten().map(|m| format!("{} {}", servers[m.server.0 as usize], m.trust_ad)).collect();
    parts.sort();
    parts.iter().fold(fnv1a(FNV_OFFSET, zone.as_wire()), |hash, part| fnv1a(fnv1a(hash, part.as_bytes()), b"\n"))
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv1a(hash: u64, octets: &[u8]) -> u64 {
    octets.iter().fold(hash, |hash, &octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A short hash of a name, for counting how many different ones a server fails at.
pub(super) fn name_hash(name: &Name) -> u64 {
    fnv1a(FNV_OFFSET, name.as_wire())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query::CLASS_IN;
    use crate::engine::upstream::{Host, UpstreamTransport};

    fn zone(text: &str) -> Name {
        Name::zone_from_text(text).unwrap()
    }

    fn udp(address: &str) -> Server {
        Server {
            transport: UpstreamTransport::Udp,
            host: Host::Address(address.parse().unwrap()),
            tls_name: None,
            path: String::new(),
        }
    }

    fn table(zones: &[&str], servers: &[&str], tier: u8, fallback: Fallback) -> UpstreamTable {
        UpstreamTable {
            zones: zones.iter().map(|z| zone(z)).collect(),
            servers: servers.iter().map(|s| udp(s)).collect(),
            tier,
            fallback,
            trust_ad: false,
        }
    }

    fn sample() -> Routes {
        Routes::new(&[
            table(&["."], &["192.0.2.2:53"], 2, Fallback::None),
            table(&["."], &["192.0.2.1:53", "192.0.2.3:53"], 1, Fallback::None),
            table(&["edu.vn", "truong.local"], &["10.0.0.1:53"], 1, Fallback::Parent),
            table(&["hanoi.edu.vn"], &["10.0.0.2:53"], 1, Fallback::Parent),
        ])
    }

    #[test]
    fn the_most_specific_zone_wins() {
        let routes = sample();
        for (qname, expected, explicit) in [
            ("www.example.com", ".", false),
            ("edu.vn", "edu.vn", true),
            ("a.b.c.edu.vn", "edu.vn", true),
            ("x.hanoi.edu.vn", "hanoi.edu.vn", true),
            ("xhanoi.edu.vn", "edu.vn", true),
            ("notedu.vn", ".", false),
            ("truong.local", "truong.local", true),
            ("local", ".", false),
        ] {
            let group = routes.group_for(&zone(qname)).unwrap();
            assert_eq!(routes.group(group).zone, zone(expected), "{qname}");
            assert_eq!(routes.is_explicit_zone(&zone(qname)), explicit, "{qname}");
        }
        assert_eq!(routes.group_for(&Name::ROOT), routes.group_for(&zone("com")));
        assert_eq!(Routes::new(&[]).group_for(&zone("com")), None);
    }

    #[test]
    fn the_parents_servers_are_asked_for_ds() {
        let routes = sample();
        for (qname, qtype, expected) in [
            ("hanoi.edu.vn", RecordType::DS, "edu.vn"),
            ("hanoi.edu.vn", RecordType::DNSKEY, "hanoi.edu.vn"),
            ("x.hanoi.edu.vn", RecordType::DS, "hanoi.edu.vn"),
            ("edu.vn", RecordType::DS, "."),
            ("truong.local", RecordType::DS, "."),
            (".", RecordType::DS, "."),
        ] {
            let question = Question { qname: zone(qname), qtype, qclass: CLASS_IN };
            let group = routes.group_of(&question).unwrap();
            assert_eq!(routes.group(group).zone, zone(expected), "{qname} {qtype:?}");
        }
    }

    #[test]
    fn tiers_come_in_order_and_fallback_leads_to_the_enclosing_zones() {
        let routes = sample();
        let stages = |name: &str| -> Vec<Vec<String>> {
            let group = routes.group_for(&zone(name)).unwrap();
            let text = |m: &Member| routes.servers()[m.server.0 as usize].to_string();
            routes.stages(group).map(|tier| tier.iter().map(text).collect()).collect()
        };
        assert_eq!(stages("com"), [vec!["udp://192.0.2.1", "udp://192.0.2.3"], vec!["udp://192.0.2.2"]]);
        assert_eq!(
            stages("hanoi.edu.vn"),
            [
                vec!["udp://10.0.0.2"],
                vec!["udp://10.0.0.1"],
                vec!["udp://192.0.2.1", "udp://192.0.2.3"],
                vec!["udp://192.0.2.2"]
            ]
        );
    }

    #[test]
    fn a_key_outlives_a_reload_and_tells_groups_apart() {
        let (a, mut tables) = (sample(), vec![table(&["com"], &["192.0.2.9:53"], 1, Fallback::None)]);
        tables.push(table(&["."], &["192.0.2.3:53", "192.0.2.2:53", "192.0.2.1:53"], 1, Fallback::None));
        let b = Routes::new(&tables);
        let key = |routes: &Routes, name: &str| routes.key(routes.group_for(&zone(name)).unwrap());
        assert_eq!(key(&a, "org"), key(&b, "org"));
        assert_ne!(key(&a, "com"), key(&b, "com"));
        assert_ne!(key(&a, "edu.vn"), key(&a, "truong.local"));
        tables[1].trust_ad = true;
        assert_ne!(key(&a, "org"), key(&Routes::new(&tables), "org"));
    }

    #[test]
    fn a_key_knows_the_zones_it_falls_back_to() {
        let routes = |fallback, root: &str| {
            Routes::new(&[table(&["edu.vn"], &["10.0.0.1:53"], 1, fallback), table(&["."], &[root], 1, Fallback::None)])
        };
        let key = |routes: Routes| routes.key(routes.group_for(&zone("edu.vn")).unwrap());
        let (one, other) = ("192.0.2.1:53", "192.0.2.2:53");
        assert_ne!(key(routes(Fallback::Parent, one)), key(routes(Fallback::None, one)), "turned off");
        assert_ne!(key(routes(Fallback::Parent, one)), key(routes(Fallback::Parent, other)), "another parent");
        assert_eq!(key(routes(Fallback::None, one)), key(routes(Fallback::None, other)), "none of its business");
    }

    #[test]
    fn a_server_in_two_tables_is_one_server_and_shows_as_written() {
        let routes = sample();
        assert_eq!(routes.servers().len(), 5);
        let mut server = udp("[2001:db8::1]:53");
        assert_eq!(server.to_string(), "udp://[2001:db8::1]");
        assert!(!server.is_trusted_path());
        assert!(udp("127.0.0.1:5300").is_trusted_path());
        server = Server {
            transport: UpstreamTransport::Https,
            host: Host::Name(zone("dns.example"), 8443),
            tls_name: Some("dns.example".into()),
            path: "/dns-query".into(),
        };
        assert_eq!(server.to_string(), "https://dns.example:8443/dns-query");
        assert!(server.is_trusted_path());
        server.host = Host::Address("192.0.2.2:443".parse().unwrap());
        assert_eq!(server.to_string(), "https://192.0.2.2/dns-query#dns.example");
    }
}
