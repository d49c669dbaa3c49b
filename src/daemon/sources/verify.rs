//! Is a fetched list the one its publisher meant? A pinned SHA-256, or a minisign signature.

use minisign_verify::{PublicKey, Signature};
use ring::digest::{SHA256, digest};

/// The sum of `octets`, in lower-case hexadecimal.
pub fn sha256_hex(octets: &[u8]) -> String {
    hex(digest(&SHA256, octets).as_ref())
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Checks a pinned sum.
pub fn check_sum(octets: &[u8], pinned: &[u8; 32]) -> Result<(), String> {
    let (sum, pinned) = (sha256_hex(octets), hex(pinned));
    if sum == pinned { Ok(()) } else { Err(format!("its SHA-256 is {sum}, `sha256` pins {pinned}")) }
}

/// Checks a detached minisign signature. One over the text itself (`minisign -l`) is as good
/// as one over its hash.
pub fn check_signature(octets: &[u8], signature: &[u8], key: &PublicKey) -> Result<(), String> {
    let text = std::str::from_utf8(signature).map_err(|_| "its .minisig is no minisign signature".to_owned())?;
    let signature = Signature::decode(text.trim_end()).map_err(|why| format!("its .minisig is no signature: {why}"))?;
    key.verify(octets, &signature, true).map_err(|why| format!("its signature is not by `minisign_key`: {why}"))
}

#[cfg(test)]
pub mod test_support {
    //! A minisign signer for tests.

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    pub struct Minisign {
        pair: Ed25519KeyPair,
        id: [u8; 8],
    }

    impl Minisign {
        pub fn new(seed: u8) -> Minisign {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            Minisign { pair, id: [seed; 8] }
        }

        pub fn public_key(&self) -> String {
            BASE64_STANDARD.encode([b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat())
        }

        pub fn sign(&self, text: &[u8]) -> String {
            let signature = self.pair.sign(text);
            let comment = "a test's";
            let whole = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
            let line = BASE64_STANDARD.encode([b"Ed", &self.id[..], signature.as_ref()].concat());
            let last = BASE64_STANDARD.encode(whole.as_ref());
            format!("untrusted comment: of a test\n{line}\ntrusted comment: {comment}\n{last}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::test_support::Minisign;
    use super::*;

    #[test]
    fn a_signature_is_for_one_text_and_one_key() {
        let (signer, other) = (Minisign::new(1), Minisign::new(2));
        let key = PublicKey::from_base64(&signer.public_key()).unwrap();
        assert_eq!(check_signature(b"test", signer.sign(b"test").as_bytes(), &key), Ok(()));
        assert!(check_signature(b"Test", signer.sign(b"test").as_bytes(), &key).is_err());
        assert!(check_signature(b"test", other.sign(b"test").as_bytes(), &key).is_err());
        for other in ["", "\n\n\n\n", "<html>", "\u{0}"] {
            assert!(check_signature(b"test", other.as_bytes(), &key).unwrap_err().contains(".minisig"), "{other:?}");
        }
    }

    #[test]
    fn a_sum_is_compared_whole() {
        let mut pinned = [0; 32];
        pinned.copy_from_slice(digest(&SHA256, b"test").as_ref());
        assert_eq!(check_sum(b"test", &pinned), Ok(()));
        pinned[31] ^= 1;
        assert!(check_sum(b"test", &pinned).unwrap_err().contains("9f86d081"));
    }
}
