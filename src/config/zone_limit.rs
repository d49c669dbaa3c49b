//! `[zone_limit]`: how often questions about one zone may fail.

use crate::engine::name::Name;
use crate::engine::zone_limit::ZoneLimit;

use super::errors::Spanned;
use super::rate_limit::{Mode, mode};
use super::reader::Section;

/// A flood brings thousands; a popular domain whose servers are down some dozen. Chosen.
const FAILURES_PER_SECOND: u32 = 100;

/// `[zone_limit]` as it is written; `None` for each key not given.
pub(super) struct ZoneLimitSpec {
    mode: Option<Spanned<Mode>>,
    failures: Option<i64>,
    spare: Option<Vec<Spanned<Name>>>,
}

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> ZoneLimitSpec {
    let spec = ZoneLimitSpec {
        mode: mode(&mut section),
        failures: section.integer("failures_per_second", 1..=1_000_000),
        spare: section
            .strings("spare", |text| Name::zone_from_text(text).map_err(|why| format!("{text:?} is no zone: {why}"))),
    };
    section.finish(top_level);
    spec
}

/// `None`: no zone is limited.
pub(super) fn lower(spec: &ZoneLimitSpec) -> Option<ZoneLimit> {
    let mode = spec.mode.as_ref().map_or(Mode::Off, |mode| mode.value);
    (mode != Mode::Off).then(|| ZoneLimit {
        enforced: mode == Mode::Enforce,
        failures_per_second: spec.failures.map_or(FAILURES_PER_SECOND, |failures| failures as u32),
        spare: spec.spare.iter().flatten().map(|zone| zone.value.clone()).collect(),
    })
}
