//! Logs: quiet by default, names and addresses never above DEBUG.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::daemon::telemetry::QueryEvent;

/// What is silent even when everything is asked for: these crates log query names at WARN and INFO.
const SILENCED: [&str; 3] = ["hickory_net=error", "hickory_proto=error", "hickory_server=error"];

/// Starts logging to standard error. `RUST_LOG` says how much; without it, changes of state and worse.
pub fn start() {
    let asked = std::env::var("RUST_LOG").ok().filter(|v| !v.is_empty());
    let mut filter = asked.unwrap_or_else(|| "warn,lachan=info".to_owned());
    for silenced in SILENCED {
        // A person who names the crate has decided.
        let name = silenced.split('=').next().unwrap_or_default();
        if !filter.contains(name) {
            filter = format!("{filter},{silenced}");
        }
    }
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("warn,lachan=info"));
    let terminal = std::io::stderr().is_terminal();
    let built = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        // Told by `eprintln!`, which panics when standard error is a closed pipe.
        .log_internal_errors(false);
    // A second start (tests in one process) keeps the first.
    let _ = built.try_init();
}

/// One line a query, at DEBUG.
pub fn query(event: &QueryEvent<'_>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (name, qtype) = event.question.map_or((String::new(), 0), |q| (q.qname.to_string(), q.qtype.0));
    tracing::debug!(
        source = %event.origin.source,
        transport = event.origin.transport.as_str(),
        name,
        qtype,
        outcome = event.outcome.as_str(),
        rcode = event.rcode.map(|r| r.as_str()),
        rung = event.block.map(|b| b.rung.as_str()),
        category = event.block.map(|b| b.category),
        engine = event.engine,
        generation = event.generation,
        subscribers = event.subscribers,
        "query"
    );
}
