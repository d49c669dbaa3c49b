//! A wildcard listener answers from the address that was asked, and each family stays itself.

use hickory_proto::rr::RecordType;

use crate::harness::client::Ask;
use crate::harness::process::Served;
use crate::harness::resolver::Files;
use crate::harness::upstream::Upstream;

#[test]
fn answers_leave_from_the_address_asked() {
    let upstream = Upstream::start("one.example. 300 IN A 192.0.2.1\n;! one.example. delay=5\n");
    // A client by its v4 address: were v4 to arrive mapped over a v6 socket, it would be met here all the same.
    let config = format!(
        "[[upstream]]\nservers = [\"{}\"]\n[list.mine]\ncategory = \"games\"\nfile = \"mine.txt\"\n\
         [profile.school]\nblock = [\"games\"]\n[client.one]\nnetworks = [\"127.0.0.9\"]\nprofile = \"school\"\n\
         [listen]\ndns = [\"0.0.0.0:0\", \"[::]:0\"]\nadmin = \"127.0.0.1:0\"\n",
        upstream.v4
    );
    let served = Served::start(&Files { config, files: &[("mine.txt", "game.example\n")] });
    let (port4, port6) = (served.v4.port(), served.v6.port());
    assert_ne!(port4, port6);
    for name in ["one.example", "adult.block.lachan.example", "localhost"] {
        for server in [
            format!("127.0.0.1:{port4}"),
            format!("127.0.0.3:{port4}"),
            format!("127.9.9.9:{port4}"),
            format!("[::1]:{port6}"),
        ] {
            for tcp in [false, true] {
                // `send` holds that the answer comes from the address asked.
                let told = Ask { tcp, ..Ask::new(name, RecordType::A) }.send(server.parse().unwrap());
                assert_eq!(told.rcode() == 3, name.contains("block"), "{name} at {server}");
            }
        }
    }
    for tcp in [false, true] {
        let ask = Ask { tcp, from: Some("127.0.0.9".parse().unwrap()), ..Ask::new("game.example", RecordType::A) };
        assert_eq!(ask.send(format!("127.0.0.3:{port4}").parse().unwrap()).ede()[0].0, 17);
    }
    // [::] takes no IPv4: nothing listens on its port there.
    let v4 = std::net::TcpStream::connect(("127.0.0.1", port6));
    assert!(v4.is_err(), "[::]:{port6} answers IPv4 as well");
    let page = served.get("/metrics");
    assert!(!page.contains("::ffff:"), "a mapped address appears");
    assert!(served.metric_sum("lachan_queries_total") >= 26);
}
