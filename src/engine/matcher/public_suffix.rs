//! Whether a name is a public suffix, such as `com.vn`, `co.uk`, or `blogspot.com` of the private section.
//!
//! The data is the Public Suffix List as the `psl` crate compiles it in.

use psl::Psl;

use crate::engine::name::Labels;

/// Whether people who do not know each other register names directly below `name` (canonical wire form). A top-level
/// domain that the list does not know counts, by its rule `*`; the root counts too.
pub fn is_public_suffix(name: &[u8]) -> bool {
    let labels = Labels::of(name);
    let text_octets = name.len().saturating_sub(2);
    let from_root = labels.from_root().map(|(_, suffix)| &suffix[1..=usize::from(suffix[0])]);
    labels.count() == 0 || psl::List.find(from_root).len == text_octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::name::Name;

    #[test]
    fn both_sections_and_unknown_tops_are_known() {
        for (text, expected) in [
            ("com", true),
            ("vn", true),
            ("com.vn", true),
            ("id.vn", true),
            ("example.com.vn", false),
            ("co.uk", true),
            ("blogspot.com", true),
            ("ddns.net", true),
            ("azurewebsites.net", true),
            ("www.blogspot.com", false),
            ("anything.ck", true),
            ("www.ck", false),
            ("5004com", true),
            ("xn--p1ai", true),
            ("xn--55qx5d.cn", true),
            ("example.org", false),
        ] {
            assert_eq!(is_public_suffix(Name::from_text(text).unwrap().as_wire()), expected, "{text}");
        }
        assert!(is_public_suffix(Name::ROOT.as_wire()));
    }
}
