//! `explain` in the running resolver: the question is judged, and if it would be forwarded, its answer too.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::{Settings, Version};
use crate::daemon::clock;
use crate::daemon::gates::LeftOut;
use crate::daemon::loader::state_directory;
use crate::daemon::orders::Book;
use crate::daemon::resolver::Resolver;
use crate::daemon::said::Words;
use crate::daemon::sources::{self, Lines};
use crate::engine::client::{Client, Realm, Token, UnixTime};
use crate::engine::compile::ListSource;
use crate::engine::explain::{self, Asked, Explanation, Provenance, Subscriber};
use crate::engine::identity;
use crate::engine::list;
use crate::engine::name::Name;
use crate::engine::policy::{Permit, Purpose};
use crate::engine::query::{Origin, Question, Transport};
use crate::engine::snapshot::Snapshot;
use crate::engine::subscribers::Identified;
use crate::engine::verdict::Rung;

/// How long `explain` waits for upstream before it tells of the question alone.
const ANSWER_TIMER: Duration = Duration::from_secs(3);

/// Lists may be large and disks slow: lines are looked up one at a time.
static LOOK_UPS: Semaphore = Semaphore::const_new(1);

/// Who is asked about.
#[derive(Debug, Clone, Default)]
pub struct Who {
    pub client: Option<Asker>,
    /// Where its address is, when several networks use the same.
    pub realm: Realm,
    /// The address of ours that it asks.
    pub to: Option<IpAddr>,
    /// The `[client.*]` of this name, wherever it asks from.
    pub known: Option<String>,
    /// Instead of the client's own.
    pub profile: Option<String>,
    /// Instead of now.
    pub at: Option<UnixTime>,
}

/// A client as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// Port 0: nobody says which.
    Address(SocketAddr),
    /// What it says that it is.
    Identity(String, Token),
}

impl FromStr for Asker {
    type Err = String;

    fn from_str(text: &str) -> Result<Asker, String> {
        let bare = || text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 0));
        if let Some(address) = text.parse().ok().or_else(bare) {
            return Ok(Asker::Address(address));
        }
        match identity::configured(text) {
            Some(token) => Ok(Asker::Identity(text.to_owned(), token)),
            None => Err(format!(
                "{text:?} is no address and no identity; write 10.20.0.7, 10.20.0.7:40000 or one of the `ids`, as lop-6a"
            )),
        }
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asker::Address(address) if address.port() == 0 => address.ip().fmt(f),
            Asker::Address(address) => address.fmt(f),
            Asker::Identity(text, _) => f.write_str(text),
        }
    }
}

impl Who {
    /// How its questions come. Who says its name does so over TLS, from somewhere.
    fn origin(&self, snapshot: &Snapshot) -> Origin {
        let loopback = IpAddr::V4([127, 0, 0, 1].into());
        let origin = match &self.client {
            None => Origin::new((loopback, 0).into(), self.to, Transport::Udp),
            Some(Asker::Address(address)) => Origin::new(*address, self.to, Transport::Udp),
            Some(Asker::Identity(text, token)) => {
                let token = known_token(snapshot, text, *token).unwrap_or(*token);
                Origin { identity: Some(token), ..Origin::new((loopback, 0).into(), self.to, Transport::Tls) }
            }
        };
        // An address of ours may say the realm, as for a question on the line.
        snapshot.peers.recognise(Origin { realm: self.realm, ..origin }, None)
    }

    /// The client that policy is asked about.
    ///
    /// # Errors
    /// Names an identity that nobody has, or a profile that is not there, and those that are.
    pub fn resolve(&self, snapshot: &Snapshot) -> Result<Client, String> {
        if let Some(Asker::Identity(text, token)) = &self.client
            && known_token(snapshot, text, *token).is_none()
        {
            return Err(format!("no client has the identity `{text}`, and no subscriber that is known here"));
        }
        let mut client = snapshot.identify(&self.origin(snapshot), self.at.unwrap_or_else(clock::unix_time));
        if let Some(name) = &self.known {
            let at = snapshot.clients_known.iter().position(|known| known.name == *name);
            client.configured = at.map(|at| at as u32);
            client.profile = at.map_or(client.profile, |at| snapshot.clients_known[at].profile);
        }
        if let Some(name) = &self.profile {
            client.profile = snapshot.profile_named(name).ok_or_else(|| {
                let known: Vec<&str> = snapshot.profiles.iter().map(|p| p.name.as_str()).collect();
                format!("there is no profile `{name}`; there are: {}", known.join(", "))
            })?;
        }
        Ok(client)
    }

    /// The snapshot with windows that open and close around the moment that is asked about.
    fn hours_of<'a>(&self, snapshot: &'a Snapshot) -> Cow<'a, Snapshot> {
        match self.at.filter(|_| snapshot.has_hours()) {
            Some(at) => Cow::Owned(snapshot.clone().with_hours_from(Some(at))),
            None => Cow::Borrowed(snapshot),
        }
    }

    /// What the table says of the client that is asked about.
    fn subscriber(&self, snapshot: &Snapshot, is_read: bool) -> Option<Subscriber> {
        self.client.as_ref()?;
        let live = snapshot.subscribers.as_ref()?;
        let Identified { standing, found, .. } =
            live.identify(&self.origin(snapshot), self.at.unwrap_or_else(clock::unix_time));
        let until = found.and_then(|found| found.term.until);
        Some(Subscriber {
            standing: if is_read { standing.as_str() } else { "not-read" },
            token: found.and_then(|found| found.token).map(|token| format!("{:08x}", token.0 >> 96)),
            profile: found.and_then(|found| found.profile).map(|name| live.table.name(name)),
            session: found.is_some_and(|found| found.term.is_session),
            until,
            until_at: until.map(|until| explain::rfc3339(UnixTime(until.into()), &snapshot.zone)),
            feeds: Vec::new(),
        })
    }

    /// What a client that may not ask gets. Nobody in particular may.
    fn judge_source(&self, snapshot: &Snapshot, question: &Question, type_text: &str) -> Option<Box<Explanation>> {
        self.client.as_ref()?;
        let at = self.at.unwrap_or_else(clock::unix_time);
        explain::judge_source(snapshot, &self.origin(snapshot), at, question, type_text)
    }
}

/// Explains with the answer looked at. `in_force` says where each list's lines are, by its name.
pub async fn explain(
    resolver: &Arc<Resolver>,
    in_force: &HashMap<String, Lines>,
    question: &Question,
    type_text: &str,
    who: &Who,
) -> Result<Explanation, String> {
    let generation = resolver.cell.load_full();
    let snapshot = &*who.hours_of(&generation.snapshot);
    let client = who.resolve(snapshot)?;
    if let Some(told) = who.judge_source(snapshot, question, type_text) {
        return Ok(finish(*told, None, who, (snapshot, client), true));
    }
    // Before the question is asked: then the cache has it in any case.
    let cache = resolver.cached(&generation, question);
    let told = match explain::judge_question(snapshot, client, question, type_text) {
        Asked::Done(told) => told,
        Asked::Forward(told, permit) => {
            let probe = Permit::internal(Purpose::Probe);
            match resolver.find_internal(&generation, &probe, question, ANSWER_TIMER).await {
                Ok(found) => explain::judge_answer(snapshot, client, &permit, question, &found.answer, told),
                Err(_) => told,
            }
        }
    };
    let line = match told.place.as_ref().map(|at| Place::of(snapshot, at, in_force)) {
        Some(Some(place)) => {
            let turn = LOOK_UPS.acquire().await.map_err(|why| why.to_string())?;
            // The turn ends with the reading, not with the patience of whoever asked.
            let reading = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                place.read()
            });
            Some(reading.await.unwrap_or(Line::NotHere))
        }
        Some(None) => Some(Line::NotHere),
        None => None,
    };
    Ok(Explanation { cache, ..finish(*told, line, who, (snapshot, client), true) })
}

/// Explains by the question alone, without a running resolver. `in_force` says where each list's lines are, by its name.
pub fn explain_offline(
    snapshot: &Snapshot,
    in_force: &HashMap<String, Lines>,
    question: &Question,
    type_text: &str,
    who: &Who,
) -> Result<Explanation, String> {
    let snapshot = &*who.hours_of(snapshot);
    let client = who.resolve(snapshot)?;
    if let Some(told) = who.judge_source(snapshot, question, type_text) {
        return Ok(finish(*told, None, who, (snapshot, client), false));
    }
    let told = match explain::judge_question(snapshot, client, question, type_text) {
        Asked::Done(told) | Asked::Forward(told, _) => told,
    };
    let place = told.place.as_ref().map(|at| Place::of(snapshot, at, in_force));
    let line = place.map(|place| place.map_or(Line::NotHere, |place| place.read()));
    Ok(finish(*told, line, who, (snapshot, client), false))
}

/// Puts into a generation that was loaded here what the process that serves keeps in its state directory: words, pauses and
/// orders. Nothing there is changed. What cannot be read is told.
pub fn take_up_kept(snapshot: &mut Snapshot, settings: &Settings) -> Vec<String> {
    let directory = state_directory(settings);
    let (words, orders) = (Words::default(), Book::default());
    let mut problems: Vec<String> = words.look_into(&directory).err().into_iter().collect();
    words.put_into(snapshot);
    problems.extend(orders.look_into(&directory, &settings.orders, &snapshot.zone));
    problems.extend(snapshot.set_orders(orders.orders()).err().map(|why| format!("orders: {why}")));
    problems
}

/// Says of a name that nothing speaks about which list would, had its rule not been left out.
pub fn tell_left_out<'a>(told: &mut Explanation, qname: &Name, left_out: impl Iterator<Item = (&'a str, LeftOut)>) {
    if told.verdict != "allow" || told.rung != Rung::Forward.as_str() || told.list.is_some() {
        return;
    }
    for (list, LeftOut { rules, .. }) in left_out {
        let over = rules.iter().find(|rule| Name::from_text(rule).is_ok_and(|rule| qname.is_at_or_below(&rule)));
        let Some(rule) = over else { continue };
        told.sentence_en.push_str(&format!(
            " (The list `{list}` has a rule for {rule}, which was left out: it is a name that should not be blocked. \
             `lachan lists approve {list}` puts it in.)"
        ));
        told.sentence_vi.push_str(&format!(
            " (Danh sách `{list}` có luật cho {rule} nhưng đã được bỏ ra vì là tên không nên chặn. \
             `lachan lists approve {list}` sẽ đưa vào.)"
        ));
    }
}

/// Where a rule's text is.
struct Place {
    text: Text,
    line: u32,
}

enum Text {
    BuiltIn(String),
    /// A file, and the version of it that the rule is from, when somebody knows.
    File(PathBuf, Option<Version>),
}

/// What a file says about a rule.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Text(String),
    /// The file is no more the one that was read.
    Changed,
    /// There is no file, or it cannot be read.
    NotHere,
}

impl Place {
    /// `None`: nowhere.
    fn of(snapshot: &Snapshot, at: &Provenance, in_force: &HashMap<String, Lines>) -> Option<Place> {
        let list = snapshot.list(at.list);
        let configured = list.configured.as_ref()?;
        let (source, lines) = (&configured.settings.source, in_force.get(&list.name));
        if let (ListSource::BuiltIn(name), Some(Lines::BuiltIn)) = (source, lines) {
            return Some(Place { text: Text::BuiltIn(name.clone()), line: at.line });
        }
        let version = match lines {
            Some(Lines::Stored(path)) => return Some(Place { text: Text::File(path.clone(), None), line: at.line }),
            Some(Lines::Files(version)) => version,
            Some(Lines::Gone | Lines::BuiltIn) | None => return None,
        };
        let ListSource::File(path) = source else { return None };
        let (path, line) = match configured.report.place(at.line) {
            Some((part, line)) => (PathBuf::from(part), line),
            None => (path.clone(), at.line),
        };
        let version = match version {
            Version::Group(parts) => parts.as_ref().and_then(|parts| parts.get(&path).cloned()),
            other => Some(other.clone()),
        };
        Some(Place { text: Text::File(path, Some(version?)), line })
    }

    /// Blocks.
    fn read(&self) -> Line {
        let (text, is_another) = match &self.text {
            Text::BuiltIn(name) => (sources::built_in_line(name, self.line), false),
            Text::File(path, version) => {
                let text = sources::line_of(path, self.line);
                // Looked at last: a file that changes under our eyes counts as changed.
                (text, version.as_ref().is_some_and(|version| Version::of_file(path) != *version))
            }
        };
        match text {
            _ if is_another => Line::Changed,
            Some(text) => Line::Text(text),
            None => Line::NotHere,
        }
    }
}

/// Puts in what only files and the caller know. `is_read`: whether the table of subscribers is here.
fn finish(
    told: Explanation,
    line: Option<Line>,
    who: &Who,
    (snapshot, client): (&Snapshot, Client),
    is_read: bool,
) -> Explanation {
    let asked = who.client.as_ref().map(ToString::to_string);
    let mut told = Explanation { client: asked, subscriber: who.subscriber(snapshot, is_read), ..told };
    explain::tell_client(snapshot, &who.origin(snapshot), client, who.profile.is_some(), &mut told);
    tell_line(told, line)
}

/// The token of an identity that somebody has: the word itself, or 32 hexadecimal digits that are a subscriber's.
fn known_token(snapshot: &Snapshot, text: &str, token: Token) -> Option<Token> {
    let is_hex = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let digits = is_hex.then(|| u128::from_str_radix(text, 16).ok().map(Token)).flatten();
    [Some(token), digits].into_iter().flatten().find(|token| snapshot.knows(*token))
}

fn tell_line(mut told: Explanation, line: Option<Line>) -> Explanation {
    match line {
        None => {}
        Some(Line::Text(text)) => told.rule = Some(list::shown(text.as_bytes())),
        // The rule stays as the index has it, in our own grammar.
        Some(Line::Changed) => {
            let file = told.file.as_deref().unwrap_or_default();
            told.sentence_en
                .push_str(&format!(" ({file} has changed since it was read; the line is the one of then.)"));
            told.sentence_vi.push_str(&format!(" (Tệp {file} đã thay đổi sau khi được đọc; số dòng là của bản cũ.)"));
        }
        Some(Line::NotHere) => {
            let list = told.list.as_deref().unwrap_or_default();
            told.sentence_en.push_str(&format!(
                " (The text of the list `{list}` is not kept here; the rule is told as it was read.)"
            ));
            told.sentence_vi.push_str(&format!(
                " (Nội dung danh sách `{list}` không được giữ ở đây; luật được ghi theo cách đã đọc.)"
            ));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_version_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        std::fs::write(&path, "||bad.example.com^\n").unwrap();
        let version = Some(Version::of_file(&path));
        let place = Place { text: Text::File(path.clone(), version), line: 1 };
        assert_eq!(place.read(), Line::Text("||bad.example.com^".into()));
        std::fs::write(&path, "other.example.com\nmore.example.com\n").unwrap();
        assert_eq!(place.read(), Line::Changed);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(place.read(), Line::Changed);
        assert_eq!(Place { text: Text::File(path, None), line: 1 }.read(), Line::NotHere);
        assert_eq!(Place { text: Text::BuiltIn("nothing".into()), line: 1 }.read(), Line::NotHere);
        assert!(matches!(Place { text: Text::BuiltIn("adult".into()), line: 1 }.read(), Line::Text(_)));

        let told =
            || Explanation { rule: Some("bad.example.com".into()), file: Some("f".into()), ..Explanation::default() };
        let changed = tell_line(told(), Some(Line::Changed));
        assert_eq!(changed.rule.as_deref(), Some("bad.example.com"));
        assert!(changed.sentence_en.contains("f has changed since it was read"), "{}", changed.sentence_en);
        let same = tell_line(told(), Some(Line::Text("||bad.example.com^".into())));
        assert_eq!((same.rule.as_deref(), same.sentence_en.as_str()), (Some("||bad.example.com^"), ""));
    }
}
