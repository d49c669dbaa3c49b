//! Names of list hosts, resolved by our own upstreams: this resolver may be the machine's only one.
//!
//! They take the way of every internal question (I4): cache, upstream, a permit of their own. No policy is asked, so a list
//! cannot block the host that mends it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Resolve, Resolving};

use crate::daemon::resolver::Resolver;
use crate::engine::answer::{Section, address};
use crate::engine::name::Name;
use crate::engine::policy::{Permit, Purpose};
use crate::engine::query::{CLASS_IN, Question, RecordType};

/// How long one question may take: as long as a client's.
const PATIENCE: Duration = crate::engine::limits::QUERY_DEADLINE;

/// Resolves host names of list URLs.
#[derive(Clone)]
pub struct Names {
    pub resolver: Arc<Resolver>,
    /// Which addresses may be asked.
    pub allowed: fn(IpAddr) -> bool,
}

impl Names {
    async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, String> {
        let name = Name::from_text(host).map_err(|why| format!("{host:?} is no name: {why}"))?;
        let (v4, v6) = tokio::join!(self.look_up(&name, RecordType::A), self.look_up(&name, RecordType::AAAA));
        let all: Vec<IpAddr> = v4.iter().chain(&v6).flatten().copied().collect();
        if all.is_empty() {
            let why = v4.err().or(v6.err()).unwrap_or_else(|| "it has none".to_owned());
            return Err(format!("no address of {host}: {why}"));
        }
        let allowed: Vec<IpAddr> = all.iter().copied().filter(|ip| (self.allowed)(*ip)).collect();
        match (allowed.is_empty(), all.first()) {
            (true, Some(first)) => Err(not_public(host, *first)),
            _ => Ok(allowed.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()),
        }
    }

    async fn look_up(&self, name: &Name, qtype: RecordType) -> Result<Vec<IpAddr>, String> {
        let question = Question { qname: name.clone(), qtype, qclass: CLASS_IN };
        let generation = self.resolver.cell.load_full();
        let permit = Permit::internal(Purpose::ListHost);
        let found = self.resolver.find_internal(&generation, &permit, &question, PATIENCE).await;
        let found = found.map_err(|why| format!("no upstream server answered ({why:?})"))?;
        let records = found.answer.section(Section::Answer);
        let addresses: Vec<IpAddr> = records.filter_map(|record| address(record.rtype, record.rdata)).collect();
        match addresses.is_empty() {
            true => Err(format!("upstream says {}", found.answer.rcode.as_str())),
            false => Ok(addresses),
        }
    }
}

/// Why an address is not asked.
pub fn not_public(host: &str, ip: IpAddr) -> String {
    format!("{host} is at {ip}, which is no address of the public internet; `allow_private = true` allows it")
}

impl Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let addresses = names.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
