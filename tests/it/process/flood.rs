//! A flood on one socket leaves the rest of the process alive.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hickory_proto::rr::RecordType;

use crate::harness::client::Ask;
use crate::harness::process::{Served, with_upstream};
use crate::harness::resolver::Files;
use crate::harness::wait_for;

/// Asks without a pause, and takes no answer, until told to stop.
fn flood(server: std::net::SocketAddr, stop: &AtomicBool) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    let message = Ask::new("adult.block.lachan.example", RecordType::A).encode();
    while !stop.load(Ordering::Relaxed) {
        // A queue that is full, or a server that is gone: neither ends a flood.
        let _ = socket.send(&message);
    }
}

#[test]
fn a_flood_of_blocked_names_starves_neither_tcp_nor_admin_nor_sigterm() {
    let nobody = "127.0.0.1:9".parse().unwrap();
    let mut served = Served::start(&Files { config: with_upstream("", nobody), files: &[] });
    let (stop, server) = (AtomicBool::new(false), served.v4);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| flood(server, &stop));
        }
        // Each waits as long as a client would, and a starved loop never answers.
        for _ in 0..5 {
            assert_eq!(served.get("/healthz"), "alive\n");
            let told = Ask { tcp: true, ..Ask::new("gambling.block.lachan.example", RecordType::AAAA) }.send(server);
            assert_eq!(told.rcode(), 3);
        }
        let asked_at = Instant::now();
        served.signal("-TERM");
        let status = wait_for("the end of a flooded process", || served.exited());
        stop.store(true, Ordering::Relaxed);
        assert!(status.success(), "{status}, {:?} after SIGTERM", asked_at.elapsed());
    });
}
