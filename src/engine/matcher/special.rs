//! Special rules → those that are about a name, a client or an address.
//!
//! Asked beside the index and only where a list has such rules. Whether a rule's condition holds, and which of several
//! rules of a list wins, is policy's.

use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::engine::limits::PATTERNS_MAX;
use crate::engine::list::special::{Owner, SpecialRule};
use crate::engine::matcher::pattern::PatternTable;
use crate::engine::name::Labels;
use crate::engine::verdict::ListId;

/// Index of a special rule of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleNumber(pub(super) u32);

/// The special rules of all lists.
#[derive(Debug, Default)]
pub struct SpecialTable {
    rules: Vec<(ListId, SpecialRule)>,
    /// By canonical wire form of the owner.
    names: HashMap<Box<[u8]>, Vec<RuleNumber>>,
    /// Bit `d` is set when some owner has `d` labels.
    depths: u128,
    patterns: PatternTable,
    clients: JointPrefixMap<IpNet, Vec<RuleNumber>>,
    addresses: JointPrefixMap<IpNet, Vec<RuleNumber>>,
}

impl SpecialTable {
    /// Whether no name and no client has a special rule.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.patterns.is_empty() && self.clients.is_empty()
    }

    pub fn has_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Whether some rule is about who asks.
    pub fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Every rule, with its list.
    pub fn rules(&self) -> &[(ListId, SpecialRule)] {
        &self.rules
    }

    pub fn rule(&self, number: RuleNumber) -> (ListId, &SpecialRule) {
        let (list, rule) = &self.rules[number.0 as usize];
        (*list, rule)
    }

    /// Gives `found` the rules whose owner is `name`, in canonical wire form, or a name above it, with the owner's
    /// labels. Their reach is not looked at.
    pub fn at_or_above(&self, name: &[u8], mut found: impl FnMut(u8, RuleNumber)) {
        if self.names.is_empty() {
            return;
        }
        let labels = Labels::of(name);
        for depth in 0..=labels.count() {
            if self.depths & (1 << depth) != 0
                && let Some(rules) = self.names.get(labels.suffix(depth))
            {
                rules.iter().for_each(|&rule| found(depth as u8, rule));
            }
        }
    }

    /// Gives `found` the rules whose pattern `name` has.
    pub fn looking_like(&self, name: &[u8], found: impl FnMut(RuleNumber)) {
        if !self.patterns.is_empty() {
            self.patterns.look_up(name, found);
        }
    }

    /// Gives `found` the rules about a network that holds `source`, with the network's length, the widest first.
    pub fn for_client(&self, source: IpAddr, found: impl FnMut(u8, RuleNumber)) {
        covering(&self.clients, source, found);
    }

    /// Likewise for an address of an answer.
    pub fn for_address(&self, address: IpAddr, found: impl FnMut(u8, RuleNumber)) {
        covering(&self.addresses, address, found);
    }
}

fn covering(nets: &JointPrefixMap<IpNet, Vec<RuleNumber>>, address: IpAddr, mut found: impl FnMut(u8, RuleNumber)) {
    if nets.is_empty() {
        return;
    }
    for (net, rules) in nets.cover(&IpNet::from(address.to_canonical())) {
        rules.iter().for_each(|&rule| found(net.prefix_len(), rule));
    }
}

/// Collects special rules.
#[derive(Debug, Default)]
pub(in crate::engine) struct SpecialBuilder {
    rules: Vec<(ListId, SpecialRule)>,
    patterns: usize,
}

impl SpecialBuilder {
    pub(in crate::engine) fn add(&mut self, list: ListId, rule: SpecialRule) {
        self.patterns += usize::from(matches!(rule.owner, Owner::Pattern(_)));
        self.rules.push((list, rule));
    }

    /// `None`: there are too many of them.
    pub(in crate::engine) fn build(self) -> Option<SpecialTable> {
        if self.patterns > PATTERNS_MAX || u32::try_from(self.rules.len()).is_err() {
            return None;
        }
        let mut table = SpecialTable { rules: self.rules, ..SpecialTable::default() };
        let mut patterns = Vec::new();
        for (i, (_, rule)) in table.rules.iter().enumerate() {
            let number = RuleNumber(i as u32);
            let (nets, net) = match &rule.owner {
                Owner::Name { name, .. } => {
                    table.depths |= 1 << Labels::of(name).count();
                    table.names.entry_ref(&**name).or_default().push(number);
                    continue;
                }
                Owner::Pattern(pattern) => {
                    patterns.push((pattern, number));
                    continue;
                }
                Owner::Client(net) => (&mut table.clients, net),
                Owner::Address(net) => (&mut table.addresses, net),
            };
            let net = super::address::canonical(*net);
            let mut at = nets.remove(&net).unwrap_or_default();
            at.push(number);
            nets.insert(net, at);
        }
        table.patterns = PatternTable::build(&patterns);
        Some(table)
    }
}
