//! Networks laid out as spans of addresses end to end: which is the narrowest that holds an address is one search.

use std::net::IpAddr;

use ipnet::IpNet;

/// Where each span begins, in order, and what the narrowest network that holds it says; `None` where there is none.
#[derive(Debug)]
pub(super) struct Spans<V> {
    v4: Vec<(u32, Option<V>)>,
    v6: Vec<(u128, Option<V>)>,
}

/// A network's first and last address.
struct Span<V> {
    first: u128,
    last: u128,
    value: V,
}

impl<V: Copy> Spans<V> {
    /// Of two that are the same network the later counts.
    pub(super) fn new(nets: impl IntoIterator<Item = (IpNet, V)>) -> Spans<V> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, value) in nets {
            match net {
                IpNet::V4(net) => {
                    let (first, last) = (u32::from(net.network()).into(), u32::from(net.broadcast()).into());
                    v4.push(Span { first, last, value });
                }
                IpNet::V6(net) => {
                    v6.push(Span { first: net.network().to_bits(), last: net.broadcast().to_bits(), value });
                }
            }
        }
        let v4 = laid_out(v4).into_iter();
        // What begins behind the last address of the family is nothing.
        let v4 = v4.filter_map(|(first, value)| Some((u32::try_from(first).ok()?, value)));
        Spans { v4: v4.collect(), v6: laid_out(v6) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// What the narrowest network that holds `address` says.
    pub(super) fn at(&self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(v4) => at(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => at(&self.v6, v6.to_bits()),
        }
    }
}

impl<V> Default for Spans<V> {
    fn default() -> Spans<V> {
        Spans { v4: Vec::new(), v6: Vec::new() }
    }
}

fn at<A: Ord, V: Copy>(spans: &[(A, Option<V>)], address: A) -> Option<V> {
    let behind = spans.partition_point(|(first, _)| *first <= address);
    spans[behind.checked_sub(1)?].1
}

/// Networks lie in each other or apart, so those that hold a place are a stack.
fn laid_out<V: Copy>(mut nets: Vec<Span<V>>) -> Vec<(u128, Option<V>)> {
    nets.sort_by_key(|net| (net.first, std::cmp::Reverse(net.last)));
    let mut spans: Vec<(u128, Option<V>)> = Vec::new();
    let mut begin = |first: u128, value: Option<V>| match spans.last_mut() {
        Some(last) if last.0 == first => last.1 = value,
        _ => spans.push((first, value)),
    };
    let mut open: Vec<Span<V>> = Vec::new();
    for net in nets {
        while let Some(ended) = open.pop_if(|top| top.last < net.first) {
            begin(ended.last + 1, open.last().map(|below| below.value));
        }
        begin(net.first, Some(net.value));
        open.push(net);
    }
    while let Some(ended) = open.pop() {
        if let Some(next) = ended.last.checked_add(1) {
            begin(next, open.last().map(|below| below.value));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_narrowest_network_is_found_as_by_looking_at_each() {
        let nets: Vec<(IpNet, usize)> = [
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.0.255.0/24",
            "10.0.255.255/32",
            "10.1.0.0/16",
            "10.255.255.255/32",
            "11.0.0.0/8",
            "0.0.0.0/32",
            "255.255.255.0/24",
            "255.255.255.255/32",
            "10.1.0.0/16",
            "::/0",
            "::/128",
            "2001:db8::/32",
            "2001:db8::/48",
            "2001:db8:0:ffff::/64",
            "ffff::/16",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ]
        .into_iter()
        .enumerate()
        .map(|(i, text)| (net(text), i))
        .collect();
        for count in 0..=nets.len() {
            let nets = &nets[..count];
            let spans = Spans::new(nets.iter().copied());
            let ends = nets.iter().flat_map(|(net, _)| [net.network(), net.broadcast()]);
            let near = |address: IpAddr| match address {
                IpAddr::V4(v4) => [-1, 0, 1].map(|by| IpAddr::from(v4.to_bits().wrapping_add_signed(by).to_be_bytes())),
                IpAddr::V6(v6) => [-1, 0, 1].map(|by| IpAddr::from(v6.to_bits().wrapping_add_signed(by).to_be_bytes())),
            };
            for address in ends.flat_map(near) {
                let holding = nets.iter().filter(|(net, _)| net.contains(&address));
                let narrowest = holding.max_by_key(|(net, i)| (net.prefix_len(), *i)).map(|(_, i)| *i);
                assert_eq!(spans.at(address), narrowest, "{address} of {count}");
            }
        }
    }
}
