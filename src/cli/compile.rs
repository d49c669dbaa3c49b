//! `lists compile`: every configured list in one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::cli::language::{Language, count_of};
use crate::cli::out::{complain, say};
use crate::cli::progress::{self, Otherwise};
use crate::cli::{NO, YES};
use crate::daemon::progress::Progress;
use crate::daemon::reload::Loader;
use crate::daemon::{artefacts, clock};

#[derive(Debug, Args)]
pub struct ListsCompileArgs {
    /// Where the file goes; it is there whole or not at all
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told {
    lists: usize,
    names: usize,
    rules: usize,
    /// Of the file.
    octets: usize,
    hot_octets: usize,
    cold_octets: usize,
    took_ms: u128,
}

pub fn run(config: Option<&Path>, args: &ListsCompileArgs) -> u8 {
    let language = Language::of_user();
    match compile(config, args) {
        Ok(told) if args.json => match serde_json::to_string(&told) {
            Ok(json) => {
                say!("{json}");
                YES
            }
            Err(why) => {
                complain!("lachan: {why}");
                NO
            }
        },
        Ok(told) => {
            let (file, seconds) = (args.output.display(), told.took_ms as f64 / 1000.0);
            let size = told.octets as f64 / f64::from(1 << 20);
            let (lists, rules) = (count_of(told.lists, "list"), count_of(told.rules, "rule"));
            let english = format!(
                "{file}: {rules} of {lists} in {size:.1} MiB, compiled in {seconds:.1} s.\n\
                 To serve from it: [list.NAME] with format = \"compiled\" and file = \"{file}\"."
            );
            let vietnamese = format!(
                "{file}: {} luật của {} danh sách trong {size:.1} MiB, biên dịch trong {seconds:.1} giây.\n\
                 Để dùng: [list.TÊN] với format = \"compiled\" và file = \"{file}\".",
                told.rules, told.lists
            );
            say!("{}", language.pick(&english, &vietnamese));
            YES
        }
        Err(errors) => {
            errors.iter().for_each(|error| complain!("lachan: {error}"));
            let nothing = language.pick("nothing was written", "chưa ghi gì");
            complain!("lachan: {}: {nothing}", args.output.display());
            NO
        }
    }
}

fn compile(config: Option<&Path>, args: &ListsCompileArgs) -> Result<Told, Vec<String>> {
    let began = clock::now();
    // What is written is put in its place whole; a device or a directory would be no more.
    if std::fs::metadata(&args.output).is_ok_and(|about| !about.is_file()) {
        return Err(vec![format!("{}: is there, and is no file", args.output.display())]);
    }
    let progress = Arc::new(Progress::default());
    let telling = progress::tell(Arc::clone(&progress), Otherwise::Nothing);
    let (layer, lists) = Loader::new(config.map(Path::to_owned)).telling(progress).compiled()?;
    telling.end();
    let encoded = crate::engine::compiled::encode(&layer, &lists, "").map_err(|why| vec![why.to_string()])?;
    let octets = encoded.head.len() + encoded.names.len() + encoded.tail.len();
    artefacts::write(&args.output, &encoded).map_err(|why| vec![format!("{}: {why}", args.output.display())])?;
    Ok(Told {
        lists: lists.len(),
        names: layer.names.len(),
        rules: lists.iter().map(|list| list.rules as usize).sum(),
        octets,
        hot_octets: layer.names.hot_octets(),
        cold_octets: layer.names.cold_octets(),
        took_ms: clock::now().saturating_duration_since(began).as_millis(),
    })
}
