//! A command as nodes tell it to each other: what somebody said, by whom and at which node; sealed, so that the server can
//! neither read one nor make one up.
//!
//! What a command is about has a field of the hash of what is in force. Two commands about the same come to the same in
//! whichever order they are heard, and however often: a word that was ended stays ended, an order keeps everything that was
//! ever done to it, and of two decisions about a list the later one holds.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::daemon::audit::Change;
use crate::daemon::said::{Entry, Kind};

const NONCE_OCTETS: usize = 12;
/// Octets of a field's name in the hash.
const FIELD_OCTETS: usize = 16;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Random; the same when it is told again.
    pub id: String,
    /// The node that took it.
    pub node: String,
    /// Seconds since 1970.
    pub at: i64,
    pub by: String,
    /// As the audit log has it: `allow.add`, `order.approve`.
    pub what: String,
    pub deed: Deed,
}

/// What is to be so from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    Say(Entry),
    /// Remembered until the word would have ended by itself.
    Unsay {
        kind: Kind,
        id: u64,
        until: i64,
    },
    /// A version of an order, as its file has it.
    Order {
        reference: String,
        text: String,
    },
    List {
        list: String,
        decision: Decision,
    },
    /// What the cache holds of a name and all below goes.
    Flush {
        zone: String,
    },
}

/// About a list. Versions are named by the SHA-256 of their text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Disabled,
    Enabled,
    RolledBack {
        to: String,
    },
    Approved {
        sha256: String,
    },
    /// It follows its publisher again.
    Unpinned,
}

impl Deed {
    /// What it is about; `None`: nothing stays of it.
    pub fn slot(&self) -> Option<String> {
        match self {
            Deed::Say(entry) => Some(format!("said/{}", entry.id)),
            Deed::Unsay { id, .. } => Some(format!("ended/{id}")),
            Deed::Order { reference, .. } => Some(format!("order/{reference}")),
            Deed::List { list, decision: Decision::Disabled | Decision::Enabled } => Some(format!("list/use/{list}")),
            Deed::List { list, .. } => Some(format!("list/version/{list}")),
            Deed::Flush { .. } => None,
        }
    }

    /// What needs no room any more when this is said.
    pub fn clears(&self) -> Option<String> {
        match self {
            Deed::Unsay { id, .. } => Some(format!("said/{id}")),
            Deed::Say(_) | Deed::Order { .. } | Deed::List { .. } | Deed::Flush { .. } => None,
        }
    }

    /// When it says nothing any more, in seconds since 1970.
    pub fn ends(&self) -> Option<i64> {
        match self {
            Deed::Say(Entry { until, .. }) | Deed::Unsay { until, .. } => Some(*until),
            Deed::Order { .. } | Deed::List { .. } | Deed::Flush { .. } => None,
        }
    }
}

impl Command {
    pub fn new(node: &str, by: &str, what: &str, at: i64, deed: Deed) -> Command {
        let (node, by, what) = (node.to_owned(), by.to_owned(), what.to_owned());
        Command { id: format!("{:032x}", random()), node, at, by, what, deed }
    }

    /// A line for the audit log of a node that heard it.
    pub fn change<'a>(&'a self, subject: &'a str, before: Value, after: Value) -> Change<'a> {
        Change { who: &self.by, what: &self.what, subject, node: Some(&self.node), before, after }
    }
}

/// Without the system's randomness two commands, or two nodes, might be taken for one.
pub(in crate::daemon) fn random() -> u128 {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).expect("the system has a source of randomness");
    u128::from_be_bytes(octets)
}

/// Keys that are made of the state key, for commands alone.
pub(super) struct Seal {
    key: LessSafeKey,
    names: hmac::Key,
}

impl Seal {
    pub fn new(state_key: &[u8; 32]) -> Seal {
        let state_key = hmac::Key::new(hmac::HMAC_SHA256, state_key);
        let key = hmac::sign(&state_key, b"lachan commands");
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref());
        let names = hmac::sign(&state_key, b"lachan commands' fields");
        Seal {
            key: LessSafeKey::new(key.expect("a hash has the length that the cipher wants")),
            names: hmac::Key::new(hmac::HMAC_SHA256, names.as_ref()),
        }
    }

    /// A name for a slot: opaque, since an order's reference may be nobody else's business.
    pub fn field(&self, slot: &str) -> Vec<u8> {
        hmac::sign(&self.names, slot.as_bytes()).as_ref()[..FIELD_OCTETS].to_vec()
    }

    /// Seals something for one place: nowhere else is it believed.
    pub fn seal(&self, place: &[u8], value: &impl Serialize) -> Result<Vec<u8>, String> {
        let mut nonce = [0; NONCE_OCTETS];
        getrandom::fill(&mut nonce).map_err(|why| why.to_string())?;
        let mut sealed = serde_json::to_vec(value).map_err(|why| why.to_string())?;
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| "it cannot be encrypted".to_owned())?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// `None`: nobody with our key sealed this, or not for this place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_OCTETS>()?;
        let mut sealed = sealed.to_vec();
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut sealed);
        let length = opened.ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_believed_with_our_key_and_in_its_place_alone() {
        let seal = Seal::new(&[7; 32]);
        let deed = Deed::List { list: "ads".into(), decision: Decision::RolledBack { to: "ab".into() } };
        let command = Command::new("a", "An", "list.rollback", 1_800_000_000, deed);
        let sealed = seal.seal(b"here", &command).unwrap();
        let opened = seal.open(b"here", &sealed).unwrap();
        assert_eq!(serde_json::from_slice::<Command>(&opened).unwrap(), command);
        assert_eq!(seal.open(b"there", &sealed), None);
        assert_eq!(Seal::new(&[8; 32]).open(b"here", &sealed), None);
        assert!((0..sealed.len()).all(|cut| seal.open(b"here", &sealed[..cut]).is_none()));
        let flipped = |at: usize| sealed.iter().enumerate().map(|(i, o)| if i == at { o ^ 1 } else { *o }).collect();
        assert!((0..sealed.len()).map(flipped).all(|bad: Vec<u8>| seal.open(b"here", &bad).is_none()));
        assert!(!sealed.windows(3).any(|window| window == b"ads"));
    }

    #[test]
    fn what_a_command_is_about_has_one_field() {
        let list = |decision| Deed::List { list: "ads".into(), decision }.slot();
        assert_eq!(list(Decision::Disabled), list(Decision::Enabled));
        assert_eq!(list(Decision::Unpinned), list(Decision::Approved { sha256: "ab".into() }));
        assert_ne!(list(Decision::Unpinned), list(Decision::Enabled));
        let unsay = Deed::Unsay { kind: Kind::Deny, id: 7, until: 9 };
        assert_eq!((unsay.clears().as_deref(), unsay.ends()), (Some("said/7"), Some(9)));
        assert_eq!(Deed::Flush { zone: "a.example".into() }.slot(), None);
    }
}
