//! `[gate]` and a list's `gate`: the bounds that a new version of a list must keep to go into force by itself.
//!
//! A list's own word goes before the table's, the table's before the default of the list's category.

use crate::engine::category::{Category, Layer};
use crate::engine::gate::{GateSettings, Share};
use crate::engine::limits::POPULAR_NAMES_MAX;

use super::errors::Spanned;
use super::reader::Section;
use super::{Learn, values};

/// Names of our own that content lists may newly hit. Measured over 120 real ones: lists about one thing name up to ten.
const MUST_NOT_BLOCK_MAX: u32 = 10;
/// A security list that names one of them is wrong: malware is not popular.
const MUST_NOT_BLOCK_MAX_SECURITY: u32 = 0;
/// So many of them are left out instead. Measured: maintained security lists hold one to five, and they are mistakes.
const MUST_NOT_BLOCK_SPARE: u32 = 10;
/// Names of the ranked file. Measured: of the 10,000 most popular names real lists about adult content name 1 to 12.
const POPULAR_MAX: u32 = 10;
/// So far the ranked file is read: further down, adult and gambling lists name hundreds, as they should.
pub const POPULAR_TOP: usize = 10_000;
const QUESTIONS_MAX: Share = Share::percent(1);
const SHRINK_MAX: Share = Share::percent(30);
const GROW_MAX: Share = Share::percent(50);
/// Phishing comes in waves.
const GROW_MAX_PHISHING: Share = Share::percent(200);

/// Bounds as they are written; `None` is not given, `Some(None)` is "off".
#[derive(Default)]
pub(super) struct GateSpec {
    must_not_block_max: Option<Option<u32>>,
    must_not_block_spare: Option<Option<u32>>,
    popular_max: Option<Option<u32>>,
    questions_max: Option<Option<Share>>,
    shrink_max: Option<Option<Share>>,
    grow_max: Option<Option<Share>>,
}

/// `[gate]`.
pub(super) struct GateTable {
    pub bounds: GateSpec,
    pub popular_file: Option<Spanned<String>>,
    pub popular_top: Option<i64>,
    pub learn: Option<Spanned<Learn>>,
}

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> GateTable {
    let table = GateTable {
        bounds: bounds(&mut section),
        popular_file: section.string("popular_file", |text| match text {
            "" => Err("is empty".to_owned()),
            _ => Ok(text.to_owned()),
        }),
        popular_top: section.integer("popular_top", 1..=POPULAR_NAMES_MAX as i64),
        learn: section.choice("learn", &[("memory", Learn::Memory), ("disk", Learn::Disk), ("off", Learn::Off)]),
    };
    section.finish(top_level);
    table
}

/// `gate` of a list: "off", or a table of bounds.
pub(super) fn of_list(list: &mut Section<'_>, top_level: &[&str]) -> GateSpec {
    if list.has_string("gate") {
        return match list.choice("gate", &[("off", ())]) {
            Some(_) => GateSpec {
                must_not_block_max: Some(None),
                must_not_block_spare: Some(None),
                popular_max: Some(None),
                questions_max: Some(None),
                shrink_max: Some(None),
                grow_max: Some(None),
            },
            None => GateSpec::default(),
        };
    }
    let mut section = list.section("gate");
    let bounds = bounds(&mut section);
    section.finish(top_level);
    bounds
}

fn bounds(section: &mut Section<'_>) -> GateSpec {
    let mut count = |key| {
        section.quantity(key, |text| match text {
            "off" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| format!("{text:?} is no count; write it as 10, or \"off\"")),
        })
    };
    let (must_not_block_max, popular_max) = (count("must_not_block_max"), count("popular_max"));
    let must_not_block_spare = count("must_not_block_spare");
    let mut share = |key| {
        section.quantity(key, |text| match text {
            "off" => Ok(None),
            _ => values::share(text).map(Some),
        })
    };
    GateSpec {
        must_not_block_max: must_not_block_max.map(|max| max.value),
        must_not_block_spare: must_not_block_spare.map(|max| max.value),
        popular_max: popular_max.map(|max| max.value),
        questions_max: share("questions_max").map(|max| max.value),
        shrink_max: share("shrink_max").map(|max| max.value),
        grow_max: share("grow_max").map(|max| max.value),
    }
}

/// The bounds of a list of this category.
pub(super) fn lower(list: &GateSpec, table: &GateSpec, category: &Category) -> GateSettings {
    let (must_not_block_max, grow_max) = match category.layer {
        Layer::Security => (MUST_NOT_BLOCK_MAX_SECURITY, GROW_MAX),
        Layer::Content => (MUST_NOT_BLOCK_MAX, GROW_MAX),
    };
    let grow_max = if category.name == "phishing" { GROW_MAX_PHISHING } else { grow_max };
    // Those who serve advertising to everybody are among the most popular names there are.
    let popular_max = (category.name != "ads").then_some(POPULAR_MAX);
    GateSettings {
        must_not_block_max: list.must_not_block_max.or(table.must_not_block_max).unwrap_or(Some(must_not_block_max)),
        // "off": none is left out, and a list waits as soon as it hits more than it may.
        must_not_block_spare: list
            .must_not_block_spare
            .or(table.must_not_block_spare)
            .unwrap_or(Some(MUST_NOT_BLOCK_SPARE))
            .unwrap_or(0),
        popular_max: list.popular_max.or(table.popular_max).unwrap_or(popular_max),
        questions_max: list.questions_max.or(table.questions_max).unwrap_or(Some(QUESTIONS_MAX)),
        shrink_max: list.shrink_max.or(table.shrink_max).unwrap_or(Some(SHRINK_MAX)),
        grow_max: list.grow_max.or(table.grow_max).unwrap_or(Some(grow_max)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, PopularSettings, load_str};

    fn load(text: &str) -> Result<Config, String> {
        let all = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<String>>().join("\n");
        load_str("lachan.toml", text, Path::new("/base")).map_err(all)
    }

    fn gates(text: &str) -> Vec<GateSettings> {
        load(text).unwrap().policy.lists.into_iter().map(|list| list.gate).collect()
    }

    #[test]
    fn a_lists_own_word_goes_before_the_tables() {
        let text = "[gate]\npopular_max = 20\nshrink_max = \"12.5 %\"\n\
                    [list.a]\ncategory = \"adult\"\nfile = \"a\"\ngate = { popular_max = 5, grow_max = \"off\" }\n\
                    [list.b]\ncategory = \"phishing\"\nfile = \"b\"\n\
                    [list.c]\ncategory = \"ads\"\nfile = \"c\"\ngate = \"off\"\n\
                    [list.d]\ncategory = \"games\"\nfile = \"d\"\n[list.d.gate]\nquestions_max = \"0.5 %\"\n";
        let [a, b, c, d] = gates(text).try_into().unwrap();
        assert_eq!((a.popular_max, a.grow_max, a.shrink_max), (Some(5), None, Some(Share(1_250))));
        assert_eq!((b.popular_max, b.grow_max, b.must_not_block_max), (Some(20), Some(Share::percent(200)), Some(0)));
        assert_eq!((c.popular_max, c.must_not_block_max, c.questions_max, c.shrink_max), (None, None, None, None));
        assert_eq!((d.questions_max, d.must_not_block_max), (Some(Share(50)), Some(10)));
    }

    #[test]
    fn the_ranked_file_is_relative_to_the_file_that_names_it() {
        let settings =
            load("[gate]\npopular_file = \"tranco.csv\"\npopular_top = 100\nlearn = \"disk\"\n").unwrap().settings;
        assert_eq!(settings.popular.file.unwrap(), Path::new("/base/tranco.csv"));
        assert_eq!((settings.popular.top, settings.popular.learn), (100, Learn::Disk));
        let settings = load("mode = \"enforce\"\n").unwrap().settings;
        assert_eq!(settings.popular, PopularSettings { file: None, top: POPULAR_TOP, learn: Learn::Memory });
    }

    #[test]
    fn what_is_no_bound_says_why() {
        for (text, why) in [
            ("[gate]\npopular_max = \"many\"\n", "lachan.toml:2: `popular_max` in [gate]: \"many\" is no count"),
            ("[gate]\nshrink_max = \"thirty\"\n", "\"thirty\" is no share; write it as \"30 %\" or \"0.5 %\""),
            ("[gate]\nshrink_max = 30\n", "\"30\" is no share; write it as \"30 %\""),
            ("[gate]\npopular_maximum = 1\n", "unknown key `popular_maximum` in [gate]; did you mean `popular_max`?"),
            ("[gate]\nlearn = true\n", "`learn` in [gate] must be a string"),
            ("[gate]\npopular_top = 0\n", "`popular_top` in [gate] is 0, must be 1 to 2000000"),
            ("[list.a]\ncategory = \"ads\"\nfile = \"a\"\ngate = \"of\"\n", "\"of\" is not one of off"),
            ("[list.a]\ncategory = \"ads\"\nfile = \"a\"\ngate = 3\n", "must be a table"),
            (
                "[list.a]\ncategory = \"ads\"\nfile = \"a\"\ngate = { grow = \"1 %\" }\n",
                "unknown key `grow` in [list.a.gate]",
            ),
        ] {
            let errors = load(text).map(|_| ()).unwrap_err();
            assert!(errors.contains(why), "{text}: {errors}");
        }
    }
}
