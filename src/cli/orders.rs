//! `orders …`: the register of legal orders.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use crate::cli::annex::{OtherColumn, Picked};
use crate::cli::client::{self, Trouble};
use crate::cli::fleet::Told;
use crate::cli::language::Language;
use crate::cli::out::{complain, print, print_json, say};
use crate::cli::{AskArgs, NO, USAGE, YES, annex, person};
use crate::daemon::orders::{
    Asked, BoundBy, BoundTold, Effect, Entered, LetterIn, NodeTold, OrderTold, RememberedTold, Standing, TakenUpTold,
    WorstTold, letter,
};

/// An order of fifty thousand names, and a reload that is under way before it. Chosen.
const CHANGE_TIMER: Duration = Duration::from_secs(300);
/// Names that are shown of an order in a line.
const SHOWN: usize = 3;

#[derive(Debug, Subcommand)]
pub enum OrdersCommand {
    /// Enter an order; a second person approves it
    #[command(
        after_help = "Example:\n  lachan orders add --reference 2898/A05-P5 --authority \"Bộ Công an, A05\" --legal-basis \
                      \"NĐ 147/2024/NĐ-CP\" --expires 2027-12-31 bad.example =only.this.example\n\nA name means itself and \
                      all below; =NAME itself alone. --act-now makes it act at once on one person's word, until a second one \
                      approves it; a phone order does so by itself."
    )]
    Add(AddArgs),
    /// Enter an order with the names of an annex (.xlsx, .csv, or one a line)
    Import(ImportArgs),
    /// Stand behind an order as the second person
    Approve(ActArgs),
    /// Show every order
    List(ListArgs),
    /// Show one order with all its names
    Show(ShowArgs),
    /// Record that the authority, or a court, took an order back
    Revoke(RevokeArgs),
    /// Show what should not wait (exit 1 when there is something), or record that an order was looked at
    Check(CheckArgs),
    /// Ask for every name of an order through the resolver
    Verify(ActArgs),
    /// Write the reply to the authority, as Markdown
    Letter(LetterArgs),
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// The authority's own number
    #[arg(long, value_name = "REF")]
    reference: String,
    /// Whose order it is
    #[arg(long, value_name = "TEXT")]
    authority: String,
    /// The law that it rests on
    #[arg(long, value_name = "TEXT")]
    legal_basis: String,
    /// The number under which another office passed it on
    #[arg(long, value_name = "REF")]
    relayed_as: Option<String>,
    /// What the names are about, for your own books
    #[arg(long, value_name = "NAME")]
    category: Option<String>,
    /// letter, electronic or phone
    #[arg(long, value_name = "HOW")]
    channel: Option<String>,
    /// A network that it is for [default: every client]
    #[arg(long, value_name = "NET")]
    scope: Vec<IpNet>,
    /// The realm of these networks, where several use the same addresses [default: all]
    #[arg(long, value_name = "NUMBER", requires = "scope")]
    realm: Option<u16>,
    /// When it came [default: now]
    #[arg(long, value_name = "TIME")]
    received: Option<String>,
    /// From when it acts [default: now]
    #[arg(long, value_name = "TIME")]
    effective: Option<String>,
    /// Its last day, a time, or `open`
    #[arg(long, value_name = "DATE|open")]
    expires: String,
    /// With `--expires open`: when to ask whether it still should act
    #[arg(long, value_name = "DATE")]
    review_at: Option<String>,
    /// Clients and the public may be told its reference
    #[arg(long)]
    publishable: bool,
    /// SHA-256 of the letter
    #[arg(long, value_name = "HEX")]
    evidence_sha256: Option<String>,
    /// Act at once, on one person's word
    #[arg(long)]
    act_now: bool,
    /// Take URLs for their hosts: everything else there is blocked too
    #[arg(long)]
    host_of_urls: bool,
    /// This protected name or shared platform is to be reached all the same
    #[arg(long = "override", value_name = "NAME")]
    overrides: Vec<String>,
    /// Only look at the lines
    #[arg(long)]
    dry_run: bool,
    /// Who enters it [default: the user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// NAME or =NAME
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    order: OrderArgs,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The annex
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Title of the column with names [default: the one that has them]
    #[arg(long, value_name = "TITLE")]
    column: Option<String>,
    #[command(flatten)]
    order: OrderArgs,
}

#[derive(Debug, Args)]
pub struct ActArgs {
    /// The order's reference
    #[arg(value_name = "REF")]
    reference: String,
    /// Who [default: the user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The order's reference [default: every order]
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// Who [default: the user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    act: ActArgs,
    /// Whose word, and which
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// As whom: `operator`, or `viewer`, who sees hashes of secret names
    #[arg(long, value_name = "ROLE", default_value = "operator", value_parser = ["operator", "viewer"])]
    role: String,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The order's reference
    #[arg(value_name = "REF")]
    reference: String,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
pub struct LetterArgs {
    #[command(flatten)]
    act: ActArgs,
    /// Record that it was sent
    #[arg(long)]
    sent: bool,
    /// vi or en
    #[arg(long, value_name = "LANGUAGE", default_value = "vi", value_parser = ["vi", "en"])]
    lang: String,
}

pub fn run(config: Option<&Path>, command: &OrdersCommand) -> Result<u8, Trouble> {
    match command {
        OrdersCommand::Add(AddArgs { names, order }) => {
            enter(config, names.iter().cloned().enumerate().map(|(i, name)| (i + 1, name)).collect(), order)
        }
        OrdersCommand::Import(args) => import(config, args),
        OrdersCommand::Approve(args) => act(config, "approve", args, &[]),
        OrdersCommand::Revoke(RevokeArgs { act: args, reason }) => act(config, "revoke", args, &[("reason", reason)]),
        OrdersCommand::Check(CheckArgs { reference: Some(reference), by, ask }) => {
            post(config, "check", reference, by.as_deref(), ask, &[])
        }
        OrdersCommand::Check(CheckArgs { reference: None, ask, .. }) => alarms(config, ask),
        OrdersCommand::List(args) => list(config, args),
        OrdersCommand::Show(args) => show(config, args),
        OrdersCommand::Verify(args) => verify(config, args),
        OrdersCommand::Letter(args) => write_letter(config, args),
    }
}

fn import(config: Option<&Path>, args: &ImportArgs) -> Result<u8, Trouble> {
    let ImportArgs { file, column, order } = args;
    let Picked { lines, other } = match annex::lines(file, column.as_deref()) {
        Ok(picked) => picked,
        Err(why) => {
            complain!("lachan: {why}");
            return Ok(USAGE);
        }
    };
    let entered = enter(config, lines, order)?;
    let Some(other) = other else { return Ok(entered) };
    complain!("lachan: {}: {}", file.display(), column_left_out(Language::of_user(), &other));
    Ok(entered.max(NO))
}

fn column_left_out(language: Language, other: &OtherColumn) -> String {
    let OtherColumn { letter, title, names, first: (row, first) } = other;
    match (language, title) {
        (Language::English, Some(title)) => format!(
            "column {letter} ({title:?}) holds {names} names too, which were not taken; the first is {first} in row {row}; \
             --column {title:?} takes that column, --column with the title of the other one says that it is meant alone"
        ),
        (Language::English, None) => format!(
            "column {letter} holds {names} names too, which were not taken; the first is {first} in row {row}; give the \
             columns titles and say which is meant with --column"
        ),
        (Language::Vietnamese, Some(title)) => format!(
            "cột {letter} ({title:?}) cũng có {names} tên miền chưa được nhận, tên đầu tiên là {first} ở dòng {row}; \
             --column {title:?} để nhận cột đó, --column với tiêu đề cột kia để xác nhận chỉ dùng cột ấy"
        ),
        (Language::Vietnamese, None) => format!(
            "cột {letter} cũng có {names} tên miền chưa được nhận, tên đầu tiên là {first} ở dòng {row}; hãy đặt tiêu đề \
             cho các cột và chọn bằng --column"
        ),
    }
}

fn enter(config: Option<&Path>, lines: Vec<(usize, String)>, order: &OrderArgs) -> Result<u8, Trouble> {
    let (numbers, lines) = lines.into_iter().unzip();
    let asked = Asked {
        reference: order.reference.clone(),
        authority: order.authority.clone(),
        legal_basis: order.legal_basis.clone(),
        relayed_as: order.relayed_as.clone(),
        category: order.category.clone(),
        channel: order.channel.clone(),
        lines,
        numbers,
        scope: order.scope.clone(),
        realm: order.realm,
        received: order.received.clone(),
        effective: order.effective.clone(),
        expires: order.expires.clone(),
        review_at: order.review_at.clone(),
        publishable: order.publishable,
        evidence_sha256: order.evidence_sha256.clone(),
        by: person::by(order.by.as_deref()),
        act_now: order.act_now,
        host_of_urls: order.host_of_urls,
        overrides: order.overrides.clone(),
        dry_run: order.dry_run,
    };
    let address = client::admin_address(order.ask.admin.admin, config)?;
    let ask = |asked: &Asked| client::post_body_shared::<Entered>(address, "/api/v1/orders", asked, CHANGE_TIMER);
    let say_lines = |entered: &Entered| {
        for line in entered.lines.iter().filter(|line| !matches!(line.standing, Standing::Accepted { .. })) {
            say!("  {}: {}: {}", line.line, line.text, standing(Language::of_user(), &line.standing));
        }
    };
    let done = ask(&asked).inspect_err(|why| {
        // When no line can be taken nothing is entered, and why is to be told of each.
        if matches!(why, Trouble::Refused(_))
            && !order.ask.json
            && let Ok(looked) = ask(&Asked { dry_run: true, ..asked.clone() })
            && looked.told.counts().0 == 0
        {
            say_lines(&looked.told);
        }
    })?;
    let code = done.print(order.ask.json, |entered| {
        let language = Language::of_user();
        say_lines(entered);
        let (held, left) = entered.counts();
        match language {
            Language::English => say!("{held} lines taken, {left} not"),
            Language::Vietnamese => say!("đã nhận {held} dòng, không nhận {left} dòng"),
        }
        if let Some(told) = &entered.order {
            say_order(language, told);
        }
    });
    Ok(if done.told.left_out().next().is_some() { NO } else { code })
}

fn standing(language: Language, standing: &Standing) -> String {
    let vi = language == Language::Vietnamese;
    match standing {
        Standing::Accepted { name, .. } => name.clone(),
        Standing::AlreadyOrdered { by, .. } if vi => format!("đã nhận; cũng thuộc yêu cầu {}", by.join(", ")),
        Standing::AlreadyOrdered { by, .. } => format!("taken; ordered already by {}", by.join(", ")),
        Standing::Repeated { name, line } if vi => format!("{name} đã có ở dòng {line}"),
        Standing::Repeated { name, line } => format!("{name} is already on line {line}"),
        Standing::Url { host } if vi => {
            format!("là URL, DNS không chặn được một trang; --host-of-urls sẽ chặn toàn bộ {host}")
        }
        Standing::Url { host } => format!("a URL: DNS cannot block a page; --host-of-urls blocks all of {host}"),
        Standing::Address if vi => "là địa chỉ IP, DNS không chặn được".to_owned(),
        Standing::Address => "an address: not done by DNS".to_owned(),
        Standing::SharedPlatform { name, such_as } if vi => {
            format!("nền tảng dùng chung (sẽ chặn cả {such_as}); nếu vẫn cần: --override {name}")
        }
        Standing::SharedPlatform { name, such_as } => {
            format!("a shared platform ({such_as} would be blocked too); --override {name} blocks it all the same")
        }
        Standing::ProtectedName { name } if vi => format!("tên được bảo vệ; nếu vẫn cần: --override {name}"),
        Standing::ProtectedName { name } => format!("a protected name; --override {name} blocks it all the same"),
        Standing::Unreadable { why } => why.clone(),
    }
}

fn say_order(language: Language, told: &OrderTold) {
    let OrderTold { reference, authority, names, entered_by, effective, expires, .. } = told;
    let state = language.pick(&told.state, &told.state_vi);
    let (count, shown) = (names.len(), names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "));
    let more = if count > SHOWN { ", …" } else { "" };
    let approved = told.approved_by.as_deref().unwrap_or("–");
    let end = match expires.as_str() {
        "open" => language.pick("on, with no end", "trở đi, không thời hạn").to_owned(),
        end => format!("{} {end}", language.pick("to", "đến")),
    };
    match language {
        Language::English => {
            say!("{reference} ({authority}): {state}; {effective} {end}; by {entered_by} and {approved}");
            say!("    {count} names: {shown}{more}");
        }
        Language::Vietnamese => {
            say!("{reference} ({authority}): {state}; từ {effective} {end}; {entered_by} nhập, {approved} duyệt");
            say!("    {count} tên miền: {shown}{more}");
        }
    }
    let alarms = if language == Language::Vietnamese { &told.alarms_vi } else { &told.alarms_en };
    alarms.iter().for_each(|alarm| say!("    ! {alarm}"));
}

fn act(config: Option<&Path>, what: &str, args: &ActArgs, more: &[(&str, &str)]) -> Result<u8, Trouble> {
    post(config, what, &args.reference, args.by.as_deref(), &args.ask, more)
}

fn post(
    config: Option<&Path>,
    what: &str,
    reference: &str,
    by: Option<&str>,
    ask: &AskArgs,
    more: &[(&str, &str)],
) -> Result<u8, Trouble> {
    let done: Told<OrderTold> = post_act(config, what, reference, by, ask, more)?;
    Ok(done.print(ask.json, |told| say_order(Language::of_user(), told)))
}

fn post_act<T: serde::de::DeserializeOwned>(
    config: Option<&Path>,
    what: &str,
    reference: &str,
    by: Option<&str>,
    ask: &AskArgs,
    more: &[(&str, &str)],
) -> Result<Told<T>, Trouble> {
    let by = person::by(by);
    let query = [&[("reference", reference), ("by", by.as_str())], more].concat();
    let address = client::admin_address(ask.admin.admin, config)?;
    client::post_shared(address, &format!("/api/v1/orders/{what}"), &query, CHANGE_TIMER)
}

fn all(config: Option<&Path>, role: &str, ask: &AskArgs) -> Result<Vec<OrderTold>, Trouble> {
    let address = client::admin_address(ask.admin.admin, config)?;
    client::get_json(address, "/api/v1/orders", &[("role", role)])
}

fn list(config: Option<&Path>, args: &ListArgs) -> Result<u8, Trouble> {
    let orders = all(config, &args.role, &args.ask)?;
    let language = Language::of_user();
    match orders.as_slice() {
        _ if args.ask.json => print_json(&orders),
        [] => say!("{}", language.pick("there is no order", "chưa có yêu cầu nào")),
        orders => orders.iter().for_each(|told| say_order(language, told)),
    }
    Ok(YES)
}

fn show(config: Option<&Path>, args: &ShowArgs) -> Result<u8, Trouble> {
    let orders = all(config, &args.list.role, &args.list.ask)?;
    let language = Language::of_user();
    let Some(told) = orders.iter().find(|order| order.reference == args.reference) else {
        complain!("lachan: {} {}", language.pick("there is no order", "không có yêu cầu"), args.reference);
        return Ok(NO);
    };
    if args.list.ask.json {
        print_json(told);
        return Ok(YES);
    }
    say_order(language, told);
    told.names.iter().skip(SHOWN).for_each(|name| say!("      {name}"));
    if let Some(remembered) = &told.remembered {
        say!("    {}", slowest(language, remembered));
        for name in &remembered.cached {
            match language {
                Language::English => say!("      {}: at most {} s", name.name, name.secs),
                Language::Vietnamese => say!("      {}: không quá {} giây", name.name, name.secs),
            }
        }
    }
    Ok(YES)
}

/// The client that may remember longest what it was told before the order.
fn slowest(language: Language, remembered: &RememberedTold) -> String {
    let RememberedTold { since, limit_secs, worst, .. } = remembered;
    match (language, worst) {
        (Language::English, None) => format!("in force here since {since}; no client can remember an older answer"),
        (Language::Vietnamese, None) => {
            format!("có hiệu lực tại đây từ {since}; không máy khách nào còn nhớ câu trả lời cũ")
        }
        (Language::English, Some(WorstTold { name, bound: BoundTold { secs, by }, until, .. })) => {
            let by = match by {
                BoundBy::Cache => format!("by the TTL left in the cache ({name})"),
                BoundBy::Limit => {
                    "by the longest TTL that clients are told; the cache does not have all that was".into()
                }
            };
            format!(
                "in force here since {since}; clients may remember an older answer until {until}, at most {secs} s, {by}; no TTL \
                 told was over {limit_secs} s"
            )
        }
        (Language::Vietnamese, Some(WorstTold { name, bound: BoundTold { secs, by }, until, .. })) => {
            let by = match by {
                BoundBy::Cache => format!("theo TTL còn lại trong bộ nhớ đệm ({name})"),
                BoundBy::Limit => {
                    "theo TTL dài nhất trả cho máy khách, vì bộ nhớ đệm không còn giữ mọi câu trả lời".to_owned()
                }
            };
            format!(
                "có hiệu lực tại đây từ {since}; máy khách có thể còn nhớ câu trả lời cũ đến {until}, không quá {secs} giây, {by}; \
                 không TTL nào đã trả quá {limit_secs} giây"
            )
        }
    }
}

fn alarms(config: Option<&Path>, ask: &AskArgs) -> Result<u8, Trouble> {
    let address = client::admin_address(ask.admin.admin, config)?;
    let problems: Vec<String> = client::get_json(address, "/api/v1/orders/problems", &[])?;
    let orders = all(config, "operator", ask)?;
    let language = Language::of_user();
    let waiting: Vec<&OrderTold> = orders.iter().filter(|order| !order.alarms_en.is_empty()).collect();
    if ask.json {
        print_json(&serde_json::json!({ "orders": waiting, "problems": problems }));
    } else {
        waiting.iter().for_each(|told| say_order(language, told));
        problems.iter().for_each(|problem| say!("! {problem}"));
        if waiting.is_empty() && problems.is_empty() {
            say!("{}", language.pick("nothing waits", "không có gì phải xử lý"));
        }
    }
    Ok(if waiting.is_empty() && problems.is_empty() { YES } else { NO })
}

fn verify(config: Option<&Path>, args: &ActArgs) -> Result<u8, Trouble> {
    let effect: Effect = post_act(config, "verify", &args.reference, args.by.as_deref(), &args.ask, &[])?.told;
    print(&effect, args.ask.json, |effect| {
        let language = Language::of_user();
        for name in &effect.names {
            let what = match name.effective {
                true => language.pick("blocked", "đã chặn"),
                false => language.pick("NOT BLOCKED", "CHƯA CHẶN"),
            };
            say!("  {:<40} {what}  {} µs", name.name, name.micros);
        }
        say_order(language, &effect.order);
        if let Some(remembered) = &effect.order.remembered {
            say!("    {}", slowest(language, remembered));
        }
        effect.nodes.iter().for_each(|node| say!("    {}", of_node(language, node)));
        if let Some(why) = &effect.nodes_unknown {
            say!(
                "    {}",
                language.pick("of other nodes nothing is known: ", "chưa biết gì về các nút khác: ").to_owned() + why
            );
        }
    });
    let is_whole = |node: &NodeTold| node.taken_up.as_ref().is_none_or(|told| told.blocked == told.names);
    let is_effective = effect.names.iter().all(|name| name.effective) && effect.nodes.iter().all(is_whole);
    Ok(if is_effective { YES } else { NO })
}

/// How a node of the fleet took an order up.
fn of_node(language: Language, NodeTold { node, taken_up }: &NodeTold) -> String {
    let Some(TakenUpTold { since, after_secs, names, blocked, micros, forgotten }) = taken_up else {
        return match language {
            Language::English => format!("node {node}: it has not said"),
            Language::Vietnamese => format!("nút {node}: chưa báo"),
        };
    };
    let last = match (language, forgotten) {
        (Language::English, Some((at, _))) => format!("clients forget the older answer by {at}"),
        (Language::English, None) => "no client remembers an older answer".to_owned(),
        (Language::Vietnamese, Some((at, _))) => format!("máy khách quên câu trả lời cũ muộn nhất vào {at}"),
        (Language::Vietnamese, None) => "không máy khách nào còn nhớ câu trả lời cũ".to_owned(),
    };
    match language {
        Language::English => format!(
            "node {node}: in force since {since}, {after_secs} s after it was received; {blocked} of {names} names blocked, the \
             slowest answer {micros} µs; {last}"
        ),
        Language::Vietnamese => format!(
            "nút {node}: có hiệu lực từ {since}, {after_secs} giây sau khi nhận; đã chặn {blocked}/{names} tên miền, câu trả lời \
             chậm nhất {micros} µs; {last}"
        ),
    }
}

fn write_letter(config: Option<&Path>, args: &LetterArgs) -> Result<u8, Trouble> {
    let LetterArgs { act: ActArgs { reference, by, ask }, sent, lang } = args;
    let effect: Effect = post_act(config, "verify", reference, by.as_deref(), ask, &[])?.told;
    let zone = client::time_zone(client::admin_address(ask.admin.admin, config).ok(), config);
    let language = if lang == "en" { LetterIn::English } else { LetterIn::Vietnamese };
    say!("{}", letter(&effect, &zone, language));
    if !effect.names.iter().all(|name| name.effective) {
        let why = Language::of_user().pick("not every name is blocked", "chưa chặn hết các tên miền");
        complain!("lachan: {why}");
        return Ok(NO);
    }
    if *sent {
        post_act::<OrderTold>(config, "report", reference, by.as_deref(), ask, &[])?;
    }
    Ok(YES)
}
