//! `[rate_limit]`: what one line may ask for.

use crate::engine::rate_limit::RateLimit;

use super::errors::Spanned;
use super::reader::Section;
use super::values;

/// `[rate_limit]` as it is written; `None` for each key not given.
pub(super) struct RateLimitSpec {
    mode: Option<Spanned<Mode>>,
    misses: Option<i64>,
    amplified: Option<Spanned<u32>>,
}

/// What a limit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    DryRun,
    Enforce,
}

/// A table that is there has to say its mode: a limit that acts by accident cuts people off.
pub(super) fn mode(section: &mut Section<'_>) -> Option<Spanned<Mode>> {
    if !section.is_empty() && !section.has("mode") {
        section.missing("mode", "\"dry-run\"");
    }
    section.choice("mode", &[("off", Mode::Off), ("dry-run", Mode::DryRun), ("enforce", Mode::Enforce)])
}

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> RateLimitSpec {
    let spec = RateLimitSpec {
        mode: mode(&mut section),
        misses: section.integer("misses_per_second", 1..=1_000_000),
        amplified: section.quantity("amplified_per_second", |text| {
            let octets = values::size(text)?;
            let most = 1 << 30;
            if !(1 << 10..=most).contains(&octets) {
                return Err(format!("{text:?} is {octets} octets, must be 1 KiB to 1 GiB"));
            }
            u32::try_from(octets).map_err(|_| format!("{text:?} is too large"))
        }),
    };
    section.finish(top_level);
    spec
}

/// `None`: nobody is limited.
pub(super) fn lower(spec: &RateLimitSpec) -> Option<RateLimit> {
    let default = RateLimit::default();
    let mode = spec.mode.as_ref().map_or(Mode::Off, |mode| mode.value);
    (mode != Mode::Off).then(|| RateLimit {
        enforced: mode == Mode::Enforce,
        misses_per_second: spec.misses.map_or(default.misses_per_second, |misses| misses as u32),
        amplified_per_second: spec.amplified.as_ref().map_or(default.amplified_per_second, |octets| octets.value),
    })
}
