//! How far a command has come: which nodes of the fleet there are, and where it is in force.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// A node that said nothing for so long is not waited for.
pub(super) const SILENT_SECS: i64 = 5;
/// One that said nothing for so long is none of the fleet any more. Chosen: a week of repairs.
pub(super) const FORGOTTEN_SECS: i64 = 7 * 86_400;

/// A place in the stream, in the server's order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64, u64);

impl Place {
    /// As the server writes it: `1800000000000-0`.
    pub fn read(text: &str) -> Option<Place> {
        let (millis, count) = text.split_once('-')?;
        Some(Place(millis.parse().ok()?, count.parse().ok()?))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its own, for as long as it keeps its state directory.
    pub id: String,
    pub name: String,
    /// When it said so; seconds since 1970.
    pub at: i64,
    /// Of which data it speaks.
    pub data: String,
    /// All up to here is in force there, but for what follows.
    pub applied: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// What keeps it from going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
}

/// A command that came to nothing at a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub id: String,
    pub why: String,
}

/// Where a command is in force when its author is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    pub nodes: usize,
    pub effective: usize,
    /// From when it was asked for.
    pub millis: u64,
    /// The server does not answer: it is told as soon as it does.
    pub store_is_away: bool,
    pub missing: Vec<Missing>,
}

/// A node where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub node: String,
    pub why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It said nothing for so long.
    Silent { secs: u64 },
    /// It is there, and has not come so far.
    Late,
    /// It is told when the server is back.
    NotTold,
    /// In its own words.
    Refused { why: String },
}

impl Reach {
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && !self.store_is_away
    }
}

/// Of the nodes, those where a command is not in force. `place` is its own, or of a later one; `None`: it is not told yet.
pub(super) fn missing(
    nodes: &[Node],
    own: &str,
    (data, place): (&str, Option<Place>),
    command: Option<&str>,
    (now, listening_since): (i64, i64),
) -> Vec<Missing> {
    let others = nodes.iter().filter(|node| node.id != own);
    let mut missing: Vec<Missing> = others
        .filter_map(|node| {
            let has_come = place.is_some_and(|place| node.data == data && Place::read(&node.applied) >= Some(place));
            let refused = node.refused.iter().find(|refused| Some(refused.id.as_str()) == command);
            let silent = now - node.at;
            let why = match (has_come, refused) {
                (true, None) => return None,
                (_, Some(refused)) => Why::Refused { why: refused.why.clone() },
                // A node that was away itself gives the others time to be heard.
                (false, None) if silent > SILENT_SECS && now - listening_since > SILENT_SECS => {
                    Why::Silent { secs: silent as u64 }
                }
                (false, None) if place.is_none() => Why::NotTold,
                (false, None) => node.stuck.clone().map_or(Why::Late, |why| Why::Refused { why }),
            };
            Some(Missing { node: node.name.clone(), why })
        })
        .collect();
    missing.sort_by(|a, b| a.node.cmp(&b.node));
    missing
}

/// The nodes after another look at the server: those that were known, with what each said `before` of the time, and what
/// they say now. Their times are from here on by our clock: when something new was heard of each.
pub(super) fn seen(
    known: Vec<Node>,
    before: &HashMap<String, i64>,
    mut nodes: Vec<Node>,
    (own, data): (&str, &str),
    now: i64,
) -> Vec<Node> {
    for node in &mut nodes {
        let heard = known.iter().find(|known| known.id == node.id).map(|known| known.at);
        node.at = match (heard, before.get(&node.id)) {
            (Some(heard), Some(at)) if *at == node.at => heard,
            (Some(_), Some(_)) => now,
            // Seen for the first time: it may have said so long ago.
            (heard, _) => node.at.min(now).max(heard.unwrap_or(i64::MIN)),
        };
    }
    // A server that was emptied a moment ago knows nobody: they come back, or are missed.
    let is_unseen = |node: &Node| node.data != data && !nodes.iter().any(|seen| seen.id == node.id);
    let unseen: Vec<Node> = known.into_iter().filter(is_unseen).collect();
    nodes.extend(unseen);
    // One that lost its state directory is another one under its old name.
    let is_here = |node: &Node| node.id == own || now - node.at <= SILENT_SECS;
    let here: Vec<String> = nodes.iter().filter(|node| is_here(node)).map(|node| node.name.clone()).collect();
    nodes.retain(|node| is_here(node) || !here.contains(&node.name));
    nodes.retain(|node| now - node.at <= FORGOTTEN_SECS);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, at: i64, applied: &str) -> Node {
        let (id, name, applied) = (format!("id of {name}"), name.to_owned(), applied.to_owned());
        Node { id, name, at, data: "d".into(), applied, refused: Vec::new(), stuck: None }
    }

    #[test]
    fn places_have_the_servers_order() {
        let place = |text| Place::read(text).unwrap();
        assert!(place("9-0") < place("10-0") && place("10-2") < place("10-10"));
        assert_eq!(place("1800000000000-3").to_string(), "1800000000000-3");
        assert_eq!([Place::read(""), Place::read("1"), Place::read("a-1")], [None, None, None]);
    }

    #[test]
    fn a_node_is_there_by_our_clock_and_once_under_its_name() {
        let look = |known: &[Node], before: &[(&str, i64)], told: &[Node], now| {
            let before = before.iter().map(|(name, at)| (format!("id of {name}"), *at)).collect();
            let seen = seen(known.to_vec(), &before, told.to_vec(), ("id of own", "d"), now);
            seen.into_iter().map(|node| (node.name, node.at)).collect::<Vec<_>>()
        };
        let at = |name: &str, at: i64| (name.to_owned(), at);
        // A clock that is an hour late, and one that is early: what counts is that something new was said.
        let known = [node("late", 999, "1-0"), node("early", 999, "1-0")];
        let before = [("late", -2_600), ("early", 5_000)];
        let told = [node("late", -2_599, "1-0"), node("early", 5_000, "1-0")];
        assert_eq!(look(&known, &before, &told, 1_000), [at("late", 1_000), at("early", 999)]);
        assert_eq!(look(&[], &[], &told[1..], 1_000), [at("early", 1_000)]);
        // A server that was emptied, and one that forgot somebody on purpose.
        let of_before = Node { data: "before".into(), ..node("away", 990, "1-0") };
        assert_eq!(look(&[of_before, node("forgotten", 990, "1-0")], &[], &[], 1_000), [at("away", 990)]);
        // Another node under the name of one that is gone, and two that are there.
        let other = |at| Node { id: "another".into(), ..node("a", at, "1-0") };
        assert_eq!(look(&[], &[], &[node("a", 900, "1-0"), other(1_000)], 1_000), [at("a", 1_000)]);
        assert_eq!(look(&[], &[], &[node("a", 999, "1-0"), other(1_000)], 1_000).len(), 2);
        assert_eq!(look(&[], &[], &[node("a", 1, "1-0")], FORGOTTEN_SECS + 2), []);
    }

    #[test]
    fn whoever_does_not_have_it_is_named_with_the_reason() {
        let mut nodes = vec![
            node("own", 100, "0-0"),
            node("here", 100, "7-0"),
            node("late", 99, "6-9"),
            node("silent", 50, "6-9"),
            node("stuck", 100, "6-9"),
            node("refuses", 100, "8-0"),
            node("elsewhere", 100, "9-0"),
        ];
        nodes[4].stuck = Some("the disk is full".into());
        nodes[5].refused.push(Refused { id: "c".into(), why: "no such list".into() });
        nodes[6].data = "of before".into();
        let told_since = |since, place| {
            let missing = missing(&nodes, "id of own", ("d", place), Some("c"), (100, since));
            missing.into_iter().map(|missing| (missing.node, missing.why)).collect::<Vec<_>>()
        };
        let told = |place| told_since(0, place);
        let refused = |why: &str| Why::Refused { why: why.into() };
        let expected = [
            ("elsewhere", Why::Late),
            ("late", Why::Late),
            ("refuses", refused("no such list")),
            ("silent", Why::Silent { secs: 50 }),
            ("stuck", refused("the disk is full")),
        ];
        let expected: Vec<(String, Why)> = expected.into_iter().map(|(node, why)| (node.to_owned(), why)).collect();
        assert_eq!(told(Place::read("7-0")), expected);
        assert!(told_since(97, Place::read("7-0")).contains(&("silent".into(), Why::Late)));
        assert!(told(None).contains(&("here".into(), Why::NotTold)));
    }
}
