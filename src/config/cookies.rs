//! `[cookies]`: DNS cookies, and the secrets that a fleet shares.

use std::path::Path;

use crate::engine::cookie::{CookieSettings, Cookies, Secret};
use crate::engine::limits::COOKIE_SECRETS_MAX;

use super::errors::{Sink, Spanned};
use super::files::read_steady;
use super::reader::Section;
use super::spec::not_empty;

/// Octets of a file of secrets, comments included: a line has 33.
const FILE_OCTETS_MAX: u64 = 64 << 10;

/// `[cookies]` as it is written; `None` for each key not given.
pub(super) struct CookiesSpec {
    enabled: Option<bool>,
    secret_file: Option<Spanned<String>>,
}

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> CookiesSpec {
    let spec =
        CookiesSpec { enabled: section.boolean("enabled"), secret_file: section.string("secret_file", not_empty) };
    section.finish(top_level);
    spec
}

pub(super) fn lower(spec: &CookiesSpec, sink: &Sink) -> CookieSettings {
    let secrets = spec.secret_file.as_ref().map(|file| {
        let path = sink.base(file.at).join(&file.value);
        read(&path).unwrap_or_else(|why| {
            sink.error(file.at, format!("`secret_file` in [cookies]: {}: {why}", path.display()));
            None
        })
    });
    match (spec.enabled.unwrap_or(true), secrets) {
        (false, _) => CookieSettings::Off,
        (true, None) => CookieSettings::Random,
        (true, Some(cookies)) => cookies.map_or(CookieSettings::Off, CookieSettings::Given),
    }
}

fn read(path: &Path) -> Result<Option<Cookies>, String> {
    let octets = read_steady(path, FILE_OCTETS_MAX).map_err(|why| why.to_string())?;
    let text = String::from_utf8(octets).map_err(|_| "it is no text".to_owned())?;
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    let mut secrets = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        // The line is not repeated: it may be a secret with a slip in it.
        let secret = Secret::from_hex(line).ok_or_else(|| {
            format!(
                "line {number} is no secret: it has {} characters, must be 32 hexadecimal digits",
                line.chars().count()
            )
        })?;
        secrets.push(secret);
    }
    match secrets.len() {
        0 => Err("it holds no secret: a line of 32 hexadecimal digits, as `openssl rand -hex 16` prints".to_owned()),
        count if count > COOKIE_SECRETS_MAX => Err(format!("it holds {count} secrets, at most {COOKIE_SECRETS_MAX}")),
        _ => Ok(Cookies::new(secrets)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_secrets_is_taken_whole_or_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets");
        let secret = "00112233445566778899aabbccddeeff";
        for (text, expected) in [
            (format!("# of this year\n{secret}\n\n{secret}\n"), Ok(())),
            (
                format!("{secret}\n{secret}0\n"),
                Err("line 2 is no secret: it has 33 characters, must be 32 hexadecimal"),
            ),
            ("# none\n".to_owned(), Err("it holds no secret")),
            (format!("{secret}\n").repeat(9), Err("it holds 9 secrets, at most 8")),
        ] {
            std::fs::write(&file, &text).unwrap();
            match (read(&file), expected) {
                (Ok(cookies), Ok(())) => assert!(cookies.is_some()),
                (Err(why), Err(expected)) => {
                    assert!(why.starts_with(expected), "{why}");
                    assert!(!why.contains("0011"), "a secret is not repeated: {why}");
                }
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
