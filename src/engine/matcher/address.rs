//! Addresses → sets of lists, by every network that covers the address.
//!
//! A v4-mapped IPv6 address is the IPv4 address it stands for, in rules and in questions (I14).

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use prefix_trie::joint::JointPrefixMap;

use crate::engine::list::{AddressRule, Effect};
use crate::engine::matcher::set::{Interner, ListSet, SetId, Sets};
use crate::engine::verdict::ListId;

/// The compiled address rules of all lists.
#[derive(Debug)]
pub struct AddressTable {
    nets: JointPrefixMap<IpNet, Sides>,
    sets: Sets,
    /// Sorted by network, then list and line. Holds after `build`.
    rules: Vec<(IpNet, AddressRuleAt)>,
}

#[derive(Debug, Clone, Copy)]
struct Sides {
    listed: SetId,
    excepted: SetId,
}

/// Where a rule about addresses stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRuleAt {
    pub list: ListId,
    pub line: u32,
    pub effect: Effect,
}

impl AddressTable {
    /// Gives `found` every network that covers `address`, with the places in [`sets`](Self::sets) of the lists that hold
    /// and that except it, the widest network first. Allocates nothing.
    pub(super) fn look_up(&self, address: IpAddr, mut found: impl FnMut(IpNet, usize, usize)) {
        let address = IpNet::from(address.to_canonical());
        for (net, sides) in self.nets.cover(&address) {
            found(net, sides.listed.number() as usize, sides.excepted.number() as usize);
        }
    }

    /// Every set of lists in it.
    pub(super) fn sets(&self) -> impl Iterator<Item = &ListSet> {
        self.sets.iter()
    }

    /// Every rule about exactly `net`, by list and line. For `explain`, not for queries.
    pub fn rules_at(&self, net: IpNet) -> impl Iterator<Item = AddressRuleAt> + '_ {
        let net = canonical(net);
        let from = self.rules.partition_point(|(n, _)| *n < net);
        self.rules[from..].iter().take_while(move |(n, _)| *n == net).map(|&(_, rule)| rule)
    }

    /// Every rule with its list.
    pub(in crate::engine) fn rules(&self) -> impl Iterator<Item = (ListId, AddressRule)> + '_ {
        self.rules.iter().map(|&(net, AddressRuleAt { list, line, effect })| (list, AddressRule { net, effect, line }))
    }

    /// Networks that have a rule.
    pub fn len(&self) -> usize {
        self.nets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

/// Collects address rules.
#[derive(Debug, Default)]
pub(in crate::engine) struct AddressBuilder {
    rules: Vec<(IpNet, AddressRuleAt)>,
}

impl AddressBuilder {
    pub(in crate::engine) fn add(&mut self, list: ListId, rule: AddressRule) {
        let AddressRule { net, effect, line } = rule;
        self.rules.push((canonical(net), AddressRuleAt { list, line, effect }));
    }

    pub(in crate::engine) fn build(mut self) -> AddressTable {
        self.rules.sort_unstable();
        let mut sets = Interner::new();
        let mut nets = JointPrefixMap::new();
        for of_one_net in self.rules.chunk_by(|a, b| a.0 == b.0) {
            let mut side = |effect: Effect| {
                let set: ListSet =
                    of_one_net.iter().filter(|(_, rule)| rule.effect == effect).map(|(_, rule)| rule.list).collect();
                sets.number(&set)
            };
            nets.insert(of_one_net[0].0, Sides { listed: side(Effect::List), excepted: side(Effect::Except) });
        }
        AddressTable { nets, sets: sets.finish(), rules: self.rules }
    }
}

/// Host bits cleared; `::ffff:192.0.2.0/120` as `192.0.2.0/24`.
pub(super) fn canonical(net: IpNet) -> IpNet {
    let net = net.trunc();
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= 96
    {
        return IpNet::V4(Ipv4Net::new(v4, v6.prefix_len() - 96).expect("128 less 96 bits are at most 32"));
    }
    net
}
