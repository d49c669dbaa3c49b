//! Legal orders: what an authority wants blocked, who took it in, who approved it, and from when to when it acts.
//!
//! Two persons stand behind every order: one enters it, another approves. At night one may let it act at once; then it
//! lapses unless the second approves in time. An order ends by its stated end or by being revoked, and by nothing else. Its
//! state follows from what was done and from the time, so no two places can disagree about it.
//!
//! Names of all orders are one list of the index, on rung 2; which orders hold a name that was hit, and whether they act
//! for this client now, is asked here. Reading and keeping files is the daemon's.

mod persons;
mod remembered;

use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::engine::client::{Client, Realm, UnixTime, unmap};
use crate::engine::list::{Effect, Reach, RuleSet};
use crate::engine::matcher::{BuildError, Builder, HashSeed, Layer, Part};
use crate::engine::name::Name;
use crate::engine::verdict::ListId;

pub use persons::{is_same_person, may_be_same_person};
pub use remembered::{Bound, Gathering, Remembered};

/// An authority that says nothing else expects an order to be carried out in this time. NĐ 147/2024.
pub const DEADLINE_SECS: i64 = 24 * 3_600;
/// How long an order acts on one person's word unless the configuration says otherwise.
pub const SECOND_APPROVAL_SECS: i64 = 24 * 3_600;
/// So long before it lapses, or misses its deadline, somebody is told.
pub const LAPSE_ALARM_SECS: i64 = 4 * 3_600;
/// Days before an end or a review on which somebody is told.
pub const END_ALARM_DAYS: [i64; 3] = [1, 7, 30];

const DAY: i64 = 86_400;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The authority's own number, as in its letter: `2898/A05-P5`. No two orders of a register have the same.
    pub reference: String,
    pub authority: String,
    pub legal_basis: String,
    /// The number under which another office passed it on.
    pub relayed_as: Option<String>,
    pub category: Option<String>,
    pub channel: Channel,
    pub names: Vec<OrderedName>,
    /// Networks it is for; empty: every client.
    pub scope: Vec<IpNet>,
    /// Whose these networks are, where several use the same addresses; realm 0: everybody's, for an order is not to be missed
    /// because of how a question came.
    pub realm: Realm,
    pub received: UnixTime,
    pub deadline: UnixTime,
    pub effective: UnixTime,
    pub end: End,
    /// Whether clients and the public may be told of it by its reference.
    pub publishable: bool,
    /// Of the letter: hexadecimal.
    pub evidence_sha256: Option<String>,
    pub entered: Act,
    pub checked: Option<Act>,
    pub approved: Option<Act>,
    /// It acts on the word of who entered it until then.
    pub provisional_until: Option<UnixTime>,
    pub verified_at: Option<UnixTime>,
    pub reported_at: Option<UnixTime>,
    pub revoked: Option<Revoked>,
}

/// A name that an order holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedName {
    pub name: Name,
    /// The name alone, or with all below.
    pub reach: Reach,
    /// It is protected, or shared by many who are not meant, and the order is to reach it all the same.
    pub overrides: bool,
}

/// How an order came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Letter,
    Electronic,
    /// By word of mouth: the letter follows.
    Phone,
}

/// When an order ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// From then on it does not act.
    At(UnixTime),
    /// It does not; somebody is to ask then whether it still should act.
    Open { review_at: UnixTime },
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub by: String,
    pub at: UnixTime,
}

/// The authority, or a court, took it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    pub act: Act,
    pub reason: String,
}

/// Where an order stands:
///
/// ```text
/// received → checked → approved → in force → verified → reported → expired
///     └─ provisional ─────┘└ lapsed                 any of them → revoked
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Received,
    /// Somebody looked at what it would do.
    Checked,
    /// Two persons stand behind it; its day has not come.
    Approved,
    /// It acts on one person's word.
    Provisional,
    /// One person's word ran out.
    Lapsed,
    InForce,
    /// A question through the resolver met it.
    Verified,
    /// The authority has its reply.
    Reported,
    Expired,
    Revoked,
}

/// What somebody should be told about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// It acts on one person's word, for so many more seconds.
    Lapses {
        secs: i64,
    },
    Lapsed,
    /// It is to act by its deadline, which is so many seconds away, or was.
    Deadline {
        secs: i64,
    },
    /// It ends in so many days or less: 30, 7 or 1.
    Ends {
        days: i64,
    },
    /// Somebody is to ask whether it still should act, in so many days or less; 0: that day has come.
    Review {
        days: i64,
    },
}

impl Alarm {
    /// Every [`Alarm::kind`].
    pub const KINDS: [&'static str; 11] = [
        "lapses",
        "lapsed",
        "deadline",
        "overdue",
        "ends-30d",
        "ends-7d",
        "ends-1d",
        "review-30d",
        "review-7d",
        "review-1d",
        "review-due",
    ];

    /// What it is about and how near that is: each is told once, and is the label of a metric.
    pub fn kind(self) -> &'static str {
        match self {
            Alarm::Lapses { .. } => "lapses",
            Alarm::Lapsed => "lapsed",
            Alarm::Deadline { secs } if secs < 0 => "overdue",
            Alarm::Deadline { .. } => "deadline",
            Alarm::Ends { days: ..=1 } => "ends-1d",
            Alarm::Ends { days: ..=7 } => "ends-7d",
            Alarm::Ends { .. } => "ends-30d",
            Alarm::Review { days: ..=0 } => "review-due",
            Alarm::Review { days: ..=1 } => "review-1d",
            Alarm::Review { days: ..=7 } => "review-7d",
            Alarm::Review { .. } => "review-30d",
        }
    }
}

impl Order {
    /// Whether another person than the one who entered it approved it, by then.
    pub fn is_approved(&self, at: UnixTime) -> bool {
        self.approved.as_ref().is_some_and(|act| act.at <= at && !is_same_person(&act.by, &self.entered.by))
    }

    /// Whether it blocks, for clients that it is for.
    pub fn acts(&self, at: UnixTime) -> bool {
        let is_backed = self.is_approved(at) || self.provisional_until.is_some_and(|until| at < until);
        let has_ended = matches!(self.end, End::At(end) if end <= at) || self.is_revoked(at);
        is_backed && self.effective <= at && !has_ended
    }

    fn is_revoked(&self, at: UnixTime) -> bool {
        self.revoked.as_ref().is_some_and(|revoked| revoked.act.at <= at)
    }

    /// When it stops acting by itself, as it stands.
    pub fn acts_until(&self, at: UnixTime) -> Option<UnixTime> {
        let end = match self.end {
            End::At(end) => Some(end),
            End::Open { .. } => None,
        };
        let lapse = self.provisional_until.filter(|_| !self.is_approved(at));
        let revoked = self.revoked.as_ref().map(|revoked| revoked.act.at);
        [end, lapse, revoked].into_iter().flatten().min()
    }

    pub fn is_for(&self, client: &Client) -> bool {
        let is_in = |net: &IpNet| match self.realm {
            Realm(0) => net.contains(&unmap(client.source)),
            realm => client.is_in(realm, net),
        };
        self.scope.is_empty() || self.scope.iter().any(is_in)
    }

    pub fn state(&self, at: UnixTime) -> State {
        if self.is_revoked(at) {
            return State::Revoked;
        }
        if matches!(self.end, End::At(end) if end <= at) {
            return State::Expired;
        }
        if self.is_approved(at) {
            return match (self.effective <= at, self.reported_at, self.verified_at) {
                (false, ..) => State::Approved,
                (true, Some(_), _) => State::Reported,
                (true, None, Some(_)) => State::Verified,
                (true, None, None) => State::InForce,
            };
        }
        match self.provisional_until {
            Some(until) if until <= at => State::Lapsed,
            Some(_) => State::Provisional,
            None if self.checked.is_some() => State::Checked,
            None => State::Received,
        }
    }

    /// What somebody should be told now.
    pub fn alarms(&self, at: UnixTime) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let (UnixTime(now), state) = (at, self.state(at));
        match state {
            State::Revoked | State::Expired => return alarms,
            State::Lapsed => alarms.push(Alarm::Lapsed),
            State::Provisional => {
                let left = self.provisional_until.map_or(0, |until| until.0 - now);
                if left <= LAPSE_ALARM_SECS {
                    alarms.push(Alarm::Lapses { secs: left });
                }
            }
            State::Received | State::Checked => {
                let left = self.deadline.0 - now;
                if left <= LAPSE_ALARM_SECS {
                    alarms.push(Alarm::Deadline { secs: left });
                }
            }
            State::Approved | State::InForce | State::Verified | State::Reported => {}
        }
        let days = |when: UnixTime| END_ALARM_DAYS.into_iter().find(|days| when.0 - now <= days * DAY);
        match self.end {
            End::At(end) => alarms.extend(days(end).map(|days| Alarm::Ends { days })),
            End::Open { review_at } if review_at <= at => alarms.push(Alarm::Review { days: 0 }),
            End::Open { review_at } => alarms.extend(days(review_at).map(|days| Alarm::Review { days })),
        }
        alarms
    }
}

impl State {
    pub const ALL: [State; 10] = [
        State::Received,
        State::Checked,
        State::Approved,
        State::Provisional,
        State::Lapsed,
        State::InForce,
        State::Verified,
        State::Reported,
        State::Expired,
        State::Revoked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Received => "received",
            State::Checked => "checked",
            State::Approved => "approved",
            State::Provisional => "provisional",
            State::Lapsed => "lapsed",
            State::InForce => "in-force",
            State::Verified => "verified",
            State::Reported => "reported",
            State::Expired => "expired",
            State::Revoked => "revoked",
        }
    }

    pub fn in_vietnamese(self) -> &'static str {
        match self {
            State::Received => "đã tiếp nhận",
            State::Checked => "đã kiểm tra",
            State::Approved => "đã phê duyệt, chờ hiệu lực",
            State::Provisional => "có hiệu lực tạm, chờ người thứ hai phê duyệt",
            State::Lapsed => "hết hiệu lực tạm, chưa được phê duyệt",
            State::InForce => "có hiệu lực",
            State::Verified => "có hiệu lực, đã kiểm chứng",
            State::Reported => "đã báo cáo",
            State::Expired => "hết hạn",
            State::Revoked => "đã thu hồi",
        }
    }
}

impl Channel {
    pub const ALL: [(&'static str, Channel); 3] =
        [("letter", Channel::Letter), ("electronic", Channel::Electronic), ("phone", Channel::Phone)];

    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Letter => "letter",
            Channel::Electronic => "electronic",
            Channel::Phone => "phone",
        }
    }
}

/// Every order of a register, found by their names.
#[derive(Debug, Default)]
pub struct Orders {
    all: Vec<Order>,
    /// By the wire form of a name: order, and place of the name in it.
    by_name: HashMap<Box<[u8]>, Vec<(u32, u32)>>,
}

/// An order that holds a name.
#[derive(Debug, Clone, Copy)]
pub struct Holding<'a> {
    /// Its place in the register.
    pub at: u32,
    pub order: &'a Order,
    /// The name's place in the order.
    pub place: u32,
    pub name: &'a OrderedName,
}

impl Orders {
    pub fn new(all: Vec<Order>) -> Orders {
        let mut by_name: HashMap<Box<[u8]>, Vec<(u32, u32)>> = HashMap::new();
        for (i, order) in all.iter().enumerate() {
            for (j, ordered) in order.names.iter().enumerate() {
                by_name.entry(ordered.name.as_wire().into()).or_default().push((i as u32, j as u32));
            }
        }
        Orders { all, by_name }
    }

    pub fn all(&self) -> &[Order] {
        &self.all
    }

    pub fn get(&self, at: u32) -> Option<&Order> {
        self.all.get(at as usize)
    }

    /// Orders whose rule stands on exactly this name, given in wire form.
    pub fn on<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = Holding<'a>> + use<'a> {
        let found = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(|(at, of)| {
            let order = self.get(*at)?;
            Some(Holding { at: *at, order, place: *of, name: order.names.get(*of as usize)? })
        })
    }

    /// Orders that hold a name, from the most specific rule on, whether they act or not.
    pub fn over<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = Holding<'a>> {
        let count = name.label_count();
        (1..=count).rev().flat_map(move |depth| {
            let reaches = move |holding: &Holding<'_>| depth == count || holding.name.reach == Reach::Subtree;
            self.on(name.suffix_wire(depth)).filter(reaches)
        })
    }

    /// The order that blocks a name for a client: the rule has `depth` labels of the name's. `is_spared`: the name is
    /// protected, so only an override reaches it.
    pub fn blocks(&self, name: &Name, depth: u8, client: &Client, is_spared: bool) -> Option<Holding<'_>> {
        let is_whole = usize::from(depth) == name.label_count();
        self.on(name.suffix_wire(depth.into())).find(|holding| {
            (is_whole || holding.name.reach == Reach::Subtree)
                && (holding.name.overrides || !is_spared)
                && holding.order.acts(client.at)
                && holding.order.is_for(client)
        })
    }

    /// The names as a layer of the index, with one list; `None` without names.
    pub fn layer(&self, seed: HashSeed) -> Result<Option<Arc<Layer>>, BuildError> {
        if self.by_name.is_empty() {
            return Ok(None);
        }
        let mut rules = RuleSet::default();
        let names = self.all.iter().flat_map(|order| &order.names);
        for (i, ordered) in names.enumerate() {
            rules.push(&ordered.name, ordered.reach, Effect::List, i as u32 + 1);
        }
        let mut builder = Builder::new(seed);
        builder.add(ListId(0), Part::of(&rules, &|_| false));
        Ok(Some(Arc::new(builder.build()?)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::list::own_entry;
    use crate::engine::test_support::{Setup, client};

    const HOUR: i64 = 3_600;

    /// An order that two persons stand behind, received at 0 and acting from 0 on; names as own lists have them, a `!` in
    /// front overrides.
    pub(crate) fn order(reference: &str, names: &[&str]) -> Order {
        let names = names.iter().map(|entry| {
            let bare = entry.trim_start_matches('!');
            let (name, reach) = own_entry(bare).unwrap();
            OrderedName { name, reach, overrides: bare != *entry }
        });
        let act = |by: &str| Act { by: by.into(), at: UnixTime(0) };
        Order {
            reference: reference.into(),
            authority: "A05".into(),
            legal_basis: "NĐ 147/2024".into(),
            relayed_as: None,
            category: None,
            channel: Channel::Letter,
            names: names.collect(),
            scope: Vec::new(),
            realm: Realm::default(),
            received: UnixTime(0),
            deadline: UnixTime(DEADLINE_SECS),
            effective: UnixTime(0),
            end: End::Open { review_at: UnixTime(365 * DAY) },
            publishable: true,
            evidence_sha256: None,
            entered: act("an"),
            checked: None,
            approved: Some(act("bình")),
            provisional_until: None,
            verified_at: None,
            reported_at: None,
            revoked: None,
        }
    }

    #[test]
    fn only_two_persons_and_the_stated_times_make_an_order_act() {
        let act = |by: &str, at| Some(Act { by: by.into(), at: UnixTime(at) });
        let good = || order("1", &["a.example"]);
        let revoked = |at| Some(Revoked { act: act("an", at).unwrap(), reason: "withdrawn".into() });
        for (what, order, at, acts, state) in [
            ("two persons", good(), 0, true, State::InForce),
            ("one person twice", Order { approved: act("An", 0), ..good() }, 0, false, State::Received),
            ("spaces make no person", Order { approved: act(" an ", 0), ..good() }, 0, false, State::Received),
            ("nobody", Order { approved: None, ..good() }, 0, false, State::Received),
            ("looked at", Order { approved: None, checked: act("an", 0), ..good() }, 0, false, State::Checked),
            ("approved later", Order { approved: act("bình", 9), ..good() }, 8, false, State::Received),
            ("approved now", Order { approved: act("bình", 9), ..good() }, 9, true, State::InForce),
            ("not yet", Order { effective: UnixTime(5), ..good() }, 4, false, State::Approved),
            ("from its second on", Order { effective: UnixTime(5), ..good() }, 5, true, State::InForce),
            ("last second", Order { end: End::At(UnixTime(5)), ..good() }, 4, true, State::InForce),
            ("ended", Order { end: End::At(UnixTime(5)), ..good() }, 5, false, State::Expired),
            ("revoked", Order { revoked: revoked(7), ..good() }, 7, false, State::Revoked),
            ("not revoked yet", Order { revoked: revoked(7), ..good() }, 6, true, State::InForce),
            ("verified", Order { verified_at: Some(UnixTime(1)), ..good() }, 6, true, State::Verified),
            ("reported", Order { reported_at: Some(UnixTime(1)), ..good() }, 6, true, State::Reported),
            // A review is no end.
            ("overdue review", Order { end: End::Open { review_at: UnixTime(1) }, ..good() }, 9, true, State::InForce),
        ] {
            assert_eq!((order.acts(UnixTime(at)), order.state(UnixTime(at))), (acts, state), "{what}");
        }
    }

    #[test]
    fn one_persons_word_lapses_unless_a_second_approves() {
        let night =
            Order { approved: None, provisional_until: Some(UnixTime(24 * HOUR)), ..order("1", &["a.example"]) };
        let second = Order { approved: Some(Act { by: "bình".into(), at: UnixTime(9 * HOUR) }), ..night.clone() };
        let alone = Order { approved: Some(Act { by: "AN".into(), at: UnixTime(9 * HOUR) }), ..night.clone() };
        for (order, hour, acts, state) in [
            (&night, 0, true, State::Provisional),
            (&night, 23, true, State::Provisional),
            (&night, 24, false, State::Lapsed),
            (&second, 8, true, State::Provisional),
            (&second, 9, true, State::InForce),
            (&second, 24, true, State::InForce),
            (&alone, 24, false, State::Lapsed),
        ] {
            let at = UnixTime(hour * HOUR);
            assert_eq!((order.acts(at), order.state(at)), (acts, state), "{hour}");
        }
        assert_eq!(night.acts_until(UnixTime(0)), Some(UnixTime(24 * HOUR)));
        assert_eq!(second.acts_until(UnixTime(10 * HOUR)), None);
    }

    #[test]
    fn alarms_come_in_time() {
        let night =
            Order { approved: None, provisional_until: Some(UnixTime(24 * HOUR)), ..order("1", &["a.example"]) };
        let ends = Order { end: End::At(UnixTime(100 * DAY)), ..order("1", &["a.example"]) };
        let open = Order { end: End::Open { review_at: UnixTime(100 * DAY) }, ..ends.clone() };
        let waits = Order { approved: None, ..open.clone() };
        for (order, at, alarms) in [
            (&night, 20 * HOUR - 1, vec![]),
            (&night, 20 * HOUR, vec![Alarm::Lapses { secs: 4 * HOUR }]),
            (&night, 24 * HOUR, vec![Alarm::Lapsed]),
            (&ends, 70 * DAY - 1, vec![]),
            (&ends, 70 * DAY, vec![Alarm::Ends { days: 30 }]),
            (&ends, 93 * DAY, vec![Alarm::Ends { days: 7 }]),
            (&ends, 99 * DAY, vec![Alarm::Ends { days: 1 }]),
            (&ends, 100 * DAY, vec![]),
            (&open, 93 * DAY, vec![Alarm::Review { days: 7 }]),
            (&open, 100 * DAY, vec![Alarm::Review { days: 0 }]),
            (&waits, 19 * HOUR, vec![]),
            (&waits, 20 * HOUR, vec![Alarm::Deadline { secs: 4 * HOUR }]),
            (&waits, 25 * HOUR, vec![Alarm::Deadline { secs: -HOUR }]),
        ] {
            assert_eq!(order.alarms(UnixTime(at)), alarms, "{at}");
            assert!(alarms.iter().all(|alarm| Alarm::KINDS.contains(&alarm.kind())), "{alarms:?}");
        }
        // Each step on the way to an end is an alarm of its own, and so is the deadline that has passed.
        let kinds = |order: &Order, at| order.alarms(UnixTime(at)).iter().map(|alarm| alarm.kind()).collect::<Vec<_>>();
        let steps = [70, 93, 99].map(|day| kinds(&ends, day * DAY));
        assert_eq!(steps, [["ends-30d"], ["ends-7d"], ["ends-1d"]]);
        assert_eq!(kinds(&open, 100 * DAY), ["review-due"]);
        assert_eq!([kinds(&waits, 20 * HOUR), kinds(&waits, 25 * HOUR)], [["deadline"], ["overdue"]]);
    }

    /// I8: how a question came is no way around an order; one for a network behind one gateway is for that alone.
    #[test]
    fn an_order_that_names_no_realm_is_for_its_networks_in_every_realm() {
        let snapshot = Setup::new().compile();
        let scope = vec!["100.64.0.0/10".parse().unwrap()];
        let anywhere = Order { scope, ..order("1", &["a.example"]) };
        let of_one = Order { realm: Realm(7), ..anywhere.clone() };
        for (realm, source, expected) in [
            (0, [100, 64, 0, 9], [true, false]),
            (7, [100, 64, 0, 9], [true, true]),
            (7, [192, 0, 2, 1], [false, false]),
        ] {
            let client = Client { realm: Realm(realm), source: source.into(), ..client(&snapshot, "default") };
            assert_eq!([anywhere.is_for(&client), of_one.is_for(&client)], expected, "realm {realm}");
        }
    }

    #[test]
    fn a_name_is_free_when_no_order_holds_it() {
        let revoked = Revoked { act: Act { by: "an".into(), at: UnixTime(0) }, reason: String::new() };
        let first = Order { revoked: Some(revoked), ..order("1", &["a.example"]) };
        let second = order("2", &["=a.example", "b.example"]);
        let name = Name::from_text("a.example").unwrap();
        let orders = Orders::new(vec![first, second]);
        let held: Vec<&str> = orders.over(&name).map(|holding| holding.order.reference.as_str()).collect();
        assert_eq!(held, ["1", "2"]);
        let acting: Vec<&str> = orders
            .over(&name)
            .filter(|holding| holding.order.acts(UnixTime(0)))
            .map(|holding| holding.order.reference.as_str())
            .collect();
        assert_eq!(acting, ["2"]);
        let below = Name::from_text("www.a.example").unwrap();
        assert_eq!(orders.over(&below).map(|holding| holding.at).collect::<Vec<_>>(), [0]);
    }
}
