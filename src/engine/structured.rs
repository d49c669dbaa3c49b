//! Structured DNS Error: why a name was blocked, for the program of the person who asked — whom to call, why, which kind of harm,
//! whose decision — in JSON where an extended error has its text. RFC-ietf-dnsop-structured-dns-error (approved; in the RFC
//! Editor's queue).
//!
//! What can be said is known when a generation is compiled, so every text lies ready. Which of its two forms goes, or none, is
//! the encoder's: it knows the room.

use std::fmt::Write;

use crate::engine::category::{Categories, Category};
use crate::engine::policy;
use crate::engine::verdict::{Cause, EdeCode, Reason, Rung};

/// The EDNS option by which a client says that it reads these, without data. IANA, DNS EDNS0 Option Codes, as of 2026-10-04.
pub const OPTION: u16 = 26;

/// The hotline for children of Việt Nam: RFC 3966 §5.1.5 wants to be told where a short number is one.
pub const HOTLINE: &str = "tel:111;phone-context=+84";

/// `[contact]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// `tel:` and `mailto:` URIs, the first to be tried first.
    pub uris: Vec<String>,
    /// Whose decision it is.
    pub organization: Option<String>,
    pub language: Language,
}

/// The language of reasons and of the organisation's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Vietnamese,
    English,
}

impl Language {
    /// BCP 47.
    pub fn tag(self) -> &'static str {
        match self {
            Language::Vietnamese => "vi",
            Language::English => "en",
        }
    }
}

impl Default for Contact {
    fn default() -> Contact {
        Contact { uris: vec![HOTLINE.to_owned()], organization: None, language: Language::Vietnamese }
    }
}

/// What is said of one kind of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structured<'a> {
    pub full: &'a str,
    /// Without reason and organisation; empty when nothing that helps is left.
    pub short: &'a str,
}

impl Structured<'_> {
    /// The forms from the longest on, each to be tried where the one before has no room.
    pub fn shorter(self) -> [Self; 3] {
        [self, Structured { full: self.short, ..self }, Structured { full: "", short: "" }]
    }
}

/// Every text of a generation.
#[derive(Debug, Default)]
pub struct Texts {
    /// By kind, then by category; the last of each kind is for none.
    texts: Vec<[Box<str>; 2]>,
    categories: usize,
    /// Whose decision it is.
    organization: Option<String>,
}

/// What a block is for the one who is told. The order is that of [`Texts::texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Order,
    Operator,
    Security,
    Profile,
    /// Of the default profile: the operator's policy for everybody.
    CategoryOfAll,
    CategoryOfProfile,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Order, Kind::Operator, Kind::Security, Kind::Profile, Kind::CategoryOfAll, Kind::CategoryOfProfile];

    /// `None`: what has another code than Blocked, Censored or Filtered, or is nobody's policy, has no structured text.
    fn of(code: EdeCode, reason: &Reason) -> Option<Kind> {
        match (reason.rung, &reason.cause) {
            (_, Cause::Rebinding) => None,
            (Rung::Order, _) => Some(Kind::Order),
            (Rung::Operator, _) => Some(Kind::Operator),
            (Rung::Security, _) => Some(Kind::Security),
            (Rung::Profile, _) => Some(Kind::Profile),
            (Rung::Category, _) if code == EdeCode::BLOCKED => Some(Kind::CategoryOfAll),
            (Rung::Category, _) => Some(Kind::CategoryOfProfile),
            (Rung::LocalData | Rung::SafeSearch | Rung::Forward, _) => None,
        }
    }

    fn says_category(self) -> bool {
        matches!(self, Kind::Security | Kind::CategoryOfAll | Kind::CategoryOfProfile)
    }

    fn reason(self, language: Language) -> &'static str {
        match (self, language) {
            (Kind::Order, Language::Vietnamese) => "Chặn theo yêu cầu của cơ quan có thẩm quyền",
            (Kind::Order, Language::English) => "Blocked by order of a competent authority",
            (Kind::Operator, Language::Vietnamese) => "Nhà cung cấp mạng chặn tên miền này",
            (Kind::Operator, Language::English) => "Blocked by the network operator",
            (Kind::Security, Language::Vietnamese) => "Chặn để bảo vệ bạn",
            (Kind::Security, Language::English) => "Blocked for your safety",
            (Kind::Profile, Language::Vietnamese) => "Chặn theo danh sách riêng của mạng này",
            (Kind::Profile, Language::English) => "Blocked by this network's own list",
            (Kind::CategoryOfAll | Kind::CategoryOfProfile, Language::Vietnamese) => {
                "Chặn theo chính sách của mạng này"
            }
            (Kind::CategoryOfAll | Kind::CategoryOfProfile, Language::English) => "Blocked by this network's policy",
        }
    }

    /// The sub-error. 1 to 4 are kinds of harm; 5 and 6 go with Blocked alone, and none with Censored.
    fn sub_error(self, category: Option<&Category>) -> Option<u8> {
        match self {
            Kind::Order | Kind::Profile | Kind::CategoryOfProfile => None,
            // "DNS Operator Policy", of one that is the network's operator too.
            Kind::Operator => Some(6),
            Kind::Security => Some(match category.map_or("", |category| category.name.as_str()) {
                "malware" | "botnet" | "cryptomining" => 1,
                "phishing" | "scam" => 2,
                _ => 5,
            }),
            // "Network Operator Policy".
            Kind::CategoryOfAll => Some(5),
        }
    }
}

impl Texts {
    pub fn new(contact: &Contact, categories: &Categories) -> Texts {
        let all: Vec<Option<&Category>> = categories.iter().map(|(_, category)| Some(category)).chain([None]).collect();
        let texts = Kind::ALL.iter().flat_map(|kind| all.iter().map(|category| told(*kind, *category, contact)));
        Texts { texts: texts.collect(), categories: all.len(), organization: contact.organization.clone() }
    }

    /// The operator's name, as configured.
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// What is said of a block that is told with this code; `None`: plain text goes.
    pub fn of(&self, code: EdeCode, reason: &Reason) -> Option<Structured<'_>> {
        let kind = Kind::of(code, reason)?;
        let category = policy::category(reason).map_or(self.categories.checked_sub(1)?, |id| usize::from(id.0));
        let [full, short] = self.texts.get(kind as usize * self.categories + category)?;
        Some(Structured { full, short })
    }
}

fn told(kind: Kind, category: Option<&Category>, contact: &Contact) -> [Box<str>; 2] {
    let language = contact.language;
    let title = category.filter(|_| kind.says_category()).map(|category| match language {
        Language::Vietnamese => category.title_vi.as_str(),
        Language::English => category.title_en.as_str(),
    });
    let mut reason = kind.reason(language).to_owned();
    if let Some(title) = title {
        reason.push_str(": ");
        reason.push_str(title);
    }
    let (sub_error, organization) = (kind.sub_error(category), contact.organization.as_deref());
    let full = json(&contact.uris, Some(&reason), sub_error, organization, language);
    [full.into(), json(&contact.uris, None, sub_error, None, language).into()]
}

/// Minified, its names in the order of the draft's examples. Empty: a client would throw it away.
fn json(
    contacts: &[String],
    reason: Option<&str>,
    sub_error: Option<u8>,
    organization: Option<&str>,
    language: Language,
) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !contacts.is_empty() {
        let quoted: Vec<String> = contacts.iter().map(|uri| quote(uri)).collect();
        parts.push(format!("\"c\":[{}]", quoted.join(",")));
    }
    parts.extend(reason.map(|reason| format!("\"j\":{}", quote(reason))));
    parts.extend(sub_error.map(|number| format!("\"s\":{number}")));
    if parts.is_empty() {
        return String::new();
    }
    parts.extend(organization.map(|name| format!("\"o\":{}", quote(name))));
    // Required where there is text in a language.
    if reason.is_some() || organization.is_some() {
        parts.push(format!("\"l\":\"{}\"", language.tag()));
    }
    format!("{{{}}}", parts.join(","))
}

/// A JSON string. RFC 8259 §7.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\x1f' => write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes everything"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::category::CategoryId;
    use crate::engine::verdict::ListId;

    fn reason(rung: Rung, category: Option<CategoryId>) -> Reason {
        Reason { rung, cause: Cause::Rule { list: ListId(0), category, labels: 1, line: None }, target: None }
    }

    #[test]
    fn what_is_said_follows_from_the_reason() {
        let categories = Categories::built_in();
        let contact = Contact { organization: Some("Nhà mạng \"Ví Dụ\"".into()), ..Contact::default() };
        let texts = Texts::new(&contact, &categories);
        let c = r#"{"c":["tel:111;phone-context=+84"]"#;
        let end = r#""o":"Nhà mạng \"Ví Dụ\"","l":"vi"}"#;
        for (rung, category, code, full, short) in [
            (Rung::Security, "malware", 15, r#","j":"Chặn để bảo vệ bạn: mã độc","s":1,"#, r#","s":1}"#),
            (
                Rung::Security,
                "phishing",
                15,
                r#","j":"Chặn để bảo vệ bạn: lừa đảo lấy cắp thông tin","s":2,"#,
                r#","s":2}"#,
            ),
            (
                Rung::Category,
                "adult",
                15,
                r#","j":"Chặn theo chính sách của mạng này: nội dung người lớn","s":5,"#,
                r#","s":5}"#,
            ),
            (Rung::Category, "games", 17, r#","j":"Chặn theo chính sách của mạng này: trò chơi","#, "}"),
            (Rung::Operator, "", 15, r#","j":"Nhà cung cấp mạng chặn tên miền này","s":6,"#, r#","s":6}"#),
            (Rung::Profile, "", 17, r#","j":"Chặn theo danh sách riêng của mạng này","#, "}"),
            (Rung::Order, "", 16, r#","j":"Chặn theo yêu cầu của cơ quan có thẩm quyền","#, "}"),
        ] {
            let told = texts.of(EdeCode(code), &reason(rung, categories.id(category))).unwrap();
            assert_eq!((told.full, told.short), (&*format!("{c}{full}{end}"), &*format!("{c}{short}")), "{rung:?}");
        }
        for rung in [Rung::Forward, Rung::LocalData, Rung::SafeSearch] {
            assert_eq!(texts.of(EdeCode::OTHER, &reason(rung, None)), None, "{rung:?}");
        }
    }

    #[test]
    fn censored_has_no_sub_error_and_filtered_none_of_blocked_alone() {
        let categories = Categories::built_in();
        for language in [Language::Vietnamese, Language::English] {
            let texts = Texts::new(&Contact { language, ..Contact::default() }, &categories);
            for (id, _) in categories.iter() {
                for (rung, code) in [(Rung::Order, 16), (Rung::Category, 17), (Rung::Profile, 17)] {
                    let told = texts.of(EdeCode(code), &reason(rung, Some(id))).unwrap();
                    for text in [told.full, told.short] {
                        let read: serde_json::Value = serde_json::from_str(text).unwrap();
                        assert_eq!(read.get("s"), None, "{rung:?} {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn texts_are_json_and_short_and_nothing_is_left_of_nothing() {
        let categories = Categories::built_in();
        let odd = "a\"\\\n\u{1}ữ".to_owned();
        let contact = Contact { uris: Vec::new(), organization: Some(odd.clone()), language: Language::English };
        let texts = Texts::new(&contact, &categories);
        let told = texts.of(EdeCode::FILTERED, &reason(Rung::Profile, None)).unwrap();
        let read: serde_json::Value = serde_json::from_str(told.full).unwrap();
        assert_eq!(read["o"], odd);
        assert_eq!(read["j"], "Blocked by this network's own list");
        assert_eq!(told.short, "", "without contact and sub-error nothing would be read");
        assert_eq!(told.shorter().map(|form| form.full), [told.full, "", ""]);
    }
}
