//! Files of DHCP leases, looked at every second: what was appended is read, a file that was written anew is read whole.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Feed, Refused, Subscribers, radius};
use crate::config::LeaseSettings;
use crate::daemon::clock;
use crate::engine::leases::Head;
use crate::engine::limits::{SUBSCRIBER_LINE_OCTETS_MAX, SUBSCRIBER_PREFIXES_MAX};
use crate::engine::subscribers::{Change, Entry, Holder, Key, Term};

const LOOK: Duration = Duration::from_secs(1);
/// Changes made at once.
const BATCH: usize = 4_096;

/// One file as far as it was read.
struct Leases {
    settings: LeaseSettings,
    now: Reading,
    /// What this file put into the table. Kea begins its file anew with what changes from then on: what is not in it still
    /// holds until it ends.
    held: HashSet<Key>,
    /// What Kea's clean-up (LFC) made of earlier files was read.
    has_begun: bool,
    complained: bool,
}

/// A file that is read as it grows.
#[derive(Debug, Clone, Default)]
struct Reading {
    /// Which file it was: LFC puts another in its place.
    inode: u64,
    head: Option<Head>,
    /// Octets read, whole lines.
    read: u64,
}

/// Follows one file until `stop`.
pub async fn run(settings: LeaseSettings, subscribers: Arc<Subscribers>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    let mut leases = Leases::new(settings);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let subscribers = Arc::clone(&subscribers);
        let looked = tokio::task::spawn_blocking(move || {
            leases.look(&subscribers);
            leases
        });
        match looked.await {
            Ok(back) => leases = back,
            Err(why) => return tracing::error!("a file of leases is not followed any more: {why}"),
        }
    }
}

impl Leases {
    fn new(settings: LeaseSettings) -> Leases {
        let (now, held) = (Reading::default(), HashSet::new());
        Leases { settings, now, held, has_begun: false, complained: false }
    }

    fn look(&mut self, subscribers: &Subscribers) {
        match self.read_on(subscribers) {
            Ok(()) => self.complained = false,
            Err(why) if !std::mem::replace(&mut self.complained, true) => {
                let (name, file) = (&self.settings.name, self.settings.file.display());
                tracing::warn!("leases `{name}`: {file}: {why}; what it told before stays until it ends");
            }
            Err(_) => {}
        }
    }

    fn read_on(&mut self, subscribers: &Subscribers) -> Result<(), String> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.read_before(subscribers)?;
        }
        let mut at = std::mem::take(&mut self.now);
        let inode = std::fs::metadata(&self.settings.file).map(|about| about.ino());
        if at.inode != 0 && inode.as_ref().is_ok_and(|now| *now != at.inode) {
            // What was written before LFC took the file away, and not read yet.
            let before = self.beside("1");
            if std::fs::metadata(&before).is_ok_and(|about| about.ino() == at.inode) {
                self.read_file(&before, &mut at, subscribers)?;
            }
        }
        let path = self.settings.file.clone();
        let done = self.read_file(&path, &mut at, subscribers);
        self.now = at;
        done
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.settings.file.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }

    /// The files that hold what is not in this one any more, as Kea reads them when it begins: what its clean-up has just
    /// made, else what it made the time before, and what it was given since.
    fn read_before(&mut self, subscribers: &Subscribers) -> Result<(), String> {
        let completed = self.beside("completed");
        let files = if completed.exists() { vec![completed] } else { vec![self.beside("2"), self.beside("1")] };
        for path in files.iter().filter(|path| path.exists()) {
            let told = |why| format!("{}: {why}", path.display());
            self.read_file(path, &mut Reading::default(), subscribers).map_err(told)?;
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, at: &mut Reading, subscribers: &Subscribers) -> Result<(), String> {
        let told = |why: io::Error| why.to_string();
        let file = File::open(path).map_err(told)?;
        let about = file.metadata().map_err(told)?;
        let is_anew = about.ino() != at.inode || about.len() < at.read;
        if is_anew {
            *at = Reading { inode: about.ino(), ..Reading::default() };
        }
        if about.len() == at.read {
            return Ok(());
        }
        let mut lines = BufReader::new(file);
        lines.seek(SeekFrom::Start(at.read)).map_err(told)?;
        let (mut line, mut changes, mut bad, mut refused) = (Vec::new(), Vec::new(), 0_usize, None);
        loop {
            line.clear();
            let count = lines.read_until(b'\n', &mut line).map_err(told)?;
            // A line that is just being written is read the next time.
            let is_end = count == 0 || line.last() != Some(&b'\n');
            if changes.len() >= BATCH || is_end {
                refused = Refused::and(refused, subscribers.apply(Feed::Leases, &changes).err());
                changes.clear();
            }
            if is_end {
                break;
            }
            at.read += count as u64;
            let text = std::str::from_utf8(&line).unwrap_or_default();
            match &at.head {
                None => at.head = Some(Head::read(text)?),
                Some(_) if text.len() > SUBSCRIBER_LINE_OCTETS_MAX => bad += 1,
                Some(head) => match head.lease(text) {
                    Ok(lease) => self.take(&lease, subscribers, &mut changes),
                    Err(_) => bad += 1,
                },
            }
        }
        match (refused, bad) {
            (Some(refused), _) => Err(refused.to_string()),
            (None, 0) => Ok(()),
            (None, _) => Err(format!("{bad} lines are no leases")),
        }
    }

    fn take(&mut self, lease: &crate::engine::leases::Lease, subscribers: &Subscribers, changes: &mut Vec<Change>) {
        let key = Key::of_net(self.settings.realm, lease.net);
        let settings = subscribers.settings();
        let keys = settings.as_ref().as_ref().map_or(&[][..], |settings| &settings.token_keys);
        let is_over = i64::from(lease.until) <= clock::unix_time().0;
        let token = lease.line.as_deref().and_then(|line| radius::known_token(line, keys, subscribers.table()));
        match token.filter(|_| !is_over && self.held.len() < SUBSCRIBER_PREFIXES_MAX) {
            Some(token) => {
                self.held.insert(key);
                // A lease says itself how long it holds.
                let term = Term { until: Some(lease.until), is_hard: true, is_session: true };
                changes.push(Change::Put(key, Entry { holder: Holder::Token(token), term }));
            }
            None => {
                if self.held.remove(&key) {
                    changes.push(Change::Remove(key));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::SubscriberSettings;
    use crate::engine::client::{Realm, TokenKey};

    const HEAD: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n";

    fn line(address: &str, until: u32, circuit: &str) -> String {
        let hex: String = circuit.bytes().map(|octet| format!("{octet:02x}")).collect();
        let context = format!(r#"{{"ISC":{{"relay-agent-info":{{"sub-options":"0x01{:02x}{hex}"}}}}}}"#, circuit.len());
        format!("{address},00:11:22:33:44:55,,3600,{until},1,0,0,,0,{context},0\n")
    }

    fn fed() -> Subscribers {
        let subscribers = Subscribers::new((1, 2));
        let settings = SubscriberSettings {
            api_token: None,
            state_key: None,
            token_keys: vec![TokenKey::new([1; 16])],
            interim: Duration::from_secs(600),
            nats: Vec::new(),
            radius: None,
            leases: Vec::new(),
            store: None,
        };
        subscribers.in_force(Some(&settings), None);
        subscribers
    }

    fn found(subscribers: &Subscribers) -> Vec<String> {
        let mut found = Vec::new();
        subscribers.table().each_prefix(|key, _| found.push(key.place().to_string()));
        found.sort();
        found
    }

    /// Between two clean-ups most leases are in files beside the one that grows.
    #[test]
    fn a_process_that_begins_reads_the_files_that_kea_reads() {
        let far = 4_000_000_000;
        let lease = |n: u32| line(&format!("10.0.0.{n}"), far, "olt");
        for (files, held) in [
            (&[("2", 2), ("1", 1)][..], &["10.0.0.1/32", "10.0.0.2/32", "10.0.0.9/32"][..]),
            // The clean-up's result stands for what it was made of.
            (&[("2", 2), ("1", 1), ("completed", 3), ("output", 4)], &["10.0.0.3/32", "10.0.0.9/32"]),
            (&[("1", 1)], &["10.0.0.1/32", "10.0.0.9/32"]),
            (&[], &["10.0.0.9/32"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("kea-leases4.csv");
            for (ending, n) in files {
                std::fs::write(folder.path().join(format!("kea-leases4.csv.{ending}")), format!("{HEAD}{}", lease(*n)))
                    .unwrap();
            }
            // The later file counts.
            std::fs::write(folder.path().join("kea-leases4.csv.x"), lease(8)).unwrap();
            std::fs::write(&file, format!("{HEAD}{}{}", lease(9), line("10.0.0.7", 0, "olt"))).unwrap();
            let subscribers = fed();
            let mut leases = Leases::new(LeaseSettings { name: "kea".into(), file, realm: Realm(3) });
            leases.look(&subscribers);
            assert_eq!(found(&subscribers), held, "{files:?}");
        }
    }

    #[test]
    fn a_file_is_followed_as_it_grows_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kea-leases4.csv");
        let subscribers = fed();
        let lease = LeaseSettings { name: "kea".into(), file: file.clone(), realm: Realm(3) };
        let mut leases = Leases::new(lease);
        let far = 4_000_000_000;
        let mut check = |what: &str, held: &[&str]| {
            leases.look(&subscribers);
            assert_eq!(found(&subscribers), held, "{what}");
        };
        check("no file", &[]);
        std::fs::write(
            &file,
            format!("{HEAD}{}{}", line("10.0.0.1", far, "olt-1"), line("10.0.0.2", 1_700_000_000, "olt-2")),
        )
        .unwrap();
        check("one lease, and one that is over", &["10.0.0.1/32"]);
        let append = |text: &str| {
            std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(text.as_bytes()).unwrap()
        };
        let whole = line("10.0.0.3", far, "olt-3");
        append(&whole[..20]);
        check("half a line", &["10.0.0.1/32"]);
        append(&whole[20..]);
        append("no lease\n");
        check("the rest of it, and a bad one", &["10.0.0.1/32", "10.0.0.3/32"]);
        append(&line("10.0.0.1", 0, "olt-1"));
        check("given back", &["10.0.0.3/32"]);
        append(&line("10.0.0.1", far, "olt-1"));
        check("and taken again", &["10.0.0.1/32", "10.0.0.3/32"]);
        let new = folder.path().join("new");
        std::fs::write(&new, format!("{HEAD}{}", line("10.0.0.3", far, "olt-3"))).unwrap();
        std::fs::rename(&new, &file).unwrap();
        check("begun anew: what it does not tell still holds", &["10.0.0.1/32", "10.0.0.3/32"]);
        // LFC: the file is put aside, another begins; what was written in between is not lost.
        append(&line("10.0.0.4", far, "olt-4"));
        std::fs::rename(&file, folder.path().join("kea-leases4.csv.1")).unwrap();
        std::fs::write(&file, format!("{HEAD}{}", line("10.0.0.5", far, "olt-5"))).unwrap();
        check("put aside", &["10.0.0.1/32", "10.0.0.3/32", "10.0.0.4/32", "10.0.0.5/32"]);
        append(&line("10.0.0.4", 0, "olt-4"));
        append(&line("10.0.0.5", 0, "olt-5"));
        check("the new one is followed", &["10.0.0.1/32", "10.0.0.3/32"]);
        std::fs::remove_file(&file).unwrap();
        check("gone: what it told stays until it ends", &["10.0.0.1/32", "10.0.0.3/32"]);
    }
}
