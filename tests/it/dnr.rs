//! What `lachan dnr` prints, read by the programs it is for.

use std::path::Path;
use std::process::Command;

use crate::harness::process::{Ran, run};
use crate::harness::skip;

const CONFIG: &str = "\
[listen]
dns = [\"127.0.0.1:0\"]
dot = [\"127.0.0.1:853\"]
doh = [\"127.0.0.1:443\"]
doq = [\"127.0.0.1:853\"]
[tls]
certificate_file = \"elsewhere.pem\"
private_key_file = \"elsewhere.key\"
name = \"dns.example.vn\"
addresses = [\"192.0.2.53\", \"2001:db8::53\"]
[contact]
organization = \"Trường Ví Dụ\"
[profile.default]
[client.lop-6a]
ids = [\"lop-6a\"]
profile = \"default\"
";

fn dnr(directory: &Path, arguments: &[&str]) -> Ran {
    let config = directory.join("lachan.toml");
    std::fs::write(&config, CONFIG).unwrap();
    run(&[&["dnr", "-c", config.to_str().unwrap()][..], arguments].concat())
}

fn form(directory: &Path, name: &str) -> String {
    let ran = dnr(directory, &[name]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

fn program(names: &[&str]) -> Option<String> {
    let found = names.iter().find(|path| Path::new(path).exists()).map(|path| (*path).to_owned());
    if found.is_none() {
        skip(&format!("{} is not installed", names[0]));
    }
    found
}

/// Whether a program takes a file; what it says otherwise.
fn takes(program: &str, arguments: &[&str], file: &Path) {
    let output = Command::new(program).args(arguments).arg(file).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}\n{}", std::fs::read_to_string(file).unwrap());
}

#[test]
fn dnsmasq_takes_it() {
    let Some(dnsmasq) = program(&["/usr/sbin/dnsmasq"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let text = form(directory.path(), "--dnsmasq");
    let file = directory.path().join("dnsmasq.conf");
    std::fs::write(&file, format!("port=0\ndhcp-range=192.0.2.100,192.0.2.200\n{text}")).unwrap();
    takes(&dnsmasq, &["--test", "-C"], &file);
}

#[test]
fn kea_takes_it() {
    let Some(kea) = program(&["/usr/sbin/kea-dhcp4"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let text = form(directory.path(), "--kea");
    let v4 = text.split("\"Dhcp6\"").next().unwrap().trim_end();
    let leases = directory.path().join("leases.csv");
    let lease = format!("\"lease-database\": {{ \"type\": \"memfile\", \"persist\": false, \"name\": {leases:?} }},");
    let v4 = v4.replacen(
        "\"Dhcp4\": {",
        &format!("\"Dhcp4\": {{ \"interfaces-config\": {{ \"interfaces\": [] }}, {lease}"),
        1,
    );
    let file = directory.path().join("kea.conf");
    std::fs::write(&file, format!("{{ {v4} }}")).unwrap();
    takes(&kea, &["-t"], &file);
}

#[test]
fn radvd_takes_it() {
    let Some(radvd) = program(&["/usr/sbin/radvd"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let text = form(directory.path(), "--radvd");
    let file = directory.path().join("radvd.conf");
    std::fs::write(&file, text).unwrap();
    takes(&radvd, &["-c", "-C"], &file);
}

#[test]
fn a_phone_gets_a_profile_that_is_a_property_list() {
    let directory = tempfile::tempdir().unwrap();
    let text = form(directory.path(), "--ios");
    assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{text}");
    assert!(text.contains("<string>Trường Ví Dụ</string>"), "{text}");
    let file = directory.path().join("dns.mobileconfig");
    std::fs::write(&file, &text).unwrap();
    let Some(python) = program(&["/usr/bin/python3", "/usr/local/bin/python3"]) else { return };
    let script = "import plistlib,sys\np=plistlib.load(open(sys.argv[1],'rb'))\n\
                  kinds=sorted(x['DNSSettings']['DNSProtocol'] for x in p['PayloadContent'])\n\
                  assert kinds==['HTTPS','TLS'],kinds\nassert p['PayloadType']=='Configuration'\n\
                  ids=[x['PayloadUUID'] for x in p['PayloadContent']]+[p['PayloadUUID']]\nassert len(set(ids))==3\n";
    takes(&python, &["-c", script], &file);
}

#[test]
fn a_client_of_its_own_has_its_name_and_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let android = dnr(directory.path(), &["--android", "--client", "Lop-6A"]);
    assert!(android.stdout.contains("\nlop-6a.dns.example.vn"), "{android:?}");
    let windows = dnr(directory.path(), &["--windows", "--client", "lop-6a"]);
    assert!(windows.stdout.contains("https://lop-6a.dns.example.vn/dns-query/lop-6a"), "{windows:?}");
    let unknown = dnr(directory.path(), &["--android", "--client", "lop-6b"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("no [client.*] has `lop-6b`"), "{unknown:?}");
    assert_eq!(dnr(directory.path(), &["--android", "--client", "a.b"]).code, 2);
    assert_eq!(dnr(directory.path(), &["--android", "--kea"]).code, 2);
    let all = dnr(directory.path(), &[]);
    for title in ["Kea", "dnsmasq", "ISC DHCP", "MikroTik RouterOS", "radvd", "Android", "Windows 11", "JSON"] {
        assert!(all.stdout.contains(&format!("== {title}\n")), "{title}: {all:?}");
    }
    let nothing = run(&["dnr"]);
    assert_eq!(nothing.code, 1);
    assert!(nothing.stderr.contains("nothing encrypted is configured"), "{nothing:?}");
}

#[test]
fn a_certificate_without_a_wildcard_tells_a_client_by_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("lachan.toml");
    let made = run(&["tls", "self-signed", "--name", "dns.example.vn", "-o", directory.path().to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");
    let text = CONFIG.replace("elsewhere.pem", "fullchain.pem").replace("elsewhere.key", "privkey.pem");
    std::fs::write(&config, &text).unwrap();
    let dnr = |arguments: &[&str]| run(&[&["dnr", "-c", config.to_str().unwrap()][..], arguments].concat());
    let ios = dnr(&["--ios", "--client", "lop-6a"]);
    assert!(
        ios.code == 0 && ios.stdout.contains("<string>https://dns.example.vn/dns-query/lop-6a</string>"),
        "{ios:?}"
    );
    assert!(!ios.stdout.contains("<string>TLS</string>") && !ios.stdout.contains("lop-6a.dns.example.vn"), "{ios:?}");
    assert!(ios.stderr.contains("the certificate is not for *.dns.example.vn"), "{ios:?}");
    let android = dnr(&["--android", "--client", "lop-6a"]);
    assert!(android.code == 1 && android.stderr.contains("the certificate is not for *.dns.example.vn"), "{android:?}");
    // Who is nobody in particular has both.
    assert!(dnr(&["--ios"]).stdout.contains("<string>TLS</string>"));
    std::fs::write(&config, text.replace("doh = [\"127.0.0.1:443\"]\n", "")).unwrap();
    let without = dnr(&["--ios", "--client", "lop-6a"]);
    assert!(without.code == 1 && without.stderr.contains("switch DNS over HTTPS on"), "{without:?}");
}
