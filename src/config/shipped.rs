//! The profiles that are always there: used by name without a `[profile.*]`, and parents for those that have one.

use crate::engine::category::{Categories, CategoryId};
use crate::engine::compile::{ProfileSettings, YouTube};
use crate::engine::snapshot::Unlisted;
use crate::engine::verdict::BlockResponse;

use super::default::{DEFAULT_PROFILE, default_profile};

/// TTL of a walled garden's answers, in seconds: whoever is let out of it is out as soon as this is over.
pub(super) const WALLED_GARDEN_TTL_SECS: u32 = 5;

/// What a family adds to the default: where children are met by strangers, and what gets them past the filter.
const FAMILY: &[&str] =
    &["adult", "gambling", "violence", "drugs", "self-harm", "dating", "piracy", "bypass", "unsafe-search"];
/// What a school adds to that: what keeps pupils from a lesson.
const SCHOOL: &[&str] = &[
    "adult",
    "gambling",
    "violence",
    "drugs",
    "self-harm",
    "dating",
    "games",
    "piracy",
    "ads",
    "bypass",
    "unsafe-search",
];

/// Their names, the default first.
pub(super) const NAMES: &[&str] = &[DEFAULT_PROFILE, "family", "school", "unfiltered", "business", "walled-garden"];

/// The shipped profile of this name.
pub(super) fn profile(name: &str, categories: &Categories) -> Option<ProfileSettings> {
    let ids = |names: &[&str]| -> Vec<CategoryId> { names.iter().filter_map(|name| categories.id(name)).collect() };
    let base = ProfileSettings { name: name.to_owned(), ..default_profile(categories) };
    match name {
        DEFAULT_PROFILE => Some(base),
        "family" => Some(ProfileSettings { block: ids(FAMILY), youtube: YouTube::Moderate, ..base }),
        "school" => Some(ProfileSettings { block: ids(SCHOOL), youtube: YouTube::Strict, ..base }),
        // The security layer stays: only the operator's own word takes it off.
        "unfiltered" => Some(ProfileSettings { block: Vec::new(), safe_search: false, ..base }),
        "business" => {
            Some(ProfileSettings { block: Vec::new(), safe_search: false, security_for_addresses: true, ..base })
        }
        "walled-garden" => Some(ProfileSettings {
            block: Vec::new(),
            safe_search: false,
            unlisted: Unlisted::Portal,
            block_response: BlockResponse::Page,
            block_ttl_secs: Some(WALLED_GARDEN_TTL_SECS),
            ..base
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_is_there_and_blocks_what_exists() {
        let categories = Categories::built_in();
        for name in NAMES {
            assert_eq!(profile(name, &categories).unwrap().name, *name);
        }
        assert_eq!(profile("nobody", &categories), None);
        assert_eq!(profile("family", &categories).unwrap().block.len(), FAMILY.len());
        assert_eq!(profile("school", &categories).unwrap().block.len(), SCHOOL.len());
    }
}
