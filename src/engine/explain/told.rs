//! What `explain` tells, as a value: the shape of its JSON.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::hours::rfc3339;
use crate::engine::client::UnixTime;
use crate::engine::order::Order;
use crate::engine::overlay::Said;
use crate::engine::verdict::ListId;

/// The answer to "why?", in the shape of DESIGN §7; what does not apply is absent.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Explanation {
    pub name: String,
    #[serde(rename = "type")]
    pub qtype: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub profile: String,
    /// Why it is this profile: `asked`, `identity`, `subscriber`, `prefix`, `listener`, or `default` for whom nothing tells.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub profile_from: &'static str,
    /// The `[client.*]` that the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured: Option<ConfiguredTold>,
    /// Who the client is to us, when somebody tells of subscribers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<Subscriber>,
    /// When it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// `observe`: what is told would be done, and is only counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// `allow`, `block`, `rewrite` or `drop`.
    pub verdict: &'static str,
    pub rung: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The name or address of the answer that hit, or the SafeSearch target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ede: Option<u16>,
    /// The window of the profile that blocks, and when it closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_until: Option<String>,
    /// Every window of the profile, open or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowTold>,
    /// The temporary allow or deny that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporary: Option<Temporary>,
    /// The pause that the client has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Temporary>,
    /// The legal order that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderTold>,
    pub tried: Vec<Tried>,
    /// What the cache has for the question; absent when no running resolver was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTold>,
    /// Whether the answer was looked at too; `false` when only the question could be judged.
    pub answer_checked: bool,
    /// One plain sentence, and how to change it, in English and Vietnamese.
    pub sentence_en: String,
    pub sentence_vi: String,
    pub change_en: String,
    pub change_vi: String,
    /// Where the rule that is told stands.
    #[serde(skip)]
    pub place: Option<Provenance>,
}

/// What the table of subscribers says of a client.
#[derive(Debug, Clone, Serialize)]
pub struct Subscriber {
    /// As [`Standing`](crate::engine::subscribers::Standing) says it; `not-read` where the table is another process's.
    pub standing: &'static str,
    /// The first eight digits of its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name of its profile in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether the network told of it.
    pub session: bool,
    /// When its entry ends, or its session must have been confirmed; seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
    /// The same, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_at: Option<String>,
    /// Who tells of subscribers, and when they last did; only the running resolver hears them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<FeedTold>,
}

/// A `[client.*]`, and by what the client is it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfiguredTold {
    pub name: String,
    /// `identity`, `prefix`, `listener`, or `name` when it was asked about by that.
    pub by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where its table stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// A window of the profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowTold {
    pub window: String,
    pub open: bool,
    /// When it closes, or opens next; RFC 3339. Absent: not soon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A feed of subscribers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedTold {
    pub feed: String,
    pub updates: u64,
    /// When it last told of a change; RFC 3339. Absent: not since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// What the cache has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheTold {
    /// `fresh`, `stale` or `nothing`.
    pub has: &'static str,
    /// Seconds since upstream said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_secs: Option<u32>,
}

/// What somebody said for a while.
#[derive(Debug, Clone, Serialize)]
pub struct Temporary {
    pub id: u64,
    pub scope: String,
    pub scope_vi: String,
    pub author: String,
    pub reason: String,
    /// RFC 3339.
    pub until: String,
}

/// A legal order; of one that may not be published, that there is one.
#[derive(Debug, Clone, Serialize)]
pub struct OrderTold {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    pub state: &'static str,
    pub state_vi: &'static str,
    /// RFC 3339; absent while no end is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Temporary {
    pub(super) fn of(said: &Said, zone: &TimeZone) -> Temporary {
        let Said { id, scope, until, author, reason } = said;
        let (scope, scope_vi, until) = (scope.to_string(), scope.in_vietnamese(), rfc3339(*until, zone));
        Temporary { id: *id, scope, scope_vi, author: author.clone(), reason: reason.clone(), until }
    }
}

impl OrderTold {
    pub(super) fn of(order: &Order, at: UnixTime, zone: &TimeZone) -> OrderTold {
        let told = |text: &String| order.publishable.then(|| text.clone());
        OrderTold {
            reference: told(&order.reference),
            authority: told(&order.authority),
            state: order.state(at).as_str(),
            state_vi: order.state(at).in_vietnamese(),
            until: order.acts_until(at).map(|until| rfc3339(until, zone)),
        }
    }
}

/// RFC 3339, UTC: for files and programs. People are told the time of their zone, by [`rfc3339`].
pub fn time_text(at: UnixTime) -> String {
    jiff::Timestamp::from_second(at.0).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// One rung that was asked.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    pub rung: &'static str,
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A rule's place, so that the caller can show its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub list: ListId,
    pub line: u32,
}

impl Explanation {
    /// The name that was judged: the target that hit, else the question's.
    pub(super) fn asked_name(&self) -> &str {
        self.target.as_deref().unwrap_or(&self.name)
    }

    /// What was told of a rule does not decide after all.
    pub(super) fn forget_rule(&mut self) {
        (self.category, self.list, self.file, self.line, self.rule, self.place) = (None, None, None, None, None, None);
        (self.window, self.window_until, self.temporary, self.order) = (None, None, None, None);
    }
}
