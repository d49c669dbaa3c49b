//! `[contact]`: whom people turn to when something is blocked, told to programs that ask for reasons.

use crate::engine::structured::{Contact, HOTLINE, Language};

use super::errors::{Sink, Spanned};
use super::reader::Section;

/// Contacts of one kind: more would not fit an answer by UDP. Chosen.
const CONTACTS_MAX: usize = 2;
/// Octets of one contact, and of the organisation's name. Chosen, for the same reason.
const CONTACT_OCTETS_MAX: usize = 64;

/// `[contact]` as written.
pub(super) struct ContactSpec {
    tel: Option<Vec<Spanned<String>>>,
    mailto: Option<Vec<Spanned<String>>>,
    organization: Option<Spanned<String>>,
    language: Option<Spanned<Language>>,
}

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> ContactSpec {
    let spec = ContactSpec {
        tel: section.strings("tel", tel),
        mailto: section.strings("mailto", mailto),
        organization: section.string("organization", organization),
        language: section.choice("language", &[("vi", Language::Vietnamese), ("en", Language::English)]),
    };
    section.finish(top_level);
    spec
}

/// RFC 3966 §3: a number of the world begins with `+`, any other says where it is one.
fn tel(text: &str) -> Result<String, String> {
    let number = text.strip_prefix("tel:").unwrap_or(text);
    let (digits, parameters) = number.split_once(';').unwrap_or((number, ""));
    let is_global = digits.starts_with('+');
    let fits = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.' | '(' | ')');
    let has_digit = digits.chars().any(|c| c.is_ascii_digit());
    if !has_digit || !digits.strip_prefix('+').unwrap_or(digits).chars().all(fits) {
        return Err(format!("{text:?} is no telephone number; write it as \"+84-24-1234567\""));
    }
    let context = parameters.split(';').find_map(|parameter| parameter.strip_prefix("phone-context="));
    if !is_global && context.is_none_or(str::is_empty) {
        return Err(format!("{text:?} does not say where it is a number; write it as \"{digits};phone-context=+84\""));
    }
    if parameters.chars().any(|c| !c.is_ascii_graphic() || matches!(c, '"' | '\\' | '<' | '>')) {
        return Err(format!("{text:?} is no telephone number of RFC 3966"));
    }
    short(format!("tel:{number}"))
}

/// RFC 6068.
fn mailto(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '<' | '>' | ',' | '?' | '&');
    match address.split_once('@') {
        Some((user, host))
            if !user.is_empty() && host.contains('.') && !host.contains('@') && address.chars().all(fits) =>
        {
            short(format!("mailto:{address}"))
        }
        _ => Err(format!("{text:?} is no mail address; write it as \"help@example.vn\"")),
    }
}

fn organization(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty".to_owned()),
        text => short(text.to_owned()),
    }
}

fn short(text: String) -> Result<String, String> {
    match text.len() {
        0..=CONTACT_OCTETS_MAX => Ok(text),
        len => Err(format!("{text:?} is {len} octets, at most {CONTACT_OCTETS_MAX}")),
    }
}

pub(super) fn lower(spec: &ContactSpec, sink: &Sink) -> Contact {
    let language = spec.language.as_ref().map_or(Language::Vietnamese, |language| language.value);
    for (key, given) in [("tel", &spec.tel), ("mailto", &spec.mailto)] {
        if let Some(extra) = given.iter().flatten().nth(CONTACTS_MAX) {
            let count = given.iter().flatten().count();
            sink.error(extra.at, format!("`{key}` in [contact] has {count} elements, at most {CONTACTS_MAX}"));
        }
    }
    let tel: Vec<&Spanned<String>> = spec.tel.iter().flatten().collect();
    if language == Language::Vietnamese
        && let Some(first) = tel.first()
        && !tel.iter().any(|number| number.value == HOTLINE)
    {
        let hotline = HOTLINE.trim_start_matches("tel:");
        sink.hint(first.at, format!("`tel` in [contact] leaves out the hotline for children, \"{hotline}\""));
    }
    let mut uris: Vec<String> = match &spec.tel {
        Some(_) => tel.iter().map(|number| number.value.clone()).collect(),
        None => vec![HOTLINE.to_owned()],
    };
    uris.extend(spec.mailto.iter().flatten().map(|address| address.value.clone()));
    Contact { uris, organization: spec.organization.as_ref().map(|name| name.value.clone()), language }
}
