//! The lines of an annex: which of them an order can hold, and why the others cannot.
//!
//! Nothing is widened: a line with a URL asks for a page, and blocking its host would take everything else there away, so it
//! is taken for the host only when somebody says so.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::built_in;
use crate::config::{ordered_name, ordered_text};
use crate::engine::client::UnixTime;
use crate::engine::list::{Reach, own_entry};
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::name::Name;
use crate::engine::order::Order;
use crate::engine::snapshot::Snapshot;

/// A line, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As the annex counts its rows, from 1.
    pub line: usize,
    pub text: String,
    pub standing: Standing,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Standing {
    /// The order holds it; `overrides`: although it is protected, or a shared platform.
    Accepted {
        name: String,
        overrides: bool,
    },
    /// The order holds it, and so do these already: it is free when none of them holds it.
    AlreadyOrdered {
        name: String,
        by: Vec<String>,
    },
    /// A line before says the same.
    Repeated {
        name: String,
        line: usize,
    },
    /// A page. DNS knows hosts alone.
    Url {
        host: String,
    },
    /// DNS does not block addresses.
    Address,
    /// Many who are not meant are below it.
    SharedPlatform {
        name: String,
        such_as: String,
    },
    /// A name that no list reaches: a bank, an emergency number's site, an update server.
    ProtectedName {
        name: String,
    },
    Unreadable {
        why: String,
    },
}

impl Standing {
    /// Whether the order holds the line's name.
    pub fn is_held(&self) -> bool {
        matches!(self, Standing::Accepted { .. } | Standing::AlreadyOrdered { .. })
    }

    /// The name that an order holds for the line, in the form of own lists.
    pub fn held_name(&self) -> Option<(&str, bool)> {
        match self {
            Standing::Accepted { name, overrides } => Some((name, *overrides)),
            Standing::AlreadyOrdered { name, .. } => Some((name, false)),
            _ => None,
        }
    }
}

/// How lines are taken.
#[derive(Debug, Clone, Default)]
pub struct Taking<'a> {
    /// Take URLs for their hosts.
    pub host_of_urls: bool,
    /// Take protected names and shared platforms all the same: those that are named here.
    pub overrides: &'a [String],
}

/// Looks at every line that is not empty. `numbers` are those of its rows; where there are none, lines count from 1.
pub fn look_at<'t>(
    snapshot: &Snapshot,
    at: UnixTime,
    lines: impl Iterator<Item = &'t str>,
    numbers: &[usize],
    taking: &Taking<'_>,
) -> Vec<Entry> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let numbered = lines.enumerate().map(|(i, text)| (numbers.get(i).copied().unwrap_or(i + 1), text.trim()));
    numbered
        .filter(|(_, text)| !text.is_empty())
        .map(|(line, text)| {
            let mut standing = standing(snapshot, at, text, taking);
            if let Some(name) = standing.held_name().map(|(name, _)| name.to_owned()) {
                match seen.get(&name) {
                    Some(&line) => standing = Standing::Repeated { name, line },
                    None => _ = seen.insert(name, line),
                }
            }
            Entry { line, text: text.chars().take(300).collect(), standing }
        })
        .collect()
}

fn standing(snapshot: &Snapshot, at: UnixTime, text: &str, taking: &Taking<'_>) -> Standing {
    let plain = rearmed(text);
    let mut name = plain.as_str();
    if let Some(host) = host_of_url(name) {
        if host.parse::<IpAddr>().is_ok() {
            return Standing::Address;
        }
        if !taking.host_of_urls {
            return Standing::Url { host: host.to_owned() };
        }
        name = host;
    }
    if name.parse::<IpAddr>().is_ok() || name.parse::<IpNet>().is_ok() {
        return Standing::Address;
    }
    let (owner, reach) = match ordered_name(name) {
        Ok(read) => read,
        Err(why) => return Standing::Unreadable { why },
    };
    let name = if reach == Reach::Exact { format!("={owner}") } else { owner.to_string() };
    let overrides = taking.overrides.iter().any(|given| ordered_name(given) == Ok((owner.clone(), reach)));
    if !overrides && snapshot.is_protected(&owner) {
        return Standing::ProtectedName { name };
    }
    if !overrides && let Some(such_as) = shared(&owner, reach) {
        return Standing::SharedPlatform { name, such_as };
    }
    let others = snapshot.orders.over(&owner).filter(|holding| {
        // What covers it for everybody, now.
        (holding.name.reach == Reach::Subtree || reach == Reach::Exact)
            && holding.order.acts(at)
            && holding.order.scope.is_empty()
    });
    let by: Vec<String> = others.map(|holding| holding.order.reference.clone()).collect();
    if by.is_empty() || overrides {
        Standing::Accepted { name, overrides }
    } else {
        Standing::AlreadyOrdered { name, by }
    }
}

/// `hxxp://bad[.]example` as it is meant: annexes disarm what they list.
fn rearmed(text: &str) -> String {
    let text = text.replace("[.]", ".").replace("(.)", ".").replace("[:]", ":");
    match text.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("hxxp") => format!("http{}", &text[4..]),
        _ => text,
    }
}

/// The host of a text that says more than a host.
fn host_of_url(text: &str) -> Option<&str> {
    let rest = text.split_once("://").map(|(_, rest)| rest);
    let is_url = rest.is_some() || text.contains(['/', '?', '#', '@']) && text.parse::<IpNet>().is_err();
    let has_port = || text.split_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !is_url && !has_port() {
        return None;
    }
    let authority = rest.unwrap_or(text).split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return Some(inside);
    }
    host.split(':').next()
}

/// # Errors
/// The order would take others along who are not meant, and does not say that it is to reach the name all the same.
pub(super) fn refuse_shared(order: &Order) -> Result<(), String> {
    for ordered in order.names.iter().filter(|ordered| !ordered.overrides) {
        if let Some(such_as) = shared(&ordered.name, ordered.reach) {
            let name = ordered_text(ordered);
            return Err(format!(
                "`{name}` is a shared platform ({such_as} would be blocked too); `override = [\"{name}\"]` beside `names` blocks \
                 it all the same"
            ));
        }
    }
    Ok(())
}

/// A name that would be taken along, though it is not meant.
fn shared(owner: &Name, reach: Reach) -> Option<String> {
    if is_public_suffix(owner.as_wire()) {
        return Some(format!("*.{owner}"));
    }
    let entries = built_in::own_entries(built_in::must_not_block()).filter_map(|entry| own_entry(entry).ok());
    let mut taken = entries.filter(|(name, _)| match reach {
        Reach::Exact => name == owner,
        Reach::Subtree | Reach::Children => name.is_at_or_below(owner),
    });
    taken.next().map(|(name, _)| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_from_a_name() {
        for (text, host) in [
            ("bad.example", None),
            ("=bad.example", None),
            ("https://bad.example", Some("bad.example")),
            ("https://user@bad.example:8443/x?y", Some("bad.example")),
            ("bad.example/page", Some("bad.example")),
            ("bad.example:8080", Some("bad.example")),
            ("http://[2001:db8::1]/", Some("2001:db8::1")),
            ("192.0.2.0/24", None),
            ("2001:db8::1", None),
            ("mailto:me@bad.example", Some("bad.example")),
        ] {
            assert_eq!(host_of_url(text), host, "{text}");
        }
        assert_eq!(rearmed("hxxps://bad[.]example"), "https://bad.example");
        assert_eq!(rearmed("đường"), "đường");
    }
}
