//! Who is only observed: answered as upstream does, with what would have been done counted.
//!
//! Orders are no choice of the operator's, so they are done for everybody, and so is the canary's block, by which `/readyz`
//! sees that filtering works.

use std::net::IpAddr;

use crate::engine::client::{Client, unmap};
use crate::engine::compile::Mode;
use crate::engine::policy::{QueryVerdict, category};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::{Cause, Counted, Reason, Rung, Would};

/// Bits of an IPv6 address that are one line's: an ISP delegates a /56.
const LINE_V6_BITS: u8 = 56;

impl Snapshot {
    /// Whether a client's policy is only counted: its own word goes before its profile's, and that before everybody's.
    pub fn observes(&self, client: Client) -> bool {
        let known = client.configured.and_then(|at| self.clients_known.get(at as usize));
        let own = known.and_then(|known| known.mode).or(self.profile(client.profile).mode);
        match own {
            Some(mode) => mode == Mode::Observe,
            None => self.observe.mode == Mode::Observe || line_number(client.source) < u64::from(self.observe.percent),
        }
    }
}

/// What would have been done about a question of an observed client; `None`: what is done all the same.
pub(super) fn instead_of(snapshot: &Snapshot, verdict: &QueryVerdict) -> Option<Would> {
    match verdict {
        QueryVerdict::Block(block) => instead_of_reason(snapshot, &block.reason),
        QueryVerdict::Redirect(redirect, _) => instead_of_reason(snapshot, &redirect.reason),
        QueryVerdict::Rewrite(..) => Some(REWRITE),
        QueryVerdict::Local(_) | QueryVerdict::Allow(_) => None,
    }
}

/// What SafeSearch would have done.
pub(super) const REWRITE: Would = Would { how: Counted::Observed, rung: Rung::SafeSearch, category: None };

pub(super) fn instead_of_reason(snapshot: &Snapshot, reason: &Reason) -> Option<Would> {
    let canary = snapshot.masks.canary.unwrap_or_default();
    let is_canary = matches!(reason.cause, Cause::Rule { list, .. } if canary.contains(list));
    let is_done = reason.rung <= Rung::Order || is_canary;
    (!is_done).then(|| Would { how: Counted::Observed, rung: reason.rung, category: category(reason) })
}

/// 0 to 99: which of a hundred lines an address is, the same on every node.
fn line_number(source: IpAddr) -> u64 {
    let bits = match unmap(source) {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6) >> (128 - LINE_V6_BITS),
    };
    // FNV-1a over the octets, and its high half folded in: neighbours fall far apart.
    let fnv = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    let hash = bits.to_be_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    (hash ^ hash >> 32) % 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_lines_is_about_that_share_and_a_line_stays_in_it() {
        for percent in [1, 10, 50] {
            let v4 = (0..20_000_u32).filter(|n| line_number(IpAddr::from((0x6440_0000 + n).to_be_bytes())) < percent);
            let v6 = (0..20_000_u128)
                .filter(|n| line_number(IpAddr::from((0x2001_0db8_u128 << 96 | n << 72).to_be_bytes())) < percent);
            for found in [v4.count(), v6.count()] {
                let share = found as u64 * 100 / 20_000;
                assert!(share.abs_diff(percent) <= 1, "{percent} %: {found}");
            }
        }
        // One line's addresses are one line, however they are written.
        let of = |text: &str| line_number(text.parse().unwrap());
        assert_eq!(of("2001:db8:4:300::1"), of("2001:db8:4:3ff:a:b:c:d"));
        assert_eq!(of("100.64.1.2"), of("::ffff:100.64.1.2"));
    }
}
