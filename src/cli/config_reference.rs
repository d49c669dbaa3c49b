//! `config reference`: every key of a configuration file, as Markdown.

use clap::{Args, Subcommand};

use crate::cli::YES;
use crate::cli::language::Language;
use crate::cli::out::say;
use crate::config::reference::{Key, TABLES, TableOfKeys};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every key: its type, default, unit, what it does, and an example
    Reference(ConfigReferenceArgs),
}

#[derive(Debug, Args)]
pub struct ConfigReferenceArgs {
    /// vi or en [default: by the locale]
    #[arg(long, value_name = "LANGUAGE", value_parser = ["vi", "en"])]
    lang: Option<String>,
}

pub fn run(args: &ConfigReferenceArgs) -> u8 {
    let language = match args.lang.as_deref() {
        Some("vi") => Language::Vietnamese,
        Some(_) => Language::English,
        None => Language::of_user(),
    };
    say!("# {}", language.pick("Configuration of lachan, key by key", "Cấu hình của lachan, theo từng khóa"));
    for TableOfKeys { title, what, keys } in TABLES {
        let top = language.pick("Above the first table", "Phía trên bảng đầu tiên");
        say!("");
        say!("## {}", if title.is_empty() { top } else { title });
        say!("");
        say!("{}", language.pick(what.en, what.vi));
        for Key { name, kind, default, what, example } in *keys {
            say!("");
            say!("### {name}");
            say!("");
            say!("{}", language.pick(what.en, what.vi));
            say!("");
            say!("- {}: {kind}", language.pick("type", "kiểu"));
            say!("- {}: {default}", language.pick("default", "mặc định"));
            say!("- {}: `{name} = {example}`", language.pick("example", "ví dụ"));
        }
    }
    YES
}
