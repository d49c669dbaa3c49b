//! What metrics tell of orders: how many stand where, what should not wait, and when the next deadline is. No reference, no
//! name.

use super::Book;
use crate::daemon::telemetry::Metrics;
use crate::engine::client::UnixTime;
use crate::engine::order::{Alarm, Order, State};

impl Book {
    /// Sets the gauges as they are at a moment.
    pub fn tell_metrics(&self, metrics: &Metrics, at: UnixTime) {
        let orders = self.orders();
        let all = orders.all();
        for state in State::ALL {
            let count = all.iter().filter(|order| order.state(at) == state).count();
            metrics.orders.with_label_values(&[state.as_str()]).set(count as i64);
        }
        metrics.orders_acting.set(all.iter().filter(|order| order.acts(at)).count() as i64);
        let alarms: Vec<&str> = all.iter().flat_map(|order| order.alarms(at)).map(Alarm::kind).collect();
        for kind in Alarm::KINDS {
            let count = alarms.iter().filter(|told| **told == kind).count();
            metrics.order_alarms.with_label_values(&[kind]).set(count as i64);
        }
        metrics.order_problems.set(self.problems().len() as i64);
        metrics.order_next.set(all.iter().filter_map(|order| next(order, at)).min().unwrap_or(0));
    }
}

/// When somebody must have acted, so that an order acts in time, or goes on; in seconds since 1970.
fn next(order: &Order, at: UnixTime) -> Option<i64> {
    match order.state(at) {
        State::Received | State::Checked | State::Lapsed => Some(order.deadline.0),
        State::Provisional => order.provisional_until.map(|until| until.0),
        State::Approved | State::InForce | State::Verified | State::Reported | State::Expired | State::Revoked => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::order::tests::order;

    #[test]
    fn what_waits_has_a_time_by_which_it_must_not() {
        let night = Order { approved: None, provisional_until: Some(UnixTime(50)), ..order("1", &["a.example"]) };
        let waits = Order { approved: None, ..order("2", &["b.example"]) };
        for (order, at, expected) in [
            (&night, 10, Some(50)),
            (&night, 50, Some(night.deadline.0)),
            (&waits, 10, Some(waits.deadline.0)),
            (&order("3", &["c.example"]), 10, None),
        ] {
            assert_eq!(next(order, UnixTime(at)), expected, "{} {at}", order.reference);
        }
    }
}
