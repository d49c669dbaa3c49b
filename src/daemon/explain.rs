//! `explain` in the running resolver: the question is judged, and if it would be forwarded, its answer too.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::resolver::Resolver;
use crate::daemon::sources;
use crate::engine::client::Client;
use crate::engine::explain::{self, Asked, Explanation, Provenance};
use crate::engine::policy::{Permit, Purpose};
use crate::engine::query::Question;
use crate::engine::snapshot::Snapshot;

/// How long `explain` waits for upstream before it tells of the question alone.
const ANSWER_TIMER: Duration = Duration::from_secs(3);

/// Who is asked about.
#[derive(Debug, Clone, Default)]
pub struct Who {
    pub client: Option<IpAddr>,
    /// Instead of the client's own.
    pub profile: Option<String>,
}

impl Who {
    /// The client that policy is asked about.
    ///
    /// # Errors
    /// Names a profile that is not there, and those that are.
    pub fn resolve(&self, snapshot: &Snapshot) -> Result<Client, String> {
        let mut client = snapshot.clients.identify(self.client.unwrap_or(IpAddr::V4([127, 0, 0, 1].into())));
        if let Some(name) = &self.profile {
            client.profile = snapshot.profile_named(name).ok_or_else(|| {
                let known: Vec<&str> = snapshot.profiles.iter().map(|p| p.name.as_str()).collect();
                format!("there is no profile `{name}`; there are: {}", known.join(", "))
            })?;
        }
        Ok(client)
    }
}

/// Explains with the answer looked at.
pub async fn explain(
    resolver: &Arc<Resolver>,
    question: &Question,
    type_text: &str,
    who: &Who,
) -> Result<Explanation, String> {
    let generation = resolver.cell.load_full();
    let snapshot = &generation.snapshot;
    let client = who.resolve(snapshot)?;
    let (told, provenance) = match explain::judge_question(snapshot, client, question, type_text) {
        Asked::Done(told, provenance) => (told, provenance),
        Asked::Forward(told, permit) => {
            let probe = Permit::internal(Purpose::Probe);
            match resolver.find_internal(&generation, &probe, question, ANSWER_TIMER).await {
                Ok(found) => explain::judge_answer(snapshot, client, &permit, question, &found.answer, told),
                Err(_) => (told, None),
            }
        }
    };
    Ok(finish(snapshot, *told, provenance, who))
}

/// Explains by the question alone, without a running resolver.
pub fn explain_offline(
    snapshot: &Snapshot,
    question: &Question,
    type_text: &str,
    who: &Who,
) -> Result<Explanation, String> {
    let client = who.resolve(snapshot)?;
    let (told, provenance) = match explain::judge_question(snapshot, client, question, type_text) {
        Asked::Done(told, provenance) => (told, provenance),
        Asked::Forward(told, _) => (told, None),
    };
    Ok(finish(snapshot, *told, provenance, who))
}

/// Puts in what only files and the caller know.
fn finish(snapshot: &Snapshot, mut told: Explanation, provenance: Option<Provenance>, who: &Who) -> Explanation {
    told.client = who.client.map(|c| c.to_string());
    if let Some(Provenance { list, line }) = provenance
        && let Some(configured) = &snapshot.list(list).configured
        && let Some(text) = sources::line_text(&configured.settings.source, line)
    {
        told.rule = Some(text);
    }
    told
}
