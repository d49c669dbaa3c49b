//! Orders of several nodes as one: what a node did to an order is told to the others, and each has in the end everything
//! that was done to it anywhere, in whichever order it heard of it.
//!
//! What an order says — its names, its end, whom it is for — never changes once it is entered. Two nodes that entered
//! different orders under one reference keep what they have, and say so. A file that somebody wrote by hand is this node's
//! own affair until a command changes it.

use super::commands::file_name;
use super::{Book, Held, unsealed};
use crate::config::{read_order, write_order};
use crate::daemon::fleet::command::{Command, Deed};
use crate::daemon::reload::Reloader;
use crate::engine::client::UnixTime;
use crate::engine::order::{Act, Order};

/// Everything that was done to an order, by two who know of it; `None`: they are two orders.
fn together(mine: &Order, theirs: &Order) -> Option<Order> {
    let bare = |order: &Order| Order {
        checked: None,
        approved: None,
        verified_at: None,
        reported_at: None,
        revoked: None,
        ..order.clone()
    };
    if bare(mine) != bare(theirs) {
        return None;
    }
    let act = |a: &Option<Act>, b: &Option<Act>| {
        let both = a.iter().chain(b);
        both.min_by(|a, b| (a.at, &a.by).cmp(&(b.at, &b.by))).cloned()
    };
    let time = |a: Option<UnixTime>, b: Option<UnixTime>| a.into_iter().chain(b).min();
    let revoked = mine.revoked.iter().chain(&theirs.revoked);
    Some(Order {
        checked: act(&mine.checked, &theirs.checked),
        approved: act(&mine.approved, &theirs.approved),
        verified_at: time(mine.verified_at, theirs.verified_at),
        reported_at: time(mine.reported_at, theirs.reported_at),
        revoked: revoked
            .min_by(|a, b| (a.act.at, &a.act.by, &a.reason).cmp(&(b.act.at, &b.act.by, &b.reason)))
            .cloned(),
        ..mine.clone()
    })
}

/// Who did the last thing to an order, and what.
fn last_act(order: &Order) -> (&Act, &'static str) {
    match (&order.revoked, &order.approved) {
        (Some(revoked), _) => (&revoked.act, "order.revoke"),
        (None, Some(approved)) => (approved, "order.approve"),
        (None, None) => (&order.entered, "order.add"),
    }
}

fn deed(order: &Order) -> Deed {
    Deed::Order { reference: order.reference.clone(), text: write_order(order) }
}

impl Reloader {
    pub(super) fn share_order(&self, by: &str, what: &str, order: &Order) {
        self.share(by, what, deed(order));
    }

    /// Takes up an order as another node has it. Whether anything is new, and why it is not in force as it is there.
    ///
    /// # Errors
    /// It cannot be written down now.
    pub fn hear_order(&self, command: &Command, text: &str) -> Result<(bool, Option<String>), String> {
        let refused = |why: String| Ok((false, Some(why)));
        let theirs = match read_order("the order", text, &jiff::tz::TimeZone::UTC) {
            Ok(order) => order,
            Err(errors) => return refused(super::first(&errors)),
        };
        let book = self.orders();
        let _alone = book.changing();
        let order = match book.get(&theirs.reference).ok() {
            None => theirs,
            Some(mine) => match together(&mine, &theirs) {
                None => return refused(format!("another order {} is here already", mine.reference)),
                Some(both) if both == mine => return Ok((false, None)),
                Some(both) => both,
            },
        };
        if let Err(why) = book.is_room_for(&order) {
            return refused(why);
        }
        let node = Some(command.node.as_str());
        book.write(order, (&command.by, &command.what, node), self.audit())?;
        Ok((true, None))
    }

    /// Puts orders that were heard of into force.
    ///
    /// # Errors
    /// They cannot be kept now.
    pub fn keep_heard_orders(&self) -> Result<(), String> {
        self.orders().publish(self.audit())
    }

    /// Every order that a command wrote, as it is told to other nodes; or the one of a reference.
    pub fn orders_in_force(&self, node: &str, reference: Option<&str>) -> Vec<Command> {
        let inner = self.orders().inner();
        let is_ours = |held: &&Held| unsealed(&held.text, self.audit()).is_some();
        let held = inner.held.values().filter(|held| reference.is_none_or(|of| held.order.reference == of));
        let told = held.filter(is_ours).map(|held| {
            let (act, what) = last_act(&held.order);
            Command::new(node, &act.by, what, act.at.0, deed(&held.order))
        });
        told.collect()
    }
}

impl Book {
    fn is_room_for(&self, order: &Order) -> Result<(), String> {
        let inner = self.inner();
        let directory = inner.directory.as_ref().ok_or("there is no place for orders here")?;
        let path = directory.join(file_name(&order.reference));
        if !inner.held.contains_key(&order.reference) && path.exists() {
            return Err(format!("{} is there already, and it is no file of order {}", path.display(), order.reference));
        }
        let others = inner.held.values().filter(|held| held.order.reference != order.reference);
        inner.check_bounds(others.clone().count(), others.map(|held| held.order.names.len()).sum(), order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::order::Revoked;

    fn order() -> Order {
        let text = "reference = \"1\"\nauthority = \"A05\"\nlegal_basis = \"NĐ 147/2024\"\nnames = [\"bad.example\"]\n\
                    received = \"2027-01-31T09:00:00Z\"\nexpires = \"2027-12-31\"\nentered_by = \"An\"\n";
        read_order("o.toml", text, &jiff::tz::TimeZone::UTC).unwrap()
    }

    fn act(by: &str, at: i64) -> Act {
        Act { by: by.into(), at: UnixTime(at) }
    }

    #[test]
    fn what_was_done_at_two_nodes_is_done_at_both() {
        let approved = Order { approved: Some(act("Bình", 2_000)), ..order() };
        let revoked = Order {
            revoked: Some(Revoked { act: act("Chi", 3_000), reason: "letter 9".into() }),
            verified_at: Some(UnixTime(4_000)),
            ..order()
        };
        let earlier = Order { approved: Some(act("Dung", 1_000)), ..order() };
        let all = [order(), approved.clone(), revoked.clone(), earlier];
        for a in &all {
            assert_eq!(together(a, a).as_ref(), Some(a));
            for b in &all {
                assert_eq!(together(a, b), together(b, a));
                for c in &all {
                    let left = together(&together(a, b).unwrap(), c);
                    assert_eq!(left, together(a, &together(b, c).unwrap()));
                }
            }
        }
        let both = together(&approved, &revoked).unwrap();
        assert_eq!((&both.approved, &both.revoked), (&approved.approved, &revoked.revoked));
        assert_eq!(last_act(&both).1, "order.revoke");
        // It reads again to the same, so that nodes agree to the octet.
        let Deed::Order { text, .. } = deed(&both) else { unreachable!() };
        assert_eq!(read_order("o", &text, &jiff::tz::TimeZone::UTC).unwrap(), both);
    }

    #[test]
    fn two_orders_under_one_reference_are_not_mixed() {
        let other = Order { authority: "another".into(), ..order() };
        assert_eq!(together(&order(), &other), None);
    }
}
