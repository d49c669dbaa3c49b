//! `[zone_limit]`: a flood of random names below one domain reaches upstream in a trickle, and nobody else feels it.

use hickory_proto::rr::RecordType;

use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess};
use crate::harness::upstream::Upstream;

const ZONE: &str = "\
$ORIGIN .
$TTL 60
victim.example.   SOA ns. me. 1 3600 600 86400 60
www.victim.example. A 192.0.2.1
lame.example.     SOA ns. me. 1 3600 600 86400 60
;! a.lame.example. rcode=SERVFAIL
other.example.    SOA ns. me. 1 3600 600 86400 60
www.other.example. A 192.0.2.2
";

#[test]
fn a_flood_below_one_zone_reaches_upstream_in_a_trickle() {
    for engine in ["batched", "portable"] {
        let upstream = Upstream::start(ZONE);
        let config = format!(
            "[listen]\ndns = [\"127.0.0.1:0\", \"[::1]:0\"]\nudp_engine = \"{engine}\"\nadmin = \"off\"\n\
             [[upstream]]\nservers = [\"{}\"]\n[zone_limit]\nmode = \"enforce\"\nfailures_per_second = 1\n",
            upstream.v4
        );
        let resolver = InProcess::start(&Files { config, files: &[] });
        let ask = |name: &str| Ask::new(name, RecordType::A).send(resolver.v4);
        assert_eq!(ask("www.other.example").rcode(), 0);
        let mut refused = 0;
        for i in 0..210 {
            let told = ask(&format!("x{i}.victim.example"));
            match told.rcode() {
                3 => {}
                2 => {
                    refused += 1;
                    assert!(told.ede()[0].1.contains("too many questions for this zone fail"), "{:?}", told.ede());
                }
                code => panic!("{engine}: {code}"),
            }
        }
        let asked = upstream.log().iter().filter(|asked| asked.name.contains("victim")).count();
        // Ten seconds of the rate at once, one more that empties the bucket, and a tenth of the others.
        assert!((28..=35).contains(&asked), "{engine}: {asked} of 210 went upstream");
        assert_eq!(refused, 210 - asked, "{engine}");
        assert_eq!(ask("www.other.example").rcode(), 0, "{engine}: what is cached is given on");
        assert_eq!(ask("no.other.example").rcode(), 3, "{engine}: and another zone is nobody's victim");
        let good = (0..12).filter(|i| ask(&format!("n{i}.www.victim.example")).rcode() != 2).count();
        assert!((1..=2).contains(&good), "{engine}: {good}");
    }
}
