//! `fleet`: the nodes that share commands; and how far a command has come among them.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::client::{self, Trouble};
use crate::cli::language::{Language, error_text};
use crate::cli::lists::span;
use crate::cli::out::{print, say};
use crate::cli::{AskArgs, NO, YES, vietnamese};
use crate::daemon::admin::Fleet;
use crate::daemon::clock;
use crate::daemon::fleet::{Missing, Reach, Why};

/// The store may have to be waited for.
const FORGET_TIMER: Duration = Duration::from_secs(15);
/// A node that said nothing for so long is not there.
const SILENT_SECS: u64 = 5;

#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Show every node, when it was heard of last and what it refuses; exit 1 when one is missing
    Status(AskArgs),
    /// Take a node that will not come back out of the fleet
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Its name, or its id as `status --json` shows it
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    ask: AskArgs,
}

/// What a change is answered with: itself, and where it is in force.
#[derive(Debug, Serialize)]
pub struct Told<T> {
    #[serde(flatten)]
    pub told: T,
    /// `None`: there is no fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Reach>,
}

impl<T: Serialize> Told<T> {
    /// Says what was done, and where it is in force; what the command ends with.
    pub fn print(&self, is_json: bool, words: impl FnOnce(&T)) -> u8 {
        print(self, is_json, |done| words(&done.told));
        let Some(reach) = &self.fleet else { return YES };
        if !is_json {
            say!("{}", sentence(Language::of_user(), reach));
        }
        if reach.is_whole() { YES } else { NO }
    }
}

fn sentence(language: Language, reach: &Reach) -> String {
    let Reach { nodes, effective, millis, store_is_away, missing } = reach;
    let is_vietnamese = language == Language::Vietnamese;
    let tenths = (millis + 50) / 100;
    let mut text = match is_vietnamese {
        false => format!("{effective}/{nodes} nodes effective in {}.{} s", tenths / 10, tenths % 10),
        true => format!("{effective}/{nodes} nút có hiệu lực sau {},{} giây", tenths / 10, tenths % 10),
    };
    if *store_is_away {
        text.push_str(language.pick(
            "; the store of the fleet does not answer, others are told when it does",
            "; kho chung không trả lời, các nút khác sẽ được báo khi kho trở lại",
        ));
    }
    if !missing.is_empty() {
        let named: Vec<String> = missing.iter().map(|missing| missing_text(language, missing)).collect();
        text.push_str(&format!("; {}: {}", language.pick("missing", "còn thiếu"), named.join(", ")));
    }
    let comes_later = |missing: &Missing| !matches!(missing.why, Why::Refused { .. });
    if missing.iter().any(comes_later) {
        text.push_str(language.pick(
            "\nWhoever is missing has it when it is back, before it is ready.",
            "\nNút còn thiếu sẽ nhận lệnh khi trở lại, trước khi sẵn sàng phục vụ.",
        ));
    }
    text
}

fn missing_text(language: Language, Missing { node, why }: &Missing) -> String {
    match (why, language) {
        (Why::Silent { secs }, Language::English) => format!("{node} (not heard of for {})", span(*secs)),
        (Why::Silent { secs }, Language::Vietnamese) => format!("{node} (không có tin từ {} trước)", span(*secs)),
        (Why::Late, Language::English) => format!("{node} (has not answered yet)"),
        (Why::Late, Language::Vietnamese) => format!("{node} (chưa trả lời)"),
        (Why::NotTold, Language::English) => format!("{node} (not told yet)"),
        (Why::NotTold, Language::Vietnamese) => format!("{node} (chưa được báo)"),
        (Why::Refused { why }, Language::English) => format!("{node} ({why})"),
        (Why::Refused { why }, Language::Vietnamese) => format!("{node} ({})", vietnamese::told(why)),
    }
}

pub fn run(config: Option<&Path>, command: &FleetCommand) -> Result<u8, Trouble> {
    let (FleetCommand::Status(args) | FleetCommand::Forget(ForgetArgs { ask: args, .. })) = command;
    let address = client::admin_address(args.admin.admin, config)?;
    let fleet: Fleet = match command {
        FleetCommand::Status(_) => client::get_json(address, "/api/v1/fleet", &[])?,
        FleetCommand::Forget(ForgetArgs { node, .. }) => {
            client::post_json(address, "/api/v1/fleet/forget", &[("node", node.as_str())], FORGET_TIMER)?
        }
    };
    let silent = |at: i64| clock::unix_secs().saturating_sub(at as u64);
    let is_well = |fleet: &Fleet| {
        let nodes = fleet.nodes.iter();
        !fleet.store_is_away
            && nodes
                .clone()
                .all(|node| silent(node.at) <= SILENT_SECS && node.refused.is_empty() && node.stuck.is_none())
    };
    print(&fleet, args.json, |fleet| in_words(Language::of_user(), fleet, silent));
    Ok(if is_well(&fleet) { YES } else { NO })
}

fn in_words(language: Language, fleet: &Fleet, silent: impl Fn(i64) -> u64) {
    if fleet.store_is_away {
        say!("{}", language.pick("the store of the fleet does not answer", "kho chung không trả lời"));
    }
    for node in &fleet.nodes {
        let silent = silent(node.at);
        let heard = match (silent > SILENT_SECS, language) {
            (false, _) => language.pick("here", "có mặt").to_owned(),
            (true, Language::English) => format!("not heard of for {}", span(silent)),
            (true, Language::Vietnamese) => format!("không có tin từ {} trước", span(silent)),
        };
        say!("{:<24} {heard}", node.name);
        for why in node.stuck.iter().chain(node.refused.iter().map(|refused| &refused.why)) {
            say!("    {}: {}", language.pick("not in force there", "chưa có hiệu lực ở đó"), error_text(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_where_it_is_in_force() {
        let whole = Reach { nodes: 3, effective: 3, millis: 1_160, store_is_away: false, missing: Vec::new() };
        assert_eq!(sentence(Language::English, &whole), "3/3 nodes effective in 1.2 s");
        assert_eq!(sentence(Language::Vietnamese, &whole), "3/3 nút có hiệu lực sau 1,2 giây");
        let missing = |node: &str, why| Missing { node: node.into(), why };
        let missing = vec![
            missing("b", Why::Silent { secs: 12 }),
            missing("c", Why::Refused { why: "there is no list `ads`; there are adult".into() }),
        ];
        let some = Reach { effective: 1, missing, ..whole };
        assert_eq!(
            sentence(Language::English, &some),
            "1/3 nodes effective in 1.2 s; missing: b (not heard of for 12s), c (there is no list `ads`; there are \
             adult)\nWhoever is missing has it when it is back, before it is ready."
        );
        let told = sentence(Language::Vietnamese, &some);
        assert!(
            told.contains("còn thiếu: b (không có tin từ 12s trước), c (không có danh sách `ads`; hiện có: adult)"),
            "{told}"
        );
        let away = Reach { store_is_away: true, missing: Vec::new(), nodes: 1, ..some };
        assert!(sentence(Language::Vietnamese, &away).contains("kho chung không trả lời"));
        assert!(!away.is_whole());
    }
}
