//! What is wrong with a command line, in Vietnamese: clap finds it, and says which of its kinds it is and about what.
//!
//! `--help` is in `help`. What a value's own reader says (`told`) comes as text, as do clap's tips.

use std::error::Error as _;
use std::fmt::Write as _;

use clap::builder::{StyledStr, Styles};
use clap::error::{ContextKind, ContextValue, ErrorFormatter, ErrorKind};

use super::{help, told};

/// Errors as clap's `RichFormatter` arranges them, in Vietnamese.
pub struct Vietnamese;

type Error = clap::error::Error<Vietnamese>;

impl ErrorFormatter for Vietnamese {
    fn format_error(error: &Error) -> StyledStr {
        let styles = Styles::styled();
        let (head, valid, literal) = (styles.get_error(), styles.get_valid(), styles.get_literal());
        let mut text = format!("{head}lỗi:{head:#} {}", what(error));
        for (i, tip) in tips(error).iter().enumerate() {
            let gap = if i == 0 { "\n\n" } else { "\n" };
            let _ = write!(text, "{gap}  {valid}gợi ý:{valid:#} {tip}");
        }
        if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
            let head = styles.get_usage();
            // Of several ways each has its line.
            let usage = help::usage(&usage.to_string()).replace("\n       ", "\n           ");
            let _ = write!(text, "\n\n{head}Cách dùng:{head:#} {usage}");
        }
        let _ = write!(text, "\n\nĐể biết thêm, hãy chạy với '{literal}--help{literal:#}'.\n");
        text.into()
    }
}

/// What is wrong, with the words that are.
fn what(error: &Error) -> String {
    let argument = text_of(error, ContextKind::InvalidArg);
    let value = text_of(error, ContextKind::InvalidValue);
    let subcommand = text_of(error, ContextKind::InvalidSubcommand);
    let number = |kind| text_of(error, kind);
    match error.kind() {
        ErrorKind::UnknownArgument => format!("không có đối số '{argument}'"),
        ErrorKind::InvalidSubcommand => format!("không có lệnh con '{subcommand}'"),
        ErrorKind::MissingSubcommand => {
            format!("'{subcommand}' cần một lệnh con{}", values(error, "lệnh con", ContextKind::ValidSubcommand))
        }
        ErrorKind::MissingRequiredArgument => {
            format!("thiếu đối số bắt buộc:{}", lines(error, ContextKind::InvalidArg))
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("'{argument}' cần một giá trị{}", values(error, "giá trị", ContextKind::ValidValue))
        }
        ErrorKind::InvalidValue => {
            let possible = values(error, "giá trị", ContextKind::ValidValue);
            format!("giá trị '{value}' của '{argument}' không hợp lệ{possible}")
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map_or_else(String::new, |why| format!(": {}", told(&why.to_string())));
            format!("giá trị '{value}' của '{argument}' không hợp lệ{why}")
        }
        ErrorKind::TooManyValues => format!("thừa giá trị '{value}' của '{argument}'"),
        ErrorKind::TooFewValues => format!(
            "'{argument}' cần ít nhất {} giá trị, mới có {}",
            number(ContextKind::MinValues),
            number(ContextKind::ActualNumValues)
        ),
        ErrorKind::WrongNumberOfValues => format!(
            "'{argument}' cần {} giá trị, đang có {}",
            number(ContextKind::ExpectedNumValues),
            number(ContextKind::ActualNumValues)
        ),
        ErrorKind::NoEquals => format!("giá trị của '{argument}' phải đứng sau dấu bằng"),
        ErrorKind::ArgumentConflict => conflict(error, &argument, &subcommand),
        ErrorKind::InvalidUtf8 => "có đối số không phải UTF-8".to_owned(),
        // Pages, which clap has written, and kinds that came after these.
        kind => error.source().map_or_else(|| kind.to_string(), |why| told(&why.to_string())),
    }
}

fn conflict(error: &Error, argument: &str, subcommand: &str) -> String {
    let prior = error.get(ContextKind::PriorArg);
    let subject = match argument.is_empty() {
        false => format!("đối số '{argument}'"),
        true => format!("lệnh con '{subcommand}'"),
    };
    match prior {
        Some(ContextValue::String(prior)) if prior == argument => format!("{subject} chỉ được ghi một lần"),
        Some(ContextValue::String(prior)) => format!("{subject} không dùng được cùng '{prior}'"),
        Some(ContextValue::Strings(_)) => {
            format!("{subject} không dùng được cùng:{}", lines(error, ContextKind::PriorArg))
        }
        _ => format!("{subject} không dùng được cùng các đối số khác đã ghi"),
    }
}

fn tips(error: &Error) -> Vec<String> {
    let similar = [
        (ContextKind::SuggestedSubcommand, "lệnh con"),
        (ContextKind::SuggestedArg, "đối số"),
        (ContextKind::SuggestedValue, "giá trị"),
    ];
    let mut tips = Vec::new();
    for (kind, thing) in similar {
        let quoted: Vec<String> = texts_of(error, kind).iter().map(|text| format!("'{text}'")).collect();
        if !quoted.is_empty() {
            tips.push(format!("có {thing} gần giống: {}", quoted.join(", ")));
        }
    }
    tips.extend(texts_of(error, ContextKind::Suggested).iter().map(|tip| told(tip)));
    tips
}

fn values(error: &Error, thing: &str, kind: ContextKind) -> String {
    let values = texts_of(error, kind);
    if values.is_empty() { String::new() } else { format!("\n  [{thing}: {}]", values.join(", ")) }
}

fn lines(error: &Error, kind: ContextKind) -> String {
    texts_of(error, kind).iter().map(|text| format!("\n  {text}")).collect()
}

/// Empty: clap says nothing of it.
fn text_of(error: &Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

fn texts_of(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStrs(texts)) => texts.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn said(words: &[&str]) -> String {
        let command = super::super::pages(crate::cli::Cli::command());
        let why = command.try_get_matches_from(words).expect_err("it is no command line");
        let (code, kind) = (why.exit_code(), why.kind());
        let why = why.apply::<Vietnamese>();
        assert_eq!((why.exit_code(), why.kind()), (code, kind));
        // As somebody sees it whose output is no terminal.
        why.render().to_string()
    }

    #[test]
    fn what_is_wrong_with_a_command_line_is_told_in_vietnamese() {
        for (words, expected) in [
            (&["--confg", "a.toml"][..], "lỗi: không có đối số '--confg'\n\n  gợi ý: có đối số gần giống: '--config'"),
            (&["flet"], "lỗi: không có lệnh con 'flet'\n\n  gợi ý: có lệnh con gần giống: 'fleet'"),
            (&["lists"], ""),
            (&["-c"], "lỗi: '--config <FILE>' cần một giá trị"),
            (&["explain"], "lỗi: thiếu đối số bắt buộc:\n  <NAME|URL>"),
            (
                &["config", "reference", "--lang", "fr"],
                "lỗi: giá trị 'fr' của '--lang <LANGUAGE>' không hợp lệ\n  [giá trị: vi, en]",
            ),
            (
                &["lists", "status", "--admin", "x"],
                "lỗi: giá trị 'x' của '--admin <ADDR:PORT>' không hợp lệ: không phải ĐỊA_CHỈ:CỔNG",
            ),
            (
                &["limits", "top", "-n", "0"],
                "lỗi: giá trị '0' của '--count <N>' không hợp lệ: 0 không nằm trong 1..=1000",
            ),
            (
                &["subscribers", "load", "a.csv", "--snapshot", "1", "--delta", "2"],
                "lỗi: đối số '--snapshot <SERIAL>' không dùng được cùng '--delta <SERIAL>'",
            ),
            (&["check", "--config", "a", "--config", "b"], "lỗi: đối số '--config <FILE>' chỉ được ghi một lần"),
            (&["check", "more"], "lỗi: không có đối số 'more'"),
            (&["explain", "--josn", "a"], "gợi ý: có đối số gần giống: '--json'"),
            (&["explain", "a", "-x"], "để dùng '-x' làm giá trị, hãy viết '-- -x'"),
        ] {
            let told = said(&[&["lachan"], words].concat());
            assert!(told.contains(expected), "{words:?}: {told}");
            for english in ["error:", "tip:", "Usage:", "OPTIONS", "COMMAND", "For more", "argument", "value", "exist"]
            {
                assert!(!told.contains(english), "{words:?}: {english}: {told}");
            }
        }
        let told = said(&["lachan", "explain", "--josn", "a"]);
        assert!(told.contains("\n\nCách dùng: lachan explain ") && told.ends_with("'--help'.\n"), "{told}");
    }
}
