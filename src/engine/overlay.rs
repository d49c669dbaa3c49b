//! What a person said for a while: allows and denies with an end, and pauses. A value, made anew on each change.
//!
//! It is not in the index: a word comes and goes without a compile, and its end is met by the clock of the query. An
//! overlay that holds nothing costs one look. Keeping words over a restart is the daemon's, precedence is
//! [`policy`](crate::engine::policy)'s.

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::engine::client::{Client, Realm, UnixTime};
use crate::engine::limits::OVERLAY_ENTRIES_MAX;
use crate::engine::list::Reach;
use crate::engine::name::{Labels, Name};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::{ProfileId, Rung};

/// What a word does with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Deny,
    Allow,
}

/// Whom a word or a pause is for, as a person says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Everyone,
    /// The profile of this name.
    Profile(String),
    /// The `[client.*]` of this name.
    Client(String),
    /// A network of a realm; of realm 0 without another word, as every client is that no realm was told of.
    Network(Realm, IpNet),
}

/// Who said it, why, and until when: what `explain` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Names it towards people; never given twice.
    pub id: u64,
    pub scope: Scope,
    /// From then on it is as if nobody had said it.
    pub until: UnixTime,
    pub author: String,
    pub reason: String,
}

/// An allow or a deny.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub said: Said,
    pub effect: Effect,
    pub name: Name,
    pub reach: Reach,
}

/// A scope in the numbers of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Everyone,
    Profile(ProfileId),
    Client(u32),
    Network(Realm, IpNet),
    /// The configuration has no such profile or client any more.
    Nobody,
}

/// Every word and pause, for one snapshot.
#[derive(Debug, Default)]
pub struct Overlay {
    words: Vec<(Whom, Word)>,
    /// Words by the wire form of their name.
    by_name: HashMap<Box<[u8]>, Vec<u32>>,
    /// Bit n: some word's name has n labels.
    depths: u128,
    pauses: Vec<(Whom, Said)>,
}

/// A word that speaks about a name, and how many of the name's labels are its own.
#[derive(Debug, Clone, Copy)]
pub struct Spoken<'a> {
    /// The word's place in the overlay.
    pub at: u32,
    pub word: &'a Word,
    pub depth: u8,
}

impl Overlay {
    /// Words for people whom `snapshot` knows. The caller holds words and pauses to [`OVERLAY_ENTRIES_MAX`]; what is beyond
    /// is left out.
    pub fn new(words: &[Word], pauses: &[Said], snapshot: &Snapshot) -> Overlay {
        let mut overlay = Overlay::default();
        for word in words.iter().take(OVERLAY_ENTRIES_MAX) {
            let at = overlay.words.len() as u32;
            overlay.by_name.entry(word.name.as_wire().into()).or_default().push(at);
            overlay.depths |= 1 << word.name.label_count();
            overlay.words.push((whom(&word.said.scope, snapshot), word.clone()));
        }
        let pauses = pauses.iter().take(OVERLAY_ENTRIES_MAX);
        overlay.pauses = pauses.map(|said| (whom(&said.scope, snapshot), said.clone())).collect();
        overlay
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.pauses.is_empty()
    }

    /// Whether somebody said something about some name.
    pub fn has_words(&self) -> bool {
        self.depths != 0
    }

    /// The same words, as if nobody had paused anything.
    pub fn without_pauses(&self) -> Overlay {
        let Overlay { words, by_name, depths, pauses: _ } = self;
        Overlay { words: words.clone(), by_name: by_name.clone(), depths: *depths, pauses: Vec::new() }
    }

    /// The word at a place that [`Spoken`] told.
    pub fn get(&self, at: u32) -> Option<&Word> {
        self.words.get(at as usize).map(|(_, word)| word)
    }

    /// Whether any word, for whomever and whenever, is about this name: then nobody's answer is cleared by a note.
    pub fn is_about(&self, name: &Name) -> bool {
        self.has_words() && self.at(name).next().is_some()
    }

    /// The word of this rung that speaks about a name to a client: the most specific one, allow at a tie, and of equal
    /// ones the last to end.
    pub fn speaks(&self, rung: Rung, name: &Name, client: &Client) -> Option<Spoken<'_>> {
        if !self.has_words() {
            return None;
        }
        let words = self.at(name).filter(|(whom, spoken)| {
            let is_rung = (rung == Rung::Operator) == (*whom == Whom::Everyone);
            is_rung && spoken.word.said.until > client.at && whom.is(client)
        });
        words
            .map(|(_, spoken)| spoken)
            .max_by_key(|spoken| (spoken.depth, spoken.word.effect, spoken.word.said.until, spoken.word.said.id))
    }

    /// The pause that a client has, the last to end.
    pub fn pause(&self, client: &Client) -> Option<&Said> {
        let pauses = self.pauses.iter().filter(|(whom, said)| said.until > client.at && whom.is(client));
        pauses.map(|(_, said)| said).max_by_key(|said| said.until)
    }

    /// Words about a name, whomever they are for.
    fn at<'a>(&'a self, name: &Name) -> impl Iterator<Item = (Whom, Spoken<'a>)> {
        let labels = Labels::of(name.as_wire());
        let count = labels.count();
        let depths = self.depths;
        (0..=count).filter(move |depth| depths >> depth & 1 == 1).flat_map(move |depth| {
            let words = self.by_name.get(labels.suffix(depth)).map_or(&[][..], Vec::as_slice);
            words.iter().filter_map(move |at| {
                let (whom, word) = &self.words[*at as usize];
                let reaches = match word.reach {
                    Reach::Exact => depth == count,
                    Reach::Subtree => true,
                    Reach::Children => depth < count,
                };
                reaches.then_some((*whom, Spoken { at: *at, word, depth: depth as u8 }))
            })
        })
    }
}

impl Whom {
    fn is(self, client: &Client) -> bool {
        match self {
            Whom::Everyone => true,
            Whom::Profile(profile) => client.profile == profile,
            Whom::Client(configured) => client.configured == Some(configured),
            Whom::Network(realm, net) => client.is_in(realm, &net),
            Whom::Nobody => false,
        }
    }
}

fn whom(scope: &Scope, snapshot: &Snapshot) -> Whom {
    match scope {
        Scope::Everyone => Whom::Everyone,
        Scope::Profile(name) => snapshot.profile_named(name).map_or(Whom::Nobody, Whom::Profile),
        Scope::Client(name) => {
            let at = snapshot.clients_known.iter().position(|client| client.name == *name);
            at.map_or(Whom::Nobody, |at| Whom::Client(at as u32))
        }
        Scope::Network(realm, net) => Whom::Network(*realm, *net),
    }
}

impl Scope {
    /// As its `Display`, in Vietnamese.
    pub fn in_vietnamese(&self) -> String {
        match self {
            Scope::Everyone => "mọi người".to_owned(),
            Scope::Profile(name) => format!("hồ sơ `{name}`"),
            Scope::Client(name) => format!("máy `{name}`"),
            Scope::Network(Realm(0), net) => format!("mạng {net}"),
            Scope::Network(Realm(realm), net) => format!("mạng {net} thuộc realm {realm}"),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Everyone => f.write_str("everyone"),
            Scope::Profile(name) => write!(f, "profile `{name}`"),
            Scope::Client(name) => write!(f, "client `{name}`"),
            Scope::Network(Realm(0), net) => write!(f, "network {net}"),
            Scope::Network(Realm(realm), net) => write!(f, "network {net} in realm {realm}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::list::own_entry;
    use crate::engine::test_support::{Setup, client, name};

    fn word(id: u64, effect: Effect, entry: &str, scope: Scope, until: i64) -> Word {
        let (name, reach) = own_entry(entry).unwrap();
        let said = Said { id, scope, until: UnixTime(until), author: "an".into(), reason: "for a test".into() };
        Word { said, effect, name, reach }
    }

    #[test]
    fn the_most_specific_word_speaks_and_allow_at_a_tie() {
        let snapshot = Setup::new().compile();
        let words = [
            word(1, Effect::Deny, "a.example", Scope::Everyone, 100),
            word(2, Effect::Allow, "=www.a.example", Scope::Everyone, 50),
            word(3, Effect::Deny, "www.a.example", Scope::Everyone, 200),
            word(4, Effect::Allow, "*.b.example", Scope::Profile("school".into()), 100),
            word(5, Effect::Deny, "b.example", Scope::Network(Realm(0), "127.0.0.0/8".parse().unwrap()), 100),
            word(6, Effect::Deny, "c.example", Scope::Client("gone".into()), 100),
        ];
        let overlay = Overlay::new(&words, &[], &snapshot);
        for (rung, profile, qname, at, expected) in [
            (Rung::Operator, "default", "a.example", 0, Some(1)),
            (Rung::Operator, "default", "x.a.example", 99, Some(1)),
            (Rung::Operator, "default", "x.a.example", 100, None),
            (Rung::Operator, "default", "www.a.example", 0, Some(2)),
            // The allow has ended, the deny beside it has not.
            (Rung::Operator, "default", "www.a.example", 50, Some(3)),
            (Rung::Operator, "default", "x.www.a.example", 0, Some(3)),
            (Rung::Profile, "default", "a.example", 0, None),
            (Rung::Operator, "default", "b.example", 0, None),
            (Rung::Profile, "default", "x.b.example", 0, Some(5)),
            (Rung::Profile, "school", "x.b.example", 0, Some(4)),
            // `*.` leaves the name itself out.
            (Rung::Profile, "school", "b.example", 0, Some(5)),
            (Rung::Profile, "default", "c.example", 0, None),
            (Rung::Operator, "default", "example", 0, None),
        ] {
            let client = Client { at: UnixTime(at), ..client(&snapshot, profile) };
            let spoken = overlay.speaks(rung, &name(qname), &client).map(|spoken| spoken.word.said.id);
            assert_eq!(spoken, expected, "{rung:?} {profile} {qname} {at}");
        }
        assert!(overlay.is_about(&name("c.example")) && !overlay.is_about(&name("example")));
    }

    #[test]
    fn a_pause_is_for_those_it_names_until_it_ends() {
        let snapshot = Setup::new().compile();
        let said =
            |id, scope, until| Said { id, scope, until: UnixTime(until), author: String::new(), reason: String::new() };
        let net = |realm| Scope::Network(Realm(realm), "10.0.0.0/8".parse().unwrap());
        let pauses = [said(1, Scope::Profile("school".into()), 10), said(2, net(0), 20)];
        let overlay = Overlay::new(&[], &pauses, &snapshot);
        for (profile, source, at, expected) in [
            ("school", "127.0.0.1", 9, Some(1)),
            ("school", "127.0.0.1", 10, None),
            ("default", "127.0.0.1", 0, None),
            ("default", "10.1.2.3", 0, Some(2)),
            ("default", "::ffff:10.1.2.3", 19, Some(2)),
            ("school", "10.1.2.3", 0, Some(2)),
        ] {
            let source = source.parse().unwrap();
            let client = Client { at: UnixTime(at), source, ..client(&snapshot, profile) };
            assert_eq!(overlay.pause(&client).map(|said| said.id), expected, "{profile} {source} {at}");
        }
    }

    /// 10/8 is in use behind every gateway: what was said of one is not said of another.
    #[test]
    fn a_network_is_one_of_its_realm_alone() {
        let snapshot = Setup::new().compile();
        let net = |realm| Scope::Network(Realm(realm), "10.0.0.0/8".parse().unwrap());
        let words = [
            word(1, Effect::Deny, "a.example", net(0), 100),
            word(2, Effect::Deny, "a.example", net(7), 100),
            word(3, Effect::Allow, "b.example", net(7), 100),
        ];
        let pauses = [words[2].said.clone()];
        let overlay = Overlay::new(&words, &pauses, &snapshot);
        for (realm, a, b, pause) in [(0, Some(1), None, None), (7, Some(2), Some(3), Some(3)), (8, None, None, None)] {
            let source = [10, 1, 2, 3].into();
            let client = Client { at: UnixTime(0), source, realm: Realm(realm), ..client(&snapshot, "default") };
            let of = |qname: &str| overlay.speaks(Rung::Profile, &name(qname), &client).map(|told| told.word.said.id);
            assert_eq!((of("a.example"), of("b.example")), (a, b), "realm {realm}");
            assert_eq!(overlay.pause(&client).map(|said| said.id), pause, "realm {realm}");
        }
        assert_eq!(
            (net(0).to_string(), net(7).to_string()),
            ("network 10.0.0.0/8".into(), "network 10.0.0.0/8 in realm 7".into())
        );
    }

    #[test]
    fn what_is_beyond_the_bound_is_left_out() {
        let snapshot = Setup::new().compile();
        let words: Vec<Word> = (0..=OVERLAY_ENTRIES_MAX as u64)
            .map(|id| word(id, Effect::Deny, &format!("n{id}.example"), Scope::Everyone, 1))
            .collect();
        let overlay = Overlay::new(&words, &[], &snapshot);
        assert!(overlay.is_about(&name("n0.example")));
        assert!(!overlay.is_about(&name(&format!("n{OVERLAY_ENTRIES_MAX}.example"))));
    }
}
