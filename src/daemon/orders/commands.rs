//! What a person does about orders: enter, check, approve, verify, reply, revoke. Each is written to the audit log, then to
//! the order's file, and acts when it is answered.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AnnexEntry, Book, BoundTold, Held, NodeTold, RememberedTold, Standing, annex, first, sealed, sha256, summary,
};
use crate::config::{Version, ordered_text, read_order, write_order};
use crate::daemon::audit::{Audit, Change};
use crate::daemon::reload::Reloader;
use crate::daemon::resolver::{Begun, Resolver};
use crate::daemon::said::person_text;
use crate::daemon::{clock, state};
use crate::engine::answer::Answer;
use crate::engine::client::UnixTime;
use crate::engine::explain::{rfc3339, time_text};
use crate::engine::name::Name;
use crate::engine::order::{Act, Alarm, Channel, End, Order, Remembered, Revoked, State, may_be_same_person};
use crate::engine::query::{CLASS_IN, Origin, Question, RecordType, Transport};
use crate::engine::verdict::EdeCode;

/// An order that somebody enters. Times are texts as in an order's file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    pub reference: String,
    pub authority: String,
    pub legal_basis: String,
    pub relayed_as: Option<String>,
    pub category: Option<String>,
    pub channel: Option<String>,
    /// Names, or the lines of an annex.
    pub lines: Vec<String>,
    /// The rows of the annex that they stand in; none: they count from 1.
    pub numbers: Vec<usize>,
    pub scope: Vec<IpNet>,
    pub realm: Option<u16>,
    pub received: Option<String>,
    pub effective: Option<String>,
    pub expires: String,
    pub review_at: Option<String>,
    pub publishable: bool,
    pub evidence_sha256: Option<String>,
    pub by: String,
    /// Acts on one person's word until the second approves.
    pub act_now: bool,
    pub host_of_urls: bool,
    /// Names among the lines that are to be reached although they are protected or shared.
    pub overrides: Vec<String>,
    /// Look at the lines and enter nothing.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entered {
    /// `None`: nothing was entered.
    pub order: Option<OrderTold>,
    pub lines: Vec<AnnexEntry>,
}

/// An order as it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderTold {
    pub reference: String,
    pub authority: String,
    pub legal_basis: String,
    pub state: String,
    pub state_vi: String,
    /// Whether it blocks now.
    pub acts: bool,
    pub names: Vec<String>,
    pub scope: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<u16>,
    pub received: String,
    pub deadline: String,
    pub effective: String,
    /// A time, or `open`.
    pub expires: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_at: Option<String>,
    pub publishable: bool,
    pub entered_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional_until: Option<String>,
    pub alarms_en: Vec<String>,
    pub alarms_vi: Vec<String>,
    /// Absent until it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<RememberedTold>,
}

/// Who looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    #[default]
    Operator,
    /// Sees names of publishable orders alone; of the others, hashes with this node's key.
    Viewer,
}

/// What a question through the resolver met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    pub name: String,
    /// Blocked by an order: NXDOMAIN with EDE 16.
    pub effective: bool,
    pub rcode: u16,
    /// How long the answer took.
    pub micros: u64,
    /// How long clients may remember what they were told before the order; absent: no client can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<BoundTold>,
}

/// A verified order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Effect {
    pub order: OrderTold,
    /// Which node says so, and whose it is.
    pub node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// When it was asked.
    pub at: String,
    /// When every name was found blocked for the first time; absent: never yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// Seconds from when the order was received until then, or until now.
    pub after_secs: i64,
    pub names: Vec<Measured>,
    /// How each node of the fleet took the order up; empty: there is no fleet, or `nodes_unknown`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeTold>,
    /// Why it is not known of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_unknown: Option<String>,
}

impl OrderTold {
    /// Times are those of `zone`; `hide` tells a name to who may not see it.
    pub(super) fn of(
        order: &Order,
        at: UnixTime,
        hide: Option<&dyn Fn(&str) -> String>,
        zone: &TimeZone,
        remembered: Option<&Remembered>,
    ) -> OrderTold {
        let time_text = |at: UnixTime| rfc3339(at, zone);
        let state = order.state(at);
        let hide = hide.filter(|_| !order.publishable);
        let name = |ordered| {
            let text = ordered_text(ordered);
            hide.map_or_else(|| text.clone(), |hide| hide(&text))
        };
        let name_at = |place: usize| order.names.get(place).map(name).unwrap_or_default();
        let (expires, review_at) = match order.end {
            End::At(end) => (time_text(end), None),
            End::Open { review_at } => ("open".to_owned(), Some(time_text(review_at))),
        };
        let alarms = order.alarms(at);
        OrderTold {
            reference: order.reference.clone(),
            authority: order.authority.clone(),
            legal_basis: order.legal_basis.clone(),
            state: state.as_str().to_owned(),
            state_vi: state.in_vietnamese().to_owned(),
            acts: order.acts(at),
            names: order.names.iter().map(name).collect(),
            scope: order.scope.clone(),
            realm: Some(order.realm.0).filter(|realm| *realm != 0),
            received: time_text(order.received),
            deadline: time_text(order.deadline),
            effective: time_text(order.effective),
            expires,
            review_at,
            publishable: order.publishable,
            entered_by: order.entered.by.clone(),
            approved_by: order.approved.as_ref().map(|act| act.by.clone()),
            provisional_until: order.provisional_until.map(time_text),
            alarms_en: alarms.iter().map(|alarm| alarm_text(*alarm)).collect(),
            alarms_vi: alarms.iter().map(|alarm| alarm_in_vietnamese(*alarm)).collect(),
            remembered: remembered.map(|remembered| RememberedTold::of(remembered, order, zone, name_at)),
        }
    }
}

/// Tells names that are not to be seen, each the same every time. Who has not this node's key cannot try which name it is.
fn hider(audit: &Audit) -> impl Fn(&str) -> String {
    let key = audit.sign(b"names that are not to be seen").map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
    move |name| match &key {
        Some(key) => {
            let tag = hmac::sign(key, name.as_bytes());
            format!("hidden:{}", tag.as_ref()[..8].iter().map(|octet| format!("{octet:02x}")).collect::<String>())
        }
        None => "hidden".to_owned(),
    }
}

fn hours(secs: i64) -> String {
    format!("{} h {:02} m", secs / 3_600, secs % 3_600 / 60)
}

fn alarm_text(alarm: Alarm) -> String {
    match alarm {
        Alarm::Lapses { secs } => format!("it lapses in {} unless a second person approves it", hours(secs)),
        Alarm::Lapsed => "nobody approved it in time: it does not act".into(),
        Alarm::Deadline { secs } if secs < 0 => {
            format!("its deadline passed {} ago, and it does not act", hours(-secs))
        }
        Alarm::Deadline { secs } => format!("its deadline is in {}, and it does not act", hours(secs)),
        Alarm::Ends { days } => format!("it ends in {days} days or less"),
        Alarm::Review { days: 0 } => "its review is due: ask whether it still should act".into(),
        Alarm::Review { days } => format!("its review is due in {days} days or less"),
    }
}

fn alarm_in_vietnamese(alarm: Alarm) -> String {
    match alarm {
        Alarm::Lapses { secs } => {
            format!("sẽ hết hiệu lực tạm sau {} nếu người thứ hai chưa phê duyệt", hours(secs))
        }
        Alarm::Lapsed => "không được phê duyệt kịp thời: không còn hiệu lực".into(),
        Alarm::Deadline { secs } if secs < 0 => format!("đã quá hạn {} mà chưa có hiệu lực", hours(-secs)),
        Alarm::Deadline { secs } => format!("còn {} đến hạn mà chưa có hiệu lực", hours(secs)),
        Alarm::Ends { days } => format!("còn không quá {days} ngày là hết hạn"),
        Alarm::Review { days: 0 } => "đến hạn rà soát: cần hỏi còn duy trì hay không".into(),
        Alarm::Review { days } => format!("còn không quá {days} ngày đến hạn rà soát"),
    }
}

impl Book {
    /// Every order, by reference.
    pub fn told(&self, at: UnixTime, role: Role, audit: &Audit) -> Vec<OrderTold> {
        let zone = self.zone();
        let hide = hider(audit);
        let hide: Option<&dyn Fn(&str) -> String> = match role {
            Role::Operator => None,
            Role::Viewer => Some(&hide),
        };
        let inner = self.inner();
        let told = |held: &Held| {
            let remembered = inner.remembered.get(&held.order.reference);
            OrderTold::of(&held.order, at, hide, &zone, remembered)
        };
        inner.held.values().map(told).collect()
    }

    fn told_of(&self, order: &Order, at: UnixTime) -> OrderTold {
        let remembered = self.remembered(&order.reference);
        OrderTold::of(order, at, None, &self.zone(), remembered.as_ref())
    }

    /// Puts an order into the register: it is in its file and in the log when this returns.
    pub(super) fn put(&self, order: Order, who: &str, what: &str, audit: &Audit) -> Result<(), String> {
        self.write(order, (who, what, None), audit)?;
        self.publish(audit)
    }

    /// Puts what was written into force.
    pub(super) fn publish(&self, audit: &Audit) -> Result<(), String> {
        let mut inner = self.inner();
        inner.publish();
        inner.keep(audit)
    }

    /// As [`Book::put`], but not in force yet. Who did what to it, at which node if not here.
    pub(super) fn write(
        &self,
        order: Order,
        (who, what, node): (&str, &str, Option<&str>),
        audit: &Audit,
    ) -> Result<(), String> {
        let mut inner = self.inner();
        let Some(directory) = inner.directory.clone() else {
            return Err("there is no place for orders: neither [orders] directory nor a state directory".into());
        };
        let before = inner.held.get(&order.reference).cloned();
        let others = inner.held.values().filter(|held| held.order.reference != order.reference);
        inner.check_bounds(others.clone().count(), others.map(|held| held.order.names.len()).sum(), &order)?;
        let reference = order.reference.clone();
        let file = before.as_ref().map_or_else(|| file_name(&reference), |held| held.file.clone());
        let held = Held::new(file, sealed(write_order(&order), audit), order);
        let path = directory.join(&held.file);
        if before.is_none() && path.exists() {
            return Err(format!("{} is there already, and it is no file of order {reference}", path.display()));
        }
        let told = before.as_ref().map_or(Value::Null, summary);
        let change = |what, before, after| Change { who, what, subject: &reference, node, before, after };
        audit.record(&change(what, told.clone(), summary(&held)))?;
        if let Err(why) = state::write_whole(&path, held.text.as_bytes()) {
            audit.record(&change("order.undone", summary(&held), told))?;
            return Err(format!("{}: {why}", path.display()));
        }
        inner.seen.insert(path.clone(), Version::of_file(&path));
        inner.held.insert(reference, held);
        Ok(())
    }

    /// Logs what should not wait, each when it begins.
    pub fn tell_alarms(&self) {
        let mut inner = self.inner();
        let at = clock::unix_time();
        let now: Vec<(String, Alarm)> = inner
            .held
            .values()
            .flat_map(|held| held.order.alarms(at).into_iter().map(|alarm| (held.order.reference.clone(), alarm)))
            .collect();
        let is_kind = |a: &(String, Alarm), b: &(String, Alarm)| a.0 == b.0 && a.1.kind() == b.1.kind();
        for alarm in now.iter().filter(|alarm| !inner.alarms.iter().any(|told| is_kind(told, alarm))) {
            tracing::warn!(order = alarm.0, "{}", alarm_text(alarm.1));
        }
        inner.alarms = now;
    }

    pub(super) fn get(&self, reference: &str) -> Result<Order, String> {
        let inner = self.inner();
        inner.held.get(reference).map(|held| held.order.clone()).ok_or_else(|| {
            let known: Vec<&str> = inner.held.keys().map(String::as_str).take(20).collect();
            format!("there is no order `{reference}`; there are {}", known.join(", "))
        })
    }

    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn zone(&self) -> TimeZone {
        self.inner().zone.clone().unwrap_or(TimeZone::UTC)
    }
}

/// A name for a file: the reference in letters that every file system takes, and some of its hash so that no two are one.
pub(super) fn file_name(reference: &str) -> String {
    let plain: String = reference.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
    format!("{plain}-{}.toml", &sha256(reference)[..8])
}

impl Reloader {
    /// Enters an order, or only looks at its lines. Blocks.
    ///
    /// # Errors
    /// Why nothing was entered.
    pub fn enter_order(&self, asked: &Asked) -> Result<Entered, String> {
        let by = person_text("`--by`", &asked.by)?;
        let now = clock::unix_time();
        let generation = self.in_force();
        let taking = annex::Taking { host_of_urls: asked.host_of_urls, overrides: &asked.overrides };
        let lines = asked.lines.iter().map(String::as_str);
        let lines = annex::look_at(&generation.snapshot, now, lines, &asked.numbers, &taking);
        if asked.dry_run {
            return Ok(Entered { order: None, lines });
        }
        let order = self.order_of(asked, &by, &lines, now)?;
        let _alone = self.orders().changing();
        if self.orders().get(&order.reference).is_ok() {
            return Err(format!("order {} is there already", order.reference));
        }
        let told = self.orders().told_of(&order, now);
        self.orders().put(order.clone(), &by, "order.add", self.audit())?;
        self.share_order(&by, "order.add", &order);
        self.take_up()?;
        Ok(Entered { order: Some(told), lines })
    }

    /// Goes by the text of a file, so that what is typed is held to the same rules.
    fn order_of(&self, asked: &Asked, by: &str, lines: &[AnnexEntry], now: UnixTime) -> Result<Order, String> {
        let quoted = |text: &str| toml_edit::Value::from(text).to_string();
        let mut text = String::new();
        let received = asked.received.clone().unwrap_or_else(|| time_text(now));
        let fields = [
            ("reference", Some(&asked.reference)),
            ("authority", Some(&asked.authority)),
            ("legal_basis", Some(&asked.legal_basis)),
            ("relayed_as", asked.relayed_as.as_ref()),
            ("category", asked.category.as_ref()),
            ("channel", asked.channel.as_ref()),
            ("received", Some(&received)),
            ("effective", asked.effective.as_ref()),
            ("expires", Some(&asked.expires)),
            ("review_at", asked.review_at.as_ref()),
            ("evidence_sha256", asked.evidence_sha256.as_ref()),
        ];
        for (key, value) in fields.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
        let _ = writeln!(text, "entered_by = {}\npublishable = {}", quoted(by), asked.publishable);
        let mut array = |key: &str, values: Vec<String>| {
            if !values.is_empty() {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                let _ = writeln!(text, "{key} = [{}]", values.join(", "));
            }
        };
        let held = || lines.iter().filter_map(|line| line.standing.held_name());
        if held().next().is_none() {
            return Err("no line holds a name that an order can hold".into());
        }
        array("names", held().map(|(name, _)| name.to_owned()).collect());
        array("override", held().filter(|(_, overrides)| *overrides).map(|(name, _)| name.to_owned()).collect());
        array("scope", asked.scope.iter().map(IpNet::to_string).collect());
        if let Some(realm) = asked.realm {
            let _ = writeln!(text, "realm = {realm}");
        }
        let mut order = read_order("the order", &text, &self.orders().zone()).map_err(|errors| first(&errors))?;
        order.entered = Act { by: by.to_owned(), at: now };
        // Nobody enters an order that acted before it was known.
        if asked.effective.is_none() {
            order.effective = order.effective.max(now);
        }
        if asked.act_now || order.channel == Channel::Phone {
            let secs = self.orders().inner().settings.second_approval.as_secs() as i64;
            order.provisional_until = Some(UnixTime(now.0 + secs));
        }
        Ok(order)
    }

    fn change_order(
        &self,
        reference: &str,
        by: &str,
        what: &str,
        change: impl FnOnce(&mut Order, Act) -> Result<(), String>,
    ) -> Result<OrderTold, String> {
        let by = person_text("`--by`", by)?;
        let at = clock::unix_time();
        let _alone = self.orders().changing();
        let mut order = self.orders().get(reference)?;
        match order.state(at) {
            state @ (State::Revoked | State::Expired) => {
                return Err(format!("order {reference} is {}: nothing changes it any more", state.as_str()));
            }
            _ => change(&mut order, Act { by: by.clone(), at })?,
        }
        let told = self.orders().told_of(&order, at);
        self.orders().put(order.clone(), &by, what, self.audit())?;
        self.share_order(&by, what, &order);
        self.take_up()?;
        tracing::info!(order = reference, state = told.state, "{what}");
        Ok(told)
    }

    /// Somebody looked at what an order would do. Blocks.
    ///
    /// # Errors
    /// Why it stays as it is; so with the others.
    pub fn check_order(&self, reference: &str, by: &str) -> Result<OrderTold, String> {
        self.change_order(reference, by, "order.check", |order, act| {
            order.checked = Some(act);
            Ok(())
        })
    }

    /// A second person stands behind an order.
    pub fn approve_order(&self, reference: &str, by: &str) -> Result<OrderTold, String> {
        self.change_order(reference, by, "order.approve", |order, act| {
            if may_be_same_person(&act.by, &order.entered.by) {
                return Err(format!(
                    "{} entered order {}: a second person approves it",
                    order.entered.by, order.reference
                ));
            }
            if let Some(before) = &order.approved {
                return Err(format!("{} approved order {} already", before.by, order.reference));
            }
            order.approved = Some(act);
            Ok(())
        })
    }

    /// The authority, or a court, took an order back.
    pub fn revoke_order(&self, reference: &str, by: &str, reason: &str) -> Result<OrderTold, String> {
        let reason = person_text("`--reason`", reason)?;
        self.change_order(reference, by, "order.revoke", |order, act| {
            order.revoked = Some(Revoked { act, reason });
            Ok(())
        })
    }

    /// The authority has its reply.
    pub fn report_order(&self, reference: &str, by: &str) -> Result<OrderTold, String> {
        self.change_order(reference, by, "order.report", |order, act| {
            if order.verified_at.is_none() {
                return Err(format!("order {} is not verified yet: `lachan orders verify` asks", order.reference));
            }
            order.reported_at = Some(act.at);
            Ok(())
        })
    }

    /// Asks for every name of an order as a client that it is for, and notes that it is effective when all are blocked.
    ///
    /// # Errors
    /// There is no such order, or it cannot be noted.
    pub fn verify_order(&self, resolver: &Arc<Resolver>, reference: &str, by: &str) -> Result<Effect, String> {
        let by = person_text("`--by`", by)?;
        let order = self.orders().get(reference)?;
        self.measure_orders();
        let remembered = self.orders().remembered(reference);
        let bound = |place| Some(remembered.as_ref()?.of(place)?.into());
        let names = order.names.iter().enumerate();
        let names: Vec<Measured> = names
            .map(|(place, ordered)| Measured { remembered: bound(place), ..measure(resolver, &order, &ordered.name) })
            .collect();
        let at = clock::unix_time();
        let is_effective = names.iter().all(|name| name.effective);
        // This node asked itself when the order came into force; whoever asks later does not make it later.
        let first = self.orders().first_blocked(reference).map_or(at, |first| first.min(at));
        let told = match is_effective && order.verified_at.is_none() {
            true => self.change_order(reference, &by, "order.verify", |order, _| {
                order.verified_at = Some(first);
                Ok(())
            })?,
            false => self.orders().told_of(&order, at),
        };
        let generation = self.in_force();
        let (node, organization) =
            (generation.snapshot.node_name.clone(), generation.snapshot.structured.organization().map(str::to_owned));
        let verified_at = order.verified_at.or(is_effective.then_some(first));
        let after_secs = verified_at.unwrap_or(at).0 - order.received.0;
        let time_text = |at| rfc3339(at, &self.orders().zone());
        let (at, verified_at) = (time_text(at), verified_at.map(time_text));
        let (nodes, nodes_unknown) = (Vec::new(), None);
        Ok(Effect { order: told, node, organization, at, verified_at, after_secs, names, nodes, nodes_unknown })
    }
}

/// One question through the resolver, as a client that the order is for.
pub(super) fn measure(resolver: &Arc<Resolver>, order: &Order, name: &Name) -> Measured {
    let source = order.scope.first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), IpNet::addr);
    // By TCP: whoever has this address in the order's network has a budget of its own for UDP.
    let origin = Origin { realm: order.realm, ..Origin::new((source, 4_000).into(), None, Transport::Tcp) };
    let question = Question { qname: name.clone(), qtype: RecordType::A, qclass: CLASS_IN };
    let began = Instant::now();
    let begun = resolver.begin(&message(name), origin);
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let answer = match begun {
        Begun::Answer(octets) => Answer::from_wire(&octets, &question).ok(),
        // It would be asked upstream.
        Begun::Pending(_) | Begun::Silence => None,
    };
    let effective = answer.as_ref().is_some_and(|answer| answer.ede.iter().any(|ede| ede.code == EdeCode::CENSORED.0));
    let rcode = answer.map_or(0, |answer| answer.rcode.0);
    Measured { name: name.to_string(), effective, rcode, micros, remembered: None }
}

/// A question for A with an OPT, RD set. RFC 1035 §4.1, RFC 6891 §6.1.2.
fn message(name: &Name) -> Vec<u8> {
    let mut octets = vec![0x4c, 0x43, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend_from_slice(name.as_wire());
    octets.extend_from_slice(&[0, 1, 0, 1]);
    octets.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    octets
}

/// How many lines the order holds, and how many it does not.
impl Entered {
    pub fn counts(&self) -> (usize, usize) {
        let held = self.lines.iter().filter(|line| line.standing.is_held()).count();
        (held, self.lines.len() - held)
    }

    /// Lines that nobody should overlook.
    pub fn left_out(&self) -> impl Iterator<Item = &AnnexEntry> {
        self.lines.iter().filter(|line| !line.standing.is_held() && !matches!(line.standing, Standing::Repeated { .. }))
    }
}
