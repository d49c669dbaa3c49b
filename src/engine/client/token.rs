//! Who somebody says that it is, as a [`Token`]: a keyed hash of a text, so that nothing inside holds the text.
//!
//! Texts are compared without regard to ASCII case, as the names and paths that carry them are. Whoever makes tokens
//! and whoever looks them up use one key; a fleet whose members share tables shares it.

use std::fmt;

use siphasher::sip128::{Hasher128, SipHasher24};

/// What a client is known by where its address does not tell: a keyed hash of a name in a certificate's sense, a path, a
/// line's identifier. 128 bits: two of a country's lines share one with a chance of 10⁻²⁴ (I15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u128);

/// What tokens are made with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenKey([u8; 16]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl TokenKey {
    /// For identities that clients name themselves, and that stand in configurations as they are: the same on every node,
    /// and no secret.
    pub const LABELS: TokenKey = TokenKey(*b"lachan labels v1");

    pub const fn new(octets: [u8; 16]) -> TokenKey {
        TokenKey(octets)
    }
}

impl Token {
    /// The token of a text, whose ASCII letters count as lower case. Allocates nothing.
    pub fn of(key: &TokenKey, text: &[u8]) -> Token {
        use std::hash::Hasher;
        let mut hasher = SipHasher24::new_with_key(&key.0);
        for piece in text.chunks(64) {
            let mut lower = [0; 64];
            lower[..piece.len()].copy_from_slice(piece);
            lower.make_ascii_lowercase();
            hasher.write(&lower[..piece.len()]);
        }
        Token(hasher.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_token_whatever_its_case() {
        let of = |text: &str| Token::of(&TokenKey::LABELS, text.as_bytes());
        assert_eq!(of("lop-6a"), of("LOP-6A"));
        assert_ne!(of("lop-6a"), of("lop-6b"));
        assert_ne!(of(""), of("\0"));
        // Beyond ASCII nothing is folded.
        assert_ne!(of("lớp"), of("LỚP"));
        let long = "a".repeat(200);
        assert_eq!(of(&long), of(&long.to_ascii_uppercase()));
        assert_ne!(of(&long), of(&long[1..]));
    }

    #[test]
    fn every_key_makes_its_own_tokens() {
        let other = TokenKey::new([7; 16]);
        assert_ne!(Token::of(&TokenKey::LABELS, b"lop-6a"), Token::of(&other, b"lop-6a"));
        assert_eq!(Token::of(&other, b"lop-6a"), Token::of(&other, b"lop-6a"));
        assert_eq!(format!("{other:?}"), "TokenKey(…)");
    }

    /// Tokens are in tables that outlive a version of the program.
    #[test]
    fn tokens_stay_what_they_are() {
        // SipHash-2-4 with 128 bits of output, the first vector of its authors' (`vectors_sip128`): key 00…0f, empty text.
        let key = TokenKey::new(std::array::from_fn(|i| i as u8));
        let octets = [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93];
        assert_eq!(Token::of(&key, b"").0, u128::from_le_bytes(octets));
    }
}
