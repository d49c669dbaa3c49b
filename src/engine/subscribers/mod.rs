//! Subscribers: which line an address belongs to at this moment, and which profile that line has.
//!
//! A million lines come and go while questions are answered, so the table is a *live part* (I2): the snapshot holds a
//! handle, a query reads it once. What a table says by the name of a profile, a [`Live`] turns into the profile of its
//! generation. Who is not in the table, whose entry has lapsed or whose profile is not configured is treated as a client that
//! nobody knows (I8).

mod key;
mod names;
mod nat;
mod slots;
mod table;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::client::{UnixTime, unmap};
use crate::engine::limits::{CLOCK_SANE_SECS, UNKNOWN_SUBSCRIBER_TTL_SECS};
use crate::engine::query::Origin;
use crate::engine::snapshot::Profile;
use crate::engine::verdict::ProfileId;

pub use key::{Key, Place};
pub use names::NameId;
pub use nat::{Nat, NatError};
pub use table::{Change, Counts, Entry, Found, Full, Held, Holder, LookUp, Reader, Room, Sought, Table, Term, Writer};
pub use tokens::TokenState;

/// What the table says of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// There is no table.
    NoTable,
    /// Its address has no entry: a session may begin any moment.
    Unknown,
    /// Its profile is weaker than the default one, and nobody confirmed it in time; or its entry had an end.
    Lapsed,
    /// Its profile is not in the configuration.
    UnknownProfile,
    /// A subscriber for whom nobody chose.
    NoChoice,
    /// A subscriber with a profile.
    Known,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::NoTable => "no-table",
            Standing::Unknown => "unknown",
            Standing::Lapsed => "lapsed",
            Standing::UnknownProfile => "unknown-profile",
            Standing::NoChoice => "no-choice",
            Standing::Known => "known",
        }
    }

    /// How long clients may remember what policy said, in seconds, as far as this goes.
    pub fn ttl_secs_max(self) -> u32 {
        match self {
            Standing::NoTable | Standing::NoChoice | Standing::Known => u32::MAX,
            Standing::Unknown | Standing::Lapsed | Standing::UnknownProfile => UNKNOWN_SUBSCRIBER_TTL_SECS,
        }
    }
}

/// The table as one generation reads it.
#[derive(Debug, Clone)]
pub struct Live {
    pub table: Arc<Table>,
    /// By the numbers of names; `None`: no such profile. Names that came later are in no profile of this generation.
    profiles: Arc<[Option<Named>]>,
    nats: Arc<[Nat]>,
}

/// A profile of this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named {
    profile: ProfileId,
    /// It keeps out all that the default profile does, so that a subscriber may have it without being confirmed.
    keeps_default: bool,
}

/// What a look-up came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified<F = Found> {
    pub standing: Standing,
    /// For [`Standing::Known`]; else the client has what it would have without a table.
    pub profile: Option<ProfileId>,
    pub found: Option<F>,
}

impl Live {
    /// Every profile's name gets its number, so whatever name comes later is none of them.
    pub fn new(table: Arc<Table>, profiles: &[Profile], nats: Arc<[Nat]>) -> Live {
        for profile in profiles {
            // A table full of names of the past knows no new one: such a profile cannot be given to subscribers.
            let _ = table.intern(&profile.name);
        }
        let names = table.all_names();
        let named = |name: &String| {
            let at = profiles.iter().position(|profile| profile.name == *name)?;
            Some(Named { profile: ProfileId(at as u16), keeps_default: profiles[at].keeps_default })
        };
        Live { profiles: names.iter().map(named).collect(), table, nats }
    }

    /// Whether a name is a profile's of this generation.
    pub fn knows(&self, name: NameId) -> bool {
        self.named(name).is_some()
    }

    fn named(&self, name: NameId) -> Option<Named> {
        *self.profiles.get(name.place())?
    }

    /// Who asks. What a client says that it is goes before where it is. Takes no lock and allocates nothing.
    pub fn identify(&self, origin: &Origin, at: UnixTime) -> Identified {
        self.identify_by(&mut &*self.table, origin, at)
    }

    /// As [`Live::identify`], by what a thread keeps to read this table with.
    pub fn identify_by<L: LookUp>(&self, by: &mut L, origin: &Origin, at: UnixTime) -> Identified<L::Found> {
        let found = origin.identity.and_then(|token| by.find_token(token));
        self.judge(found.or_else(|| self.find_place(by, origin)), at)
    }

    fn find_place<L: LookUp>(&self, by: &mut L, origin: &Origin) -> Option<L::Found> {
        // Port 0: nobody said which.
        if !self.nats.is_empty()
            && let IpAddr::V4(outside) = unmap(origin.source.ip())
            && origin.source.port() != 0
        {
            let inside = self.nats.iter().find_map(|nat| nat.inside(origin.realm, outside, origin.source.port()));
            let found = inside.and_then(|(realm, inside)| by.find(realm, (inside, 0).into()));
            if found.is_some() {
                return found;
            }
        }
        by.find(origin.realm, origin.source)
    }

    /// What the table has for each of these: [`Reader::find_all`]. Nothing where ports of a gateway lead to lines.
    pub fn find_all(
        &self,
        reader: &mut Reader,
        sought: &[Sought],
        found: &mut Vec<Option<Held>>,
        touch: impl FnMut(*const u8),
    ) {
        found.clear();
        if self.nats.is_empty() {
            reader.find_all(sought, found, touch);
        }
    }

    /// What is found for one who asks comes to this.
    #[inline]
    pub fn judge<F: Copy + Into<Held>>(&self, found: Option<F>, at: UnixTime) -> Identified<F> {
        let without = |standing| Identified { standing, profile: None, found };
        let Some(Held { profile, term }) = found.map(Into::into) else { return without(Standing::Unknown) };
        let Some(name) = profile else { return without(Standing::NoChoice) };
        let Some(named) = self.named(name) else { return without(Standing::UnknownProfile) };
        if self.has_lapsed(term, named, at) {
            return without(Standing::Lapsed);
        }
        Identified { standing: Standing::Known, profile: Some(named.profile), found }
    }

    fn has_lapsed(&self, term: Term, named: Named, at: UnixTime) -> bool {
        // A clock that nobody has set yet does not say what has lapsed: then it has.
        let is_over = |until: u32| at.0 > i64::from(until) || at.0 < CLOCK_SANE_SECS;
        term.until.is_some_and(is_over) && (term.is_hard || !named.keeps_default)
    }

    /// Whether an entry does nothing any more, and will not by itself.
    pub fn is_over(&self, entry: &Entry, at: UnixTime) -> bool {
        if at.0 < CLOCK_SANE_SECS {
            return false;
        }
        let profile = match entry.holder {
            Holder::Profile(name) => Some(name),
            Holder::Token(token) => self.table.find_token(token).and_then(|state| state.profile()),
        };
        match profile.and_then(|name| self.named(name)) {
            Some(named) => self.has_lapsed(entry.term, named, at),
            // It decides nothing, so all that ends with it is what is known of the session.
            None => entry.term.until.is_some_and(|until| at.0 > i64::from(until)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::{Realm, Token};
    use crate::engine::query::Transport;
    use crate::engine::test_support::Setup;

    const NOW: u32 = 1_800_000_000;

    struct Bench {
        live: Live,
        writer: Writer,
    }

    impl Bench {
        /// `default`, `school` (stricter), `open` (weaker).
        fn new() -> Bench {
            let (table, writer) = Table::new((5, 6));
            let snapshot = Setup::new().compile();
            let nat = Nat {
                outside_realm: Realm(0),
                outside: "203.0.113.0/24".parse().unwrap(),
                inside_realm: Realm(3),
                inside: "100.64.0.0/16".parse().unwrap(),
                first_port: 1_024,
                ports_per_subscriber: 1_024,
            };
            Bench { live: Live::new(table, &snapshot.profiles, [nat].into()), writer }
        }

        fn put(&mut self, realm: u16, net: &str, profile: &str, term: Term) {
            let name = self.live.table.intern(profile).unwrap();
            let key = Key::of_net(Realm(realm), net.parse().unwrap());
            self.writer.put(key, Entry { holder: Holder::Profile(name), term }).unwrap();
        }

        fn told(&self, source: &str, at: i64) -> (Standing, Option<u16>) {
            let origin = Origin::new(source.parse().unwrap(), None, Transport::Udp);
            let told = self.live.identify(&origin, UnixTime(at));
            (told.standing, told.profile.map(|id| id.0))
        }
    }

    #[test]
    fn what_is_weaker_lapses_and_what_is_stricter_stays() {
        let mut bench = Bench::new();
        let until = Some(NOW);
        let (soft, hard) = (Term { until, ..Term::default() }, Term { until, is_hard: true, ..Term::default() });
        bench.put(0, "192.0.2.1/32", "open", soft);
        bench.put(0, "192.0.2.2/32", "school", soft);
        bench.put(0, "192.0.2.3/32", "school", hard);
        bench.put(0, "192.0.2.4/32", "default", soft);
        bench.put(0, "192.0.2.5/32", "open", Term::default());
        bench.put(0, "192.0.2.6/32", "of-yesterday", Term::default());
        let now = i64::from(NOW);
        let known = |profile| (Standing::Known, Some(profile));
        let lapsed = (Standing::Lapsed, None);
        for (source, in_time, too_late, without_clock) in [
            ("192.0.2.1:1", known(2), lapsed, lapsed),
            ("192.0.2.2:1", known(1), known(1), known(1)),
            ("192.0.2.3:1", known(1), lapsed, lapsed),
            ("192.0.2.4:1", known(0), known(0), known(0)),
            ("192.0.2.5:1", known(2), known(2), known(2)),
            (
                "192.0.2.6:1",
                (Standing::UnknownProfile, None),
                (Standing::UnknownProfile, None),
                (Standing::UnknownProfile, None),
            ),
            ("192.0.2.7:1", (Standing::Unknown, None), (Standing::Unknown, None), (Standing::Unknown, None)),
        ] {
            let told = (bench.told(source, now), bench.told(source, now + 1), bench.told(source, 100));
            assert_eq!(told, (in_time, too_late, without_clock), "{source}");
        }
    }

    #[test]
    fn a_port_of_a_gateway_leads_to_the_line_behind_it() {
        let mut bench = Bench::new();
        bench.put(3, "100.64.0.1/32", "school", Term::default());
        bench.put(0, "203.0.113.0/24", "open", Term::default());
        let now = i64::from(NOW);
        assert_eq!(bench.told("203.0.113.0:2048", now).1, Some(1));
        // Nobody is known behind the next block: then what is known of the gateway.
        assert_eq!(bench.told("203.0.113.0:3072", now).1, Some(2));
        assert_eq!(bench.told("100.64.0.1:3072", now), (Standing::Unknown, None));
    }

    #[test]
    fn what_a_client_says_that_it_is_goes_first() {
        let mut bench = Bench::new();
        bench.put(0, "192.0.2.1/32", "open", Term::default());
        let (known, stranger) = (Token(1), Token(2));
        bench.writer.choose(known, bench.live.table.intern("school")).unwrap();
        for (identity, profile) in [(None, 2), (Some(known), 1), (Some(stranger), 2)] {
            let origin = Origin { identity, ..Origin::new("192.0.2.1:1".parse().unwrap(), None, Transport::Tls) };
            assert_eq!(bench.live.identify(&origin, UnixTime(i64::from(NOW))).profile, Some(ProfileId(profile)));
        }
    }

    #[test]
    fn names_of_later_are_no_profiles_of_this_generation() {
        let mut bench = Bench::new();
        bench.put(0, "192.0.2.1/32", "later", Term::default());
        assert_eq!(bench.told("192.0.2.1:1", i64::from(NOW)), (Standing::UnknownProfile, None));
        assert!(!bench.live.knows(bench.live.table.intern("later").unwrap()));
        assert!(bench.live.knows(bench.live.table.intern("school").unwrap()));
    }
}
