//! `tls self-signed`: a certificate to try encrypted DNS with.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use crate::cli::language::Language;
use crate::cli::out::{complain, say};
use crate::cli::{NO, YES};

#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Make a certificate that nobody vouches for, to try encrypted DNS with
    #[command(
        after_help = "Examples:\n  lachan tls self-signed --name dns.example.vn -o tls\n  kdig @127.0.0.1 -p 8853 +tls \
                      +tls-ca=tls/fullchain.pem +tls-hostname=dns.example.vn vnexpress.net\n\nWhat it prints goes into the \
                      configuration. A certificate for people's devices comes from an authority that they trust."
    )]
    SelfSigned(SelfSignedArgs),
}

#[derive(Debug, Args)]
pub struct SelfSignedArgs {
    /// The resolver's host name
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    name: String,
    /// Its addresses [default: 127.0.0.1 and ::1]
    #[arg(long = "address", value_name = "ADDR")]
    addresses: Vec<IpAddr>,
    /// Directory for fullchain.pem and privkey.pem
    #[arg(short = 'o', long = "output", value_name = "DIR", default_value = "tls")]
    directory: PathBuf,
}

/// Browsers refuse certificates that live longer than 398 days.
const DAYS: i64 = 397;

pub fn self_signed(args: &SelfSignedArgs) -> u8 {
    match make(args) {
        Ok(()) => YES,
        Err(why) => {
            complain!("lachan: {why}");
            NO
        }
    }
}

fn make(args: &SelfSignedArgs) -> Result<(), String> {
    let language = Language::of_user();
    let failed = |why: rcgen::Error| format!("cannot make a certificate: {why}");
    let mut params = CertificateParams::new(vec![args.name.clone()]).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, args.name.as_str());
    let loopback: [IpAddr; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
    let addresses = if args.addresses.is_empty() { &loopback[..] } else { &args.addresses };
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    let today = jiff::Timestamp::now();
    let day = |at: jiff::Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month() as u8, date.day() as u8)
    };
    // Yesterday: clocks differ.
    let span = |days: i64| jiff::SignedDuration::from_hours(24 * days);
    params.not_before = day(today - span(1));
    params.not_after = day(today + span(DAYS));
    std::fs::create_dir_all(&args.directory).map_err(|why| format!("{}: {why}", args.directory.display()))?;
    let (certificate_file, key_file) = (args.directory.join("fullchain.pem"), args.directory.join("privkey.pem"));
    // Neither is written over what is there: it may be the real one.
    if certificate_file.exists() {
        return Err(is_there(&certificate_file, language));
    }
    let key = match existing_key(&key_file, language)? {
        Some(key) => key,
        None => {
            let key = KeyPair::generate().map_err(failed)?;
            write(&key_file, &key.serialize_pem(), 0o600)?;
            key
        }
    };
    let certificate = params.self_signed(&key).map_err(failed)?;
    write(&certificate_file, &certificate.pem(), 0o644)?;
    say!("[tls]");
    say!("certificate_file = {:?}", certificate_file.display().to_string());
    say!("private_key_file = {:?}", key_file.display().to_string());
    let english = format!(
        "For trials: no device trusts it until it is told to. It is for {} and {}, {DAYS} days.",
        args.name,
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    let vietnamese = format!(
        "Chỉ để thử: chưa thiết bị nào tin chứng chỉ này. Dùng cho {} và {}, trong {DAYS} ngày.",
        args.name,
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    complain!("{}", language.pick(&english, &vietnamese));
    Ok(())
}

/// The key that is there already, when a certificate can be made with it.
fn existing_key(file: &Path, language: Language) -> Result<Option<KeyPair>, String> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(format!("{}: {why}", file.display())),
    };
    let shown = file.display();
    let key = KeyPair::from_pem(&text).map_err(|why| {
        let english = format!(
            "{shown}: is there already, and no certificate can be made with it ({why}); it is left as it is: move it away, or \
             give another directory with -o"
        );
        let vietnamese = format!(
            "{shown}: đã có và không dùng được để tạo chứng chỉ ({why}); tệp được giữ nguyên: hãy chuyển tệp đi nơi khác hoặc \
             chọn thư mục khác bằng -o"
        );
        language.pick(&english, &vietnamese).to_owned()
    })?;
    let english = format!("{shown}: is there already, and the certificate is made with it");
    let vietnamese = format!("{shown}: đã có, chứng chỉ được tạo bằng khóa này");
    complain!("{}", language.pick(&english, &vietnamese));
    Ok(Some(key))
}

fn is_there(file: &Path, language: Language) -> String {
    let shown = file.display();
    let english =
        format!("{shown}: is there already, and is left as it is; move it away, or give another directory with -o");
    let vietnamese =
        format!("{shown}: đã có và được giữ nguyên; hãy chuyển tệp đi nơi khác hoặc chọn thư mục khác bằng -o");
    language.pick(&english, &vietnamese).to_owned()
}

fn write(file: &Path, text: &str, mode: u32) -> Result<(), String> {
    let told = |why: std::io::Error| format!("{}: {why}", file.display());
    let mut made = OpenOptions::new().write(true).create_new(true).mode(mode).open(file).map_err(told)?;
    made.write_all(text.as_bytes()).map_err(told)
}
