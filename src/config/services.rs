//! Services, `service:roblox`: a category for each that is named somewhere, with the names that are compiled in.
//!
//! They stand wherever a content category does. One that nobody names costs nothing.

use std::collections::BTreeSet;

use crate::built_in;
use crate::engine::category::{Categories, Category, Layer};
use crate::engine::compile::{ListSettings, ListSource};
use crate::engine::gate::GateSettings;
use crate::engine::list::{Format, ParseOptions, Reach};

use super::spec::Spec;

/// What a service's name begins with, as a category.
pub(super) const PREFIX: &str = "service:";

/// Every service as it is written where categories are.
pub(super) fn names() -> impl Iterator<Item = String> {
    built_in::services().map(|service| format!("{PREFIX}{}", service.id))
}

/// Declares the services that the configuration names, and gives their lists.
pub(super) fn declare(spec: &Spec, categories: &mut Categories) -> Vec<ListSettings> {
    let of_profiles = spec.profiles.iter().flat_map(|profile| {
        let listed = profile.block.iter().chain(&profile.shadow).flatten();
        let of_windows = profile.windows.iter().flat_map(|window| window.categories.iter().flatten());
        listed.chain(of_windows).chain(profile.block_responses.iter().map(|(of, _)| of))
    });
    let of_lists = spec.lists.iter().filter_map(|list| list.category.as_ref());
    let named: BTreeSet<&str> =
        of_profiles.chain(of_lists).filter_map(|name| name.value.strip_prefix(PREFIX)).collect();
    let mut lists = Vec::new();
    for service in built_in::services().filter(|service| named.contains(service.id)) {
        let name = format!("{PREFIX}{}", service.id);
        let category = categories.declare(Category {
            name: name.clone(),
            layer: Layer::Content,
            title_en: service.title.to_owned(),
            title_vi: service.title.to_owned(),
        });
        lists.push(ListSettings {
            name: name.clone(),
            category,
            options: ParseOptions { format: Format::Domains, bare_reach: Some(Reach::Subtree) },
            source: ListSource::BuiltIn(name),
            required: true,
            obey_public_suffixes: false,
            block_keywords: Vec::new(),
            gate: GateSettings::OPEN,
        });
    }
    lists
}
