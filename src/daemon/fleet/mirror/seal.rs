//! What the server may see of subscribers: with a state key neither prefixes, tokens nor profiles.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::outbox::Slot;
use crate::daemon::fleet::connection::Trouble;
use crate::engine::client::{Token, TokenKey};

const NONCE_OCTETS: usize = 12;
/// Names fields of the hash when there is no state key: then the server sees records anyway.
const FIELDS: [u8; 16] = *b"lachan fields v1";

/// Keys that are made of the state key, for subscribers alone.
pub(super) struct Seal {
    /// `None`: nothing is sealed.
    key: Option<LessSafeKey>,
    fields: TokenKey,
}

impl Seal {
    pub(super) fn new(state_key: Option<&[u8; 32]>) -> Seal {
        let key = state_key.map(|key| {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length that the cipher wants");
            LessSafeKey::new(key)
        });
        let mut fields = FIELDS;
        if let Some(key) = state_key {
            let context = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), b"lachan fields");
            fields.copy_from_slice(&context.as_ref()[..16]);
        }
        Seal { key, fields: TokenKey::new(fields) }
    }

    /// A name for a slot in the hash: opaque, since a prefix in clear would tell who is who.
    pub(super) fn field(&self, slot: &Slot) -> [u8; 16] {
        let hex: Vec<u8> = slot.octets().iter().flat_map(|octet| [octet >> 4, octet & 15]).collect();
        Token::of(&self.fields, &hex).0.to_be_bytes()
    }

    pub(super) fn close(&self, records: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let Some(key) = &self.key else { return Ok(records) };
        let (mut nonce, mut sealed) = ([0; NONCE_OCTETS], records);
        getrandom::fill(&mut nonce).map_err(|why| Trouble::new(why.to_string()))?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .map_err(|_| Trouble::new("it cannot be encrypted"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    pub(super) fn open(&self, mut sealed: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let Some(key) = &self.key else { return Ok(sealed) };
        let bad = || Trouble::new("an entry on the server is damaged, or was written with another state_key_file");
        let nonce: [u8; NONCE_OCTETS] = sealed.get(..NONCE_OCTETS).and_then(|n| n.try_into().ok()).ok_or_else(bad)?;
        let mut rest = sealed.split_off(NONCE_OCTETS);
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut rest);
        let length = opened.map_err(|_| bad())?.len();
        rest.truncate(length);
        Ok(rest)
    }
}
