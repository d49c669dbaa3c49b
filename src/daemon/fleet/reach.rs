//! How far a command has come: which nodes of the fleet there are, and where it is in force.

use serde::{Deserialize, Serialize};

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
    (now, silent_secs): (i64, i64),
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
                (false, None) if silent > silent_secs => Why::Silent { secs: silent as u64 },
                (false, None) if place.is_none() => Why::NotTold,
                (false, None) => node.stuck.clone().map_or(Why::Late, |why| Why::Refused { why }),
            };
            Some(Missing { node: node.name.clone(), why })
        })
        .collect();
    missing.sort_by(|a, b| a.node.cmp(&b.node));
    missing
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
        let told = |place| {
            let missing = missing(&nodes, "id of own", ("d", place), Some("c"), (100, 5));
            missing.into_iter().map(|missing| (missing.node, missing.why)).collect::<Vec<_>>()
        };
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
        assert!(told(None).contains(&("here".into(), Why::NotTold)));
    }
}
