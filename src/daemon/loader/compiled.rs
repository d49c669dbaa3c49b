//! Lists that come compiled, or go: files of others, and what the last run left.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Loaded, Loader};
use crate::config::Version;
use crate::daemon::artefacts::{self, Taken};
use crate::daemon::sources::{self, Lines, Load};
use crate::daemon::spool::Served;
use crate::engine::compile::{Home, ListRules, ListSettings, LoadedList, Policy, configured_layer};
use crate::engine::compiled::CompiledList;
use crate::engine::gate::GateSettings;
use crate::engine::matcher::Layer;
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::ListId;

impl Loader {
    /// Every configured list in one layer, for a compiled file.
    ///
    /// # Errors
    /// Those of [`Loader::load`], and every list that is not at the version that its source has.
    pub fn compiled(&mut self) -> Result<(Arc<Layer>, Vec<CompiledList>), Vec<String>> {
        let Loaded { generation, notes, .. } = self.load(None, None)?;
        if !notes.problems.is_empty() {
            return Err(notes.problems.into_iter().map(|problem| problem.message).collect());
        }
        let snapshot = &generation.snapshot;
        let lists = compiled_lists(snapshot, &notes.read_at, &notes.list_lines);
        let layer = configured_layer(snapshot, self.seed).map_err(|why| vec![why.to_string()])?;
        Ok((layer, lists.into_iter().map(|(_, list)| list).collect()))
    }

    /// What the last run compiled, if it was of the same settings and texts.
    pub(super) fn load_kept(&self, lists: &[ListSettings]) -> Option<(Load, Arc<Layer>)> {
        let lines = self.sources.lines_now(lists)?;
        let kept = self.artefacts.kept_texts(&artefacts::key_of(lists, &lines, self.sources.gates())?)?;
        Some((self.sources.load_kept(lists, &lines, &kept)?, kept.layer))
    }

    /// Adds the lists of compiled files to what was loaded, and their categories to the policy's.
    pub(super) fn load_compiled(&mut self, policy: &mut Policy, load: &mut Load) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        for settings in &policy.compiled {
            let version = Version::of_file(&settings.file);
            load.seen.entry(settings.file.clone()).or_insert_with(|| version.clone());
            let Taken { compiled, error } = self.artefacts.take(settings, version);
            if let Some(why) = error {
                load.problems.push(sources::file_problem(
                    &settings.name,
                    &settings.file,
                    &why,
                    compiled.is_some(),
                    settings.required,
                ));
            }
            let Some(compiled) = compiled else { continue };
            for (number, list) in compiled.lists.iter().enumerate() {
                if load.lists.iter().any(|other| other.settings.name == list.name) {
                    let (table, name) = (&settings.name, &list.name);
                    errors.push(format!(
                        "[list.{table}]: its file brings a list `{name}`, and there is another of this name"
                    ));
                    continue;
                }
                let category = settings.category.or_else(|| policy.categories.id(&list.category.name));
                let category = category.unwrap_or_else(|| policy.categories.declare(list.category.clone()));
                let source = list.list_source();
                load.in_force.insert(list.name.clone(), artefacts::lines_of(list));
                load.read_at.insert(list.name.clone(), list.read_at);
                let home = Home { layer: Arc::clone(&compiled.layer), list: ListId(number as u16) };
                load.lists.push(LoadedList {
                    settings: ListSettings {
                        name: list.name.clone(),
                        category,
                        options: list.options,
                        source,
                        required: settings.required,
                        obey_public_suffixes: list.obey_public_suffixes,
                        block_keywords: Vec::new(),
                        gate: GateSettings::OPEN,
                    },
                    rules: ListRules::Compiled(home, list.about()),
                });
            }
        }
        self.artefacts.keep_only(&policy.compiled);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Keeps the layer of texts for the next start, when it is a new one, and serves it from there.
    pub(super) fn keep_texts(
        &self,
        snapshot: &mut Snapshot,
        in_use: Option<&Arc<Layer>>,
        read_at: &HashMap<String, u64>,
        lines: &HashMap<String, Lines>,
        key: &str,
        made: Option<Served>,
    ) {
        let Some(texts) = snapshot.texts.clone().filter(|texts| !in_use.is_some_and(|old| Arc::ptr_eq(old, texts)))
        else {
            return;
        };
        let lists = compiled_lists(snapshot, read_at, lines);
        let lists: Vec<CompiledList> = lists
            .into_iter()
            .filter(|(home, _)| Arc::ptr_eq(&home.layer, &texts))
            .enumerate()
            .take_while(|(i, (home, _))| usize::from(home.list.0) == *i)
            .map(|(_, (_, list))| list)
            .collect();
        let is_whole = lists.len() == snapshot.lists_of(&texts);
        if is_whole && let Some(layer) = self.artefacts.keep_texts(&texts, &lists, key, made) {
            snapshot.serve_texts_from(layer);
        }
    }
}

/// The configured lists of a snapshot as a compiled file tells of them, each with where its rules lie.
pub fn compiled_lists(
    snapshot: &Snapshot,
    read_at: &HashMap<String, u64>,
    lines: &HashMap<String, Lines>,
) -> Vec<(Home, CompiledList)> {
    let configured = snapshot.lists.iter().filter_map(|list| Some((list, list.configured.as_ref()?)));
    let told = configured.map(|(list, about)| {
        let shown = about.spared.shown.iter().map(|rule| (rule.name.to_string(), rule.line));
        let told = CompiledList {
            name: list.name.clone(),
            category: snapshot.categories.get(about.settings.category).clone(),
            source: sources::source_text(&about.settings.source),
            options: about.settings.options,
            rules: u32::try_from(list.rules).unwrap_or(u32::MAX),
            report: about.report.clone(),
            spared: about.spared.count,
            spared_shown: shown.collect(),
            file_version: match lines.get(&list.name) {
                Some(Lines::Files(version)) => version.of_content(),
                Some(Lines::BuiltIn | Lines::Stored(_) | Lines::Gone) | None => None,
            },
            part_versions: match lines.get(&list.name) {
                Some(Lines::Files(Version::Group(Some(parts)))) => artefacts::part_versions(&about.report, parts),
                Some(Lines::Files(_) | Lines::BuiltIn | Lines::Stored(_) | Lines::Gone) | None => Vec::new(),
            },
            obey_public_suffixes: about.settings.obey_public_suffixes,
            read_at: read_at.get(&list.name).copied().unwrap_or(0),
        };
        (about.home.clone(), told)
    });
    told.collect()
}
