//! How much each identity may ask from addresses that are none of our clients': a phone with our name keeps its Internet away
//! from home, and a word that leaked makes us nobody's resolver.
//!
//! A bucket is one moment: when it will be full again. Memory is bounded; nothing here is written to disk (I11).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::client::Token;
use crate::engine::limits::{GUEST_BURST_SECS, GUEST_QUESTIONS_PER_SECOND, GUESTS_MAX};

const QUESTION: Duration = Duration::from_nanos(1_000_000_000 / GUEST_QUESTIONS_PER_SECOND as u64);
const BURST: Duration = Duration::from_secs(GUEST_BURST_SECS as u64);

/// Buckets that are not full.
#[derive(Debug, Default)]
pub struct Guests {
    full_at: Mutex<HashMap<Token, Instant>>,
}

impl Guests {
    /// Takes one question, or says which bound is reached.
    pub fn admit(&self, token: Token, now: Instant) -> Result<(), &'static str> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= GUESTS_MAX && !full_at.contains_key(&token) {
            full_at.retain(|_, at| *at > now);
            if full_at.len() >= GUESTS_MAX {
                return Err("guests_max");
            }
        }
        let at = full_at.entry(token).or_insert(now);
        let after = (*at).max(now) + QUESTION;
        if after > now + BURST {
            return Err("guest_questions_per_second");
        }
        *at = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::clock;

    #[test]
    fn each_identity_has_a_rate_of_its_own() {
        let (guests, now) = (Guests::default(), clock::now());
        let asked = |token, now| (0..1000).filter(|_| guests.admit(Token(token), now).is_ok()).count();
        let burst = (GUEST_BURST_SECS * GUEST_QUESTIONS_PER_SECOND) as usize;
        assert_eq!(asked(1, now), burst);
        assert_eq!(asked(2, now), burst, "nobody pays for another");
        assert_eq!(asked(1, now + Duration::from_secs(1)), GUEST_QUESTIONS_PER_SECOND as usize);
        assert_eq!(asked(1, now + Duration::from_secs(900)), burst);
        assert_eq!(guests.admit(Token(1), now + Duration::from_secs(900)), Err("guest_questions_per_second"));
    }

    #[test]
    fn so_many_are_remembered_and_those_that_are_full_make_room() {
        let (guests, now) = (Guests::default(), clock::now());
        for token in 0..GUESTS_MAX as u128 {
            assert_eq!(guests.admit(Token(token), now), Ok(()));
        }
        assert_eq!(guests.admit(Token(u128::MAX), now), Err("guests_max"));
        assert_eq!(guests.admit(Token(7), now), Ok(()));
        assert_eq!(guests.admit(Token(u128::MAX), now + Duration::from_secs(1)), Ok(()));
        assert_eq!(guests.full_at.lock().unwrap().len(), 1);
    }
}
