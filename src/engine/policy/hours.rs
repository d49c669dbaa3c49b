//! What of a profile is in force when a question is asked, and how long what is said then may be kept.

use std::ops::Deref;
use std::sync::Arc;

use crate::engine::client::{Client, UnixTime};
use crate::engine::matcher::ListSet;
use crate::engine::name::Name;
use crate::engine::query::RecordType;
use crate::engine::safe_search::{Rule, rewrites_type};
use crate::engine::schedule::Spot;
use crate::engine::snapshot::{Profile, ProfileMasks, Snapshot};

/// A profile at the moment of a question.
#[derive(Debug, Clone, Copy)]
pub struct InForce<'a> {
    profile: &'a Profile,
    pub masks: &'a ProfileMasks,
    /// Lists of the security layer that are heard for the question's type.
    pub security: &'a ListSet,
    /// Until then content categories and SafeSearch are held off.
    pub paused_until: Option<UnixTime>,
    spot: Spot,
    at: UnixTime,
}

impl Deref for InForce<'_> {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        self.profile
    }
}

impl<'a> InForce<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, client: Client, qtype: RecordType) -> InForce<'a> {
        let profile = snapshot.profile(client.profile);
        let spot = profile.timeline.spot(client.at);
        let masks = &profile.masks[usize::from(spot.state)];
        // Mail is refused for want of an MX or a TXT, and comes back to who sent it; a browser asks for none.
        let is_heard = !profile.security_for_addresses || rewrites_type(qtype);
        let security = match (is_heard, &snapshot.masks.canary) {
            (false, Some(canary)) => canary,
            (true, _) | (false, None) => &masks.security,
        };
        let paused_until = snapshot.overlay.pause(&client).map(|said| said.until);
        InForce { profile, masks, security, paused_until, spot, at: client.at }
    }

    /// The SafeSearch rule that this profile has for a name.
    pub(super) fn search_rule(&self, snapshot: &'a Snapshot, name: &Name) -> Option<&'a Arc<Rule>> {
        if self.paused_until.is_some() { None } else { snapshot.search_rule(self.profile, name) }
    }

    /// Seconds, at most `secs_max`, until windows open or close so that what `differs` looks at is judged otherwise: asked
    /// with what is in force before and after. `None`: not by then.
    pub(super) fn secs_until(
        &self,
        secs_max: u32,
        differs: impl Fn(&ProfileMasks, &ProfileMasks) -> bool,
    ) -> Option<u32> {
        if self.profile.hours.is_empty() {
            return None;
        }
        let mut before = self.masks;
        for (border, state) in self.profile.timeline.after(self.spot) {
            let secs = border.0.saturating_sub(self.at.0);
            if secs > i64::from(secs_max) {
                return None;
            }
            let after = &self.profile.masks[usize::from(state)];
            if differs(before, after) {
                return Some(secs as u32);
            }
            before = after;
        }
        None
    }

    /// When the question was asked.
    pub(super) fn at(&self) -> UnixTime {
        self.at
    }

    /// Whole seconds until then, one at least.
    pub(super) fn secs_to(&self, then: UnixTime) -> u32 {
        u32::try_from(then.0.saturating_sub(self.at.0).max(1)).unwrap_or(u32::MAX)
    }

    /// TTL of a block now, in seconds.
    pub(super) fn block_ttl_secs(&self, snapshot: &Snapshot) -> u32 {
        let ttl = self.profile.block_ttl_secs.unwrap_or(snapshot.block_ttl_secs);
        self.secs_until(ttl, |before, after| before != after).unwrap_or(ttl)
    }
}

impl Snapshot {
    /// The SafeSearch rule that a profile has for a name.
    pub fn search_rule(&self, profile: &Profile, name: &Name) -> Option<&Arc<Rule>> {
        let rule = self.safe_search.rule(name, profile.safe_search, profile.youtube)?;
        (!profile.safe_search_except.contains(&rule.engine)).then_some(rule)
    }
}

#[cfg(test)]
mod tests;
