//! dnsdist in front: it says by the PROXY protocol who asks, and every answer carries that client's policy.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use crate::harness::client::Ask;
use crate::harness::encrypted::{Authority, NAME, Way};
use crate::harness::resolver::{Files, InProcess, with_upstream};
use crate::harness::upstream::Upstream;
use crate::harness::{skip, wait_for};
use crate::programs::free_port;

/// Addresses that it answers on, by transport.
struct Dnsdist {
    child: Child,
    dns: SocketAddr,
    dot: SocketAddr,
    doh: SocketAddr,
    _directory: TempDir,
}

impl Dnsdist {
    /// `None`: it is not installed.
    fn start(backend: SocketAddr, authority: &Authority) -> Option<Dnsdist> {
        let program = ["/usr/bin/dnsdist", "/usr/sbin/dnsdist", "/usr/local/bin/dnsdist"];
        let program = program.iter().find(|path| Path::new(path).exists())?;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::write(root.join("chain.pem"), &authority.certificate_pem).unwrap();
        std::fs::write(root.join("key.pem"), &authority.key_pem).unwrap();
        let [dns, dot, doh] = [free_port(), free_port(), free_port()];
        // Without its packet cache, which knows nothing of who asks, and patient, as a busy machine needs it. Without a
        // limit to its queue: a worker of 1.7 may count a connection as taken before it was counted as queued, and
        // whatever comes in between is closed, for the queue has 2^64 - 1 then.
        let config = format!(
            r#"setLocal("{dns}")
addTLSLocal("{dot}", "{root}/chain.pem", "{root}/key.pem")
addDOHLocal("{doh}", "{root}/chain.pem", "{root}/key.pem", "/dns-query")
setACL({{"127.0.0.0/8"}})
newServer({{address="{backend}", source="127.4.0.1", useProxyProtocol=true, checkInterval=1, checkTimeout=20000, maxCheckFailures=20}})
setMaxTCPQueuedConnections(0)
setTCPRecvTimeout(20)
setTCPSendTimeout(20)
known = newNMG()
known:addMask("127.6.0.0/16")
addAction(NetmaskGroupRule(known), SetProxyProtocolValuesAction({{[224]="lop-6a"}}))
"#,
            root = root.display()
        );
        std::fs::write(root.join("dnsdist.conf"), config).unwrap();
        let child = Command::new(program)
            .args(["--supervised", "--disable-syslog", "-C"])
            .arg(root.join("dnsdist.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let dnsdist = Dnsdist { child, dns, dot, doh, _directory: directory };
        for address in [dns, dot, doh] {
            wait_for("dnsdist to serve", || TcpStream::connect(address).ok());
        }
        Some(dnsdist)
    }
}

impl Drop for Dnsdist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_answer_through_dnsdist_is_that_of_the_client_behind_it() {
    let upstream = Upstream::start("game.example. 300 IN A 192.0.2.1\n");
    let config = "[access]\nallow = [\"127.1.0.0/16\"]\nproxies = [\"127.4.0.0/16\"]\n\
                  [list.games]\ncategory = \"games\"\nfile = \"games.txt\"\n[profile.school]\nblock = [\"games\"]\n\
                  [client.lop-6a]\nnetworks = [\"127.2.0.0/16\"]\nids = [\"lop-6a\"]\nprofile = \"school\"\n";
    let files = Files { config: with_upstream(config, upstream.v4), files: &[("games.txt", "game.example\n")] };
    let resolver = InProcess::start(&files);
    let authority = Authority::new();
    let Some(dnsdist) = Dnsdist::start(resolver.v4, &authority) else { return skip("dnsdist is not installed") };
    // At home, of the class, a stranger, and a stranger of whom dnsdist says who it is.
    let expected = [("127.1.0.1", 0), ("127.2.0.1", 3), ("127.9.0.1", 5), ("127.6.0.1", 3)];
    wait_for("dnsdist to find us", || {
        let ask =
            Ask { from: Some("127.2.0.1".parse().unwrap()), tcp: true, ..Ask::new("game.example", RecordType::A) };
        let mut connection = ask.connect(dnsdist.dns);
        connection.try_send(&ask.encode()).then(|| connection.receive())?.filter(|answer| answer[3] & 0xf == 3)
    });
    for (from, code) in expected {
        for tcp in [false, true] {
            let ask = Ask { from: Some(from.parse().unwrap()), tcp, ..Ask::new("game.example", RecordType::A) };
            assert_eq!(ask.send(dnsdist.dns).rcode(), code, "{from} tcp: {tcp}");
        }
        let query = Ask::new("game.example", RecordType::A).encode();
        let way = |to| Way { from: from.parse().unwrap(), to, server_name: NAME };
        let told = authority.dot(&way(dnsdist.dot), b"", &query).expect("DoT is answered");
        assert_eq!(u16::from(told.metadata.response_code), code, "DoT: {from}");
        // By HTTP/2: some of its versions speak nothing else.
        let (status, body) = authority.doh_2(&way(dnsdist.doh), &query).expect("DoH is answered");
        let told = Message::from_vec(&body).unwrap();
        assert_eq!((status, u16::from(told.metadata.response_code)), (200, code), "DoH: {from}");
    }
    let dropped = resolver.metric_sum("lachan_proxy_dropped_total");
    assert_eq!(dropped, 0, "its headers were all good, those of its health checks too");
}
