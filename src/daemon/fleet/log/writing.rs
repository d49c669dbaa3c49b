//! Writing: what waits, how far this node has come and how it took up its orders; and a look at how far the others have.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use super::{IN_STREAM, Log, Waiting};
use crate::daemon::clock;
use crate::daemon::fleet::connection::{Trouble, connect};
use crate::daemon::fleet::reach::{FORGOTTEN_SECS, Node, Place, seen};
use crate::daemon::fleet::stream::Field;
use crate::daemon::orders::TakenUp;

/// The hash with how each node took up its orders.
const TAKEN_UP: &str = "taken-up";
/// It is written again so often: somebody may have taken this node out of the fleet.
const TAKEN_UP_AGAIN: Duration = Duration::from_secs(60);
/// Commands that the stream remembers; who missed more takes up the hash. Chosen: some weeks.
const STREAM_MAX: usize = 1_000;
/// A node says so often that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often nodes are looked at while somebody waits for them.
const LOOK: Duration = Duration::from_millis(20);

/// Where a node's word of its orders is believed.
fn place_of_taken_up(id: &str) -> Vec<u8> {
    format!("{TAKEN_UP}/{id}").into_bytes()
}

fn is_away(why: Trouble) -> String {
    format!("the store of the fleet does not answer: {why}")
}

impl Log {
    /// Writes what waits, says how far this node has come, and looks how far the others have.
    pub(super) async fn write(&self, connection: &mut MultiplexedConnection) -> Result<Infallible, Trouble> {
        let mut told: Option<(Node, Instant)> = None;
        let mut told_taken_up: Option<(Arc<[TakenUp]>, Instant)> = None;
        loop {
            loop {
                let next = self.state().outbox.front().cloned();
                let Some(waiting) = next else { break };
                self.write_one(&waiting, connection).await?;
            }
            let own = self.node_of(&self.state());
            let is_old = |(before, at): &(Node, Instant)| {
                let is_same = Node { at: own.at, ..before.clone() } == own;
                !is_same || clock::now().saturating_duration_since(*at) >= HEARTBEAT
            };
            if told.as_ref().is_none_or(is_old) {
                let sealed = self.seal.seal(own.id.as_bytes(), &own).map_err(Trouble::new)?;
                redis::cmd("HSET")
                    .arg(self.key("nodes"))
                    .arg(&own.id)
                    .arg(sealed)
                    .query_async::<redis::Value>(connection)
                    .await?;
                told = Some((own, clock::now()));
            }
            let taken_up = self.state().taken_up.clone();
            let is_told = |(told, at): &(Arc<[TakenUp]>, Instant)| {
                Some(told) == taken_up.as_ref() && clock::now().saturating_duration_since(*at) < TAKEN_UP_AGAIN
            };
            if let Some(taken_up) = &taken_up
                && !told_taken_up.as_ref().is_some_and(is_told)
            {
                let id = self.state().kept.node.clone();
                let sealed = self.seal.seal(&place_of_taken_up(&id), taken_up).map_err(Trouble::new)?;
                let key = self.key(TAKEN_UP);
                let _: redis::Value = redis::cmd("HSET").arg(key).arg(&id).arg(sealed).query_async(connection).await?;
                told_taken_up = Some((Arc::clone(taken_up), clock::now()));
            }
            self.look(connection).await?;
            let is_waited_for = self.waiters.load(Ordering::Relaxed) > 0;
            let pause = if is_waited_for { LOOK } else { HEARTBEAT };
            let _ = tokio::time::timeout(pause, self.something.notified()).await;
        }
    }

    async fn write_one(&self, waiting: &Waiting, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let Waiting { number, command, is_quiet } = waiting;
        let mut pipe = redis::pipe();
        pipe.atomic();
        if let Some(slot) = command.deed.slot() {
            let field = self.seal.field(&slot);
            let sealed = self.seal.seal(&field, command).map_err(Trouble::new)?;
            pipe.cmd("HSET").arg(self.key("live")).arg(field).arg(sealed).ignore();
        }
        if let Some(slot) = command.deed.clears() {
            pipe.cmd("HDEL").arg(self.key("live")).arg(self.seal.field(&slot)).ignore();
        }
        if !is_quiet {
            let sealed = self.seal.seal(IN_STREAM, command).map_err(Trouble::new)?;
            pipe.cmd("XADD").arg(self.key("log")).arg("MAXLEN").arg("~").arg(STREAM_MAX).arg("*").arg("c").arg(sealed);
        }
        let ids: Vec<String> = pipe.query_async(connection).await?;
        self.counters.sent.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.outbox.retain(|waiting| waiting.number != *number);
        state.written = state.written.max(*number);
        if let Some(place) = ids.first().and_then(|id| Place::read(id)) {
            state.written_at = Some(place);
        }
        Ok(())
    }

    async fn look(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let told: Vec<Field> = redis::cmd("HGETALL").arg(self.key("nodes")).query_async(connection).await?;
        let now = clock::unix_secs() as i64;
        let mut nodes: Vec<Node> = Vec::new();
        for (id, sealed) in told {
            let node = self.seal.open(&id, &sealed).and_then(|opened| serde_json::from_slice::<Node>(&opened).ok());
            match node {
                Some(node) if now - node.at > FORGOTTEN_SECS => self.take_out(&node.id, connection).await?,
                Some(node) => nodes.push(node),
                None => {}
            }
        }
        let mut state = self.state();
        let clocks = nodes.iter().map(|node| (node.id.clone(), node.at)).collect();
        let before = std::mem::replace(&mut state.clocks, clocks);
        let known = std::mem::take(&mut state.nodes);
        let (own, data) = (state.kept.node.clone(), state.kept.data.clone());
        let nodes = seen(known, &before, nodes, (&own, &data), now);
        let ids = |nodes: &[Node]| nodes.iter().map(|node| node.id.clone()).collect::<BTreeSet<_>>();
        let are_others = ids(&nodes) != ids(&state.kept.nodes);
        state.nodes = nodes;
        if are_others {
            state.kept.nodes = state.nodes.clone();
        }
        drop(state);
        if are_others {
            self.keep();
        }
        self.seen.notify_waiters();
        Ok(())
    }

    async fn take_out(&self, id: &str, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        // In this order: a node that is taken out by half is seen, and taken out again.
        for what in [TAKEN_UP, "nodes"] {
            let _: i64 = redis::cmd("HDEL").arg(self.key(what)).arg(id).query_async(connection).await?;
        }
        Ok(())
    }

    /// How each node took up an order, by the nodes' names, this one's `own` among them; `None`: one has not said.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn taken_up(
        &self,
        own: Option<TakenUp>,
        is_it: impl Fn(&TakenUp) -> bool,
    ) -> Result<Vec<(String, Option<TakenUp>)>, String> {
        let told = async {
            let mut connection = connect(&self.settings.url.0).await?;
            let told: Vec<Field> = redis::cmd("HGETALL").arg(self.key(TAKEN_UP)).query_async(&mut connection).await?;
            Ok::<_, Trouble>(told)
        };
        let told = told.await.map_err(is_away)?;
        let own_id = self.state().kept.node.clone();
        let of_node = |id: &str| {
            if id == own_id {
                return own.clone();
            }
            let (_, sealed) = told.iter().find(|(field, _)| field == id.as_bytes())?;
            let opened = self.seal.open(&place_of_taken_up(id), sealed)?;
            serde_json::from_slice::<Vec<TakenUp>>(&opened).ok()?.into_iter().find(|taken_up| is_it(taken_up))
        };
        Ok(self.nodes().into_iter().map(|node| (node.name, of_node(&node.id))).collect())
    }

    /// Takes a node that will not come back out of the fleet; one that is there comes back by itself.
    ///
    /// # Errors
    /// There is no such node, or the server does not answer.
    pub async fn forget(&self, name: &str) -> Result<(), String> {
        let nodes = self.nodes();
        let found: Vec<&Node> = nodes.iter().filter(|node| node.name == name || node.id == name).collect();
        let [node] = found[..] else {
            let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            return Err(format!("{} nodes are called `{name}`; there are {}", found.len(), known.join(", ")));
        };
        let forgotten = async {
            let mut connection = connect(&self.settings.url.0).await?;
            self.take_out(&node.id, &mut connection).await
        };
        forgotten.await.map_err(is_away)?;
        self.state().nodes.retain(|known| known.id != node.id);
        Ok(())
    }
}
