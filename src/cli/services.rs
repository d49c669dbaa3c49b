//! `services list`: what `service:NAME` may stand for.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::built_in;
use crate::cli::YES;
use crate::cli::out::{print_json, say};
use crate::engine::category::Categories;

use super::language::Language;

#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// List them, by the group that each belongs to
    List(ServicesListArgs),
}

#[derive(Debug, Args)]
pub struct ServicesListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    title: &'static str,
    group: &'static str,
    names: Vec<&'static str>,
}

pub fn list(args: &ServicesListArgs) -> u8 {
    if args.json {
        let shown = built_in::services().map(|service| Shown {
            name: format!("service:{}", service.id),
            title: service.title,
            group: service.group,
            names: built_in::own_entries(service.text).collect(),
        });
        print_json(&shown.collect::<Vec<_>>());
        return YES;
    }
    let (language, categories) = (Language::of_user(), Categories::built_in());
    let mut group = "";
    for service in built_in::services() {
        if service.group != group {
            group = service.group;
            let titles = categories.id(group).map(|id| categories.get(id));
            let title = titles.map_or(group, |titles| language.pick(&titles.title_en, &titles.title_vi));
            say!("{group} ({title})");
        }
        let count = built_in::own_entries(service.text).count();
        let names = language.pick("names", "tên");
        say!("  {:<24} {} ({count} {names})", format!("service:{}", service.id), service.title);
    }
    YES
}
