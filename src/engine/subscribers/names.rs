//! Names of profiles as small numbers that stay the same from generation to generation, unlike
//! [`ProfileId`](crate::engine::verdict::ProfileId).

use std::collections::HashMap;

use crate::engine::limits::SUBSCRIBER_PROFILES_MAX;

/// A profile's name in the table of subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub(super) u16);

impl NameId {
    /// Zero says "none" inside, so numbers begin with one.
    pub(super) fn of_octets(number: u16) -> Option<NameId> {
        (number != 0).then_some(NameId(number))
    }

    pub(super) fn number(id: Option<NameId>) -> u16 {
        id.map_or(0, |id| id.0)
    }

    pub(super) fn place(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// Names seen so far. One that is here stays.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_name: HashMap<String, NameId>,
    names: Vec<String>,
}

impl Names {
    /// `None`: there are too many.
    pub fn intern(&mut self, name: &str) -> Option<NameId> {
        if let Some(id) = self.by_name.get(name) {
            return Some(*id);
        }
        if self.names.len() >= SUBSCRIBER_PROFILES_MAX {
            return None;
        }
        self.names.push(name.to_owned());
        let id = NameId(self.names.len() as u16);
        self.by_name.insert(name.to_owned(), id);
        Some(id)
    }

    pub fn name(&self, id: NameId) -> &str {
        &self.names[id.place()]
    }

    pub fn all(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_there_is_a_bound() {
        let mut names = Names::default();
        let first = names.intern("default").unwrap();
        for i in 1..SUBSCRIBER_PROFILES_MAX {
            assert!(names.intern(&format!("p{i}")).is_some(), "{i}");
        }
        assert_eq!(names.intern("one-too-many"), None);
        assert_eq!(names.intern("default"), Some(first));
        assert_eq!(names.name(first), "default");
    }
}
