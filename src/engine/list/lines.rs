//! The reader of lines: what all formats share — line ends, comments, refusals, and which format a line is of.
//!
//! A list is read line by line and no line can spoil another. Cosmetic rules are recognised before `#` comments are
//! cut: `news.example##.banner` cut at the `#` would block the newspaper.

use std::collections::HashSet;

use crate::engine::limits::{
    LIST_BAD_LINES_MIN, LIST_BAD_PERCENT_MAX, LIST_LINE_OCTETS_MAX, LIST_SKIPPED_SHOWN_MAX, LIST_SNIFF_LINES_MAX,
};
use crate::engine::list::adblock::Outcome;
use crate::engine::list::names::{NameReaches, Says, is_blank, push_name, words};
use crate::engine::list::special::SpecialRule;
use crate::engine::list::zone::Owners;
use crate::engine::list::{
    Effect, Format, ListError, ListReport, Mark, ParseOptions, Reach, RuleSet, SkipReason, Skipped, adblock, dnsmasq,
    hosts, keywords, names, rpz, unbound,
};

/// Characters of a line that reports show: one row of a terminal.
const SHOWN_CHARS_MAX: usize = 100;
/// Octets at the start of a text where a NUL says that it is no text at all.
const BINARY_LOOK_OCTETS: usize = 1024;
/// First octets of what people compress, archive or encode otherwise: gzip, zip, zstd, xz, UTF-16 either way.
const BINARY_STARTS: &[&[u8]] =
    &[b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\xff\xfe", b"\xfe\xff"];
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads a list. A line that makes no rule is skipped and counted; a text that is no list is refused whole.
pub fn parse(text: &[u8], options: ParseOptions) -> Result<RuleSet, ListError> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    refuse_other_than_text(text)?;
    let mut reader = Reader::new(format_of(text, options), options);
    for line in raw_lines(text) {
        reader.read(line);
    }
    reader.finish()
}

/// As [`parse`] for a text of millions of names: gives `take` the rules about names when there are `piece` of them and
/// forgets them, and returns what is left. `None`: a `$badfilter` line voids rules, and some of them may be given away
/// already; the text has to be read as a whole.
pub fn parse_in_pieces(
    text: &[u8],
    options: ParseOptions,
    piece: usize,
    mut take: impl FnMut(&RuleSet),
) -> Result<Option<RuleSet>, ListError> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    refuse_other_than_text(text)?;
    let mut reader = Reader::new(format_of(text, options), options);
    for line in raw_lines(text) {
        reader.read(line);
        if reader.set.rules.len() >= piece {
            if !reader.void.is_empty() {
                return Ok(None);
            }
            take(&reader.set);
            reader.given += reader.set.rules.len();
            reader.set.rules.clear();
            reader.set.names.clear();
        }
    }
    if reader.given > 0 && !reader.void.is_empty() {
        return Ok(None);
    }
    reader.finish().map(Some)
}

fn format_of(text: &[u8], options: ParseOptions) -> Format {
    match options.format {
        Format::Auto => sniff(text),
        given => given,
    }
}

fn raw_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_suffix(b"\n").unwrap_or(text).split(|&c| c == b'\n')
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw_lines(text).map(<[u8]>::trim_ascii)
}

/// Captive portals, error pages and archives are the commonest things that are no list.
fn refuse_other_than_text(text: &[u8]) -> Result<(), ListError> {
    let start = &text[..text.len().min(BINARY_LOOK_OCTETS)];
    if BINARY_STARTS.iter().any(|magic| text.starts_with(magic)) {
        return Err(ListError::Binary { line: 1 });
    }
    if let Some(nul) = start.iter().position(|&c| c == 0) {
        return Err(ListError::Binary { line: start[..nul].iter().filter(|&&c| c == b'\n').count() as u32 + 1 });
    }
    let Some((i, first)) = lines(text).enumerate().find(|(_, line)| !line.is_empty()) else { return Ok(()) };
    let word = &first[..first.len().min(9)].to_ascii_lowercase();
    if [&b"<html"[..], b"<!doctype", b"<head", b"<?xml", b"<body", b"<title"].iter().any(|tag| word.starts_with(tag)) {
        return Err(ListError::Html { line: i as u32 + 1, text: shown(first) });
    }
    Ok(())
}

/// Decides the format by a vote of the first lines that hold something. At a tie the format whose bare names reach
/// less wins, so that a guess never widens.
fn sniff(text: &[u8]) -> Format {
    let (mut adblock_votes, mut hosts_votes, mut name_votes) = (0, 0, 0);
    let (mut dnsmasq_votes, mut unbound_votes, mut rpz_votes) = (0, 0, 0);
    let mut seen = 0;
    for line in lines(text) {
        if line.starts_with(b"[") && line.to_ascii_lowercase().windows(7).any(|w| w == b"adblock") {
            return Format::Adblock;
        }
        if line.is_empty() || is_comment(line) {
            continue;
        }
        match cut_comment(line) {
            Err(_) => adblock_votes += 1,
            Ok(text) if text.starts_with(b"|") || text.starts_with(b"@@") => adblock_votes += 1,
            Ok(text) if hosts::is_line(text) => hosts_votes += 1,
            Ok(text) if dnsmasq::is_line(text) => dnsmasq_votes += 1,
            Ok(text) if unbound::is_line(text) => unbound_votes += 1,
            Ok(text) if rpz::is_line(text) => rpz_votes += 1,
            Ok(text) if words(text).count() == 1 => name_votes += 1,
            Ok(_) => {}
        }
        seen += 1;
        if seen == LIST_SNIFF_LINES_MAX {
            break;
        }
    }
    let known = adblock_votes.max(hosts_votes).max(name_votes);
    // Languages that say what they are: no line of another format looks like theirs.
    for (votes, format) in
        [(dnsmasq_votes, Format::Dnsmasq), (unbound_votes, Format::Unbound), (rpz_votes, Format::Rpz)]
    {
        if votes > 0 && votes >= known {
            return format;
        }
    }
    if adblock_votes > 0 && adblock_votes >= hosts_votes && adblock_votes >= name_votes {
        Format::Adblock
    } else if hosts_votes > 0 && hosts_votes >= name_votes {
        Format::Hosts
    } else {
        Format::Domains
    }
}

fn is_comment(line: &[u8]) -> bool {
    // `[Adblock Plus 3.13]`, `[uBO]`: a header on any line; an IPv6 address in brackets is not written bare.
    matches!(line[0], b'#' | b'!' | b';' | b'[')
}

/// The line without its comment, trimmed; or the verdict that it is a rule about pages.
///
/// The markers are `##`, `#@#`, `#?#`, `#$#`, `#%#` and their mixtures, and `$$`, `$@$`. They follow the names at once;
/// a blank before the `#` makes a comment of it. A rule that begins with an Adblock anchor may have a `#` of its own.
fn cut_comment(line: &[u8]) -> Result<&[u8], SkipReason> {
    if line.contains(&b'$') && (line.windows(2).any(|w| w == b"$$") || line.windows(3).any(|w| w == b"$@$")) {
        return Err(SkipReason::Cosmetic);
    }
    if !line.contains(&b'#') {
        return Ok(line);
    }
    let hash = line.iter().position(|&c| c == b'#').expect("the line contains it");
    let (before, after) = (&line[..hash], &line[hash + 1..]);
    let marker = after.iter().take(4).find(|c| !matches!(c, b'@' | b'?' | b'$' | b'%'));
    if marker == Some(&b'#') && !before.iter().any(|&c| is_blank(c)) {
        return Err(SkipReason::Cosmetic);
    }
    if before.starts_with(b"|") || before.starts_with(b"@@") {
        let comment = line.windows(2).position(|w| is_blank(w[0]) && w[1] == b'#');
        return Ok(comment.map_or(line, |at| line[..at].trim_ascii_end()));
    }
    Ok(before.trim_ascii_end())
}

struct Reader {
    set: RuleSet,
    /// Rules about names that were given away.
    given: usize,
    format: Format,
    /// Only lines of the hosts format count. The other formats are told apart by their signs.
    hosts_only: bool,
    /// A bare name that stands alone.
    bare: NameReaches,
    /// A name behind an address.
    hosts_reach: Reach,
    line: u32,
    /// Lines that hold something other than a comment.
    content: u32,
    bad: u32,
    first_bad: Option<Skipped>,
    counts: Vec<(SkipReason, u32)>,
    shown: Vec<Skipped>,
    /// Rules that a `$badfilter` takes out again: canonical name, reach, effect.
    void: HashSet<(Vec<u8>, Reach, Effect)>,
    /// Special rules likewise; their line is 0.
    void_specials: HashSet<SpecialRule>,
    owners: Owners,
    zones: unbound::Zones,
    policy_zone: rpz::Zone,
}

impl Reader {
    fn new(format: Format, options: ParseOptions) -> Reader {
        let bare = match format {
            // AdGuard's "domains only" line and a hosts file's name are exactly themselves.
            Format::Hosts | Format::Adblock => Reach::Exact,
            Format::Domains | Format::Auto | Format::Dnsmasq | Format::Unbound | Format::Rpz | Format::Keywords => {
                Reach::Subtree
            }
        };
        Reader {
            set: RuleSet::default(),
            given: 0,
            format,
            hosts_only: options.format == Format::Hosts,
            bare: NameReaches {
                bare: options.bare_reach.unwrap_or(bare),
                // Publishers of wildcard lists mean the name too; their headers say so.
                star: if format == Format::Adblock { Reach::Children } else { Reach::Subtree },
                dot: (format != Format::Adblock).then_some(Reach::Subtree),
            },
            hosts_reach: options.bare_reach.unwrap_or(Reach::Exact),
            line: 0,
            content: 0,
            bad: 0,
            first_bad: None,
            counts: Vec::new(),
            shown: Vec::new(),
            void: HashSet::new(),
            void_specials: HashSet::new(),
            owners: Owners::default(),
            zones: unbound::Zones::default(),
            policy_zone: rpz::Zone::default(),
        }
    }

    /// Reads one line as it stands in the text.
    fn read(&mut self, raw: &[u8]) {
        self.line += 1;
        let line = raw.trim_ascii();
        if line.is_empty() {
            return;
        }
        if self.format == Format::Domains {
            // Nearly every line of the longest lists is one ASCII name; whatever is not takes the long way.
            let says = Says { reach: self.bare.bare, effect: Effect::List, line: self.line, single_label: false };
            if push_name(&mut self.set, line, says).is_ok() {
                self.content += 1;
                return;
            }
        }
        let held = match self.format {
            Format::Rpz => self.read_zone(raw),
            Format::Dnsmasq | Format::Unbound | Format::Keywords => self.read_settings(line),
            Format::Auto | Format::Hosts | Format::Domains | Format::Adblock => self.read_any(line),
        };
        match held {
            Ok(Held::Nothing) => {}
            Ok(Held::Rule) => self.content += 1,
            Err(reason) => {
                self.content += 1;
                self.skip(line, reason);
            }
        }
    }

    /// A line of a zone file, where a blank at the start means something.
    fn read_zone(&mut self, raw: &[u8]) -> Result<Held, SkipReason> {
        let line = raw.trim_ascii_end();
        check_octets(line)?;
        let line = str::from_utf8(line.strip_prefix(BOM).unwrap_or(line)).map_err(|_| SkipReason::NotUtf8)?;
        let held = self.policy_zone.read(&mut self.set, line, self.line)?;
        Ok(if held { Held::Rule } else { Held::Nothing })
    }

    /// A line of a program's settings: `#` begins a comment at the start and behind a blank.
    fn read_settings(&mut self, line: &[u8]) -> Result<Held, SkipReason> {
        check_octets(line)?;
        let line = line.strip_prefix(BOM).unwrap_or(line);
        let comment = line.windows(2).position(|w| is_blank(w[0]) && w[1] == b'#').unwrap_or(line.len());
        let text = if line.starts_with(b"#") { b"" } else { line[..comment].trim_ascii_end() };
        let (set, owners) = (&mut self.set, &mut self.owners);
        match (self.format, text) {
            // `server:` opens the section that the lines below belong to.
            (_, b"" | b"server:") => return Ok(Held::Nothing),
            (Format::Dnsmasq, _) => dnsmasq::parse_line(set, owners, text, self.line, self.bare.bare)?,
            (Format::Keywords, _) => keywords::parse_line(set, text, self.line)?,
            _ => unbound::parse_line(set, owners, &mut self.zones, text, self.line)?,
        }
        Ok(Held::Rule)
    }

    fn read_any(&mut self, line: &[u8]) -> Result<Held, SkipReason> {
        check_octets(line)?;
        if is_comment(line) {
            let cosmetic = self.format == Format::Adblock && is_generic_cosmetic(line);
            return if cosmetic { Err(SkipReason::Cosmetic) } else { Ok(Held::Nothing) };
        }
        if !line.is_ascii() && str::from_utf8(line).is_err() {
            return Err(SkipReason::NotUtf8);
        }
        // Lists glued together keep the BOM of each.
        let line = line.strip_prefix(BOM).unwrap_or(line);
        // A regular expression may hold a `#`.
        if line.starts_with(b"/") && !self.hosts_only {
            // `/word/` is an expression to AdGuard; in a list of names it is more likely the path of an address.
            let is_word = line.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'-' | b'_'));
            if is_word && self.format != Format::Adblock {
                return Err(SkipReason::Path);
            }
            self.read_adblock(line)?;
            return Ok(Held::Rule);
        }
        let text = cut_comment(line)?;
        if text.is_empty() {
            return Ok(Held::Nothing);
        }
        self.read_rule(text)?;
        Ok(Held::Rule)
    }

    fn read_rule(&mut self, text: &[u8]) -> Result<(), SkipReason> {
        if self.hosts_only || hosts::is_line(text) {
            return hosts::parse_line(&mut self.set, text, self.line, self.hosts_reach);
        }
        if self.format == Format::Adblock || adblock::is_line(text) {
            return self.read_adblock(text);
        }
        names::parse_line(&mut self.set, text, self.line, self.bare)
    }

    fn read_adblock(&mut self, text: &[u8]) -> Result<(), SkipReason> {
        let before = self.set.mark();
        if adblock::parse_line(&mut self.set, text, self.line, self.bare.bare)? == Outcome::Void {
            self.take_void(before);
        }
        Ok(())
    }

    /// Takes the rules that a `$badfilter` line made out again and remembers what they void.
    fn take_void(&mut self, before: Mark) {
        while self.set.rules.len() > before.rules {
            let rule = self.set.rules.pop().expect("the loop saw that there is one");
            let name = self.set.names.split_off(rule.start as usize);
            self.void.insert((name, rule.reach, rule.effect));
        }
        self.void_specials
            .extend(self.set.specials.drain(before.specials..).map(|rule| SpecialRule { line: 0, ..rule }));
        if let Some(void) = self.set.addresses.get(before.addresses).copied() {
            self.set.addresses.retain(|rule| rule.net != void.net || rule.effect != void.effect);
        }
    }

    fn skip(&mut self, line: &[u8], reason: SkipReason) {
        match self.counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((reason, 1)),
        }
        let is_bad = is_bad(reason);
        self.bad += u32::from(is_bad);
        let is_first_bad = is_bad && self.first_bad.is_none();
        if is_first_bad || self.shown.len() < LIST_SKIPPED_SHOWN_MAX {
            let skipped = Skipped { line: self.line, reason, text: shown(line) };
            if is_first_bad {
                self.first_bad = Some(skipped.clone());
            }
            if self.shown.len() < LIST_SKIPPED_SHOWN_MAX {
                self.shown.push(skipped);
            }
        }
    }

    fn finish(mut self) -> Result<RuleSet, ListError> {
        let lines = self.line;
        let many = self.bad >= LIST_BAD_LINES_MIN
            && u64::from(self.bad) * 100 > u64::from(self.content) * LIST_BAD_PERCENT_MAX;
        // "404: Not Found" is one line. A broken list never means an empty list (I6).
        let all = self.bad == self.content && self.given + self.set.rule_count() == 0;
        if let Some(first) = self.first_bad.take()
            && (many || all)
        {
            let Skipped { line, reason, text } = first;
            return Err(ListError::MostlyBad { bad: self.bad, lines: self.content, line, text, reason });
        }
        if !self.void.is_empty() {
            let RuleSet { names, rules, .. } = &mut self.set;
            rules.retain(|rule| {
                let start = rule.start as usize;
                let name = names[start..start + usize::from(rule.len)].to_vec();
                !self.void.contains(&(name, rule.reach, rule.effect))
            });
        }
        if !self.void_specials.is_empty() {
            let void = &self.void_specials;
            self.set.specials.retain(|rule| !void.contains(&SpecialRule { line: 0, ..rule.clone() }));
        }
        if self.format == Format::Rpz {
            for line in rpz::Zone::settle(&mut self.set) {
                self.line = line;
                self.skip(b"(an earlier record has the same owner)", SkipReason::Conflict);
            }
            if self.policy_zone.is_open() {
                self.skip(b"(a parenthesis that is never closed)", SkipReason::Record);
            }
        }
        self.counts.sort_unstable();
        self.set.report =
            ListReport { format: Some(self.format), lines, skipped: self.counts, parts: Vec::new(), shown: self.shown };
        Ok(self.set)
    }
}

/// What a line held that was not skipped.
enum Held {
    Nothing,
    Rule,
}

/// Reasons that speak against the list as a whole; the others are things a good list may well hold.
fn is_bad(reason: SkipReason) -> bool {
    match reason {
        SkipReason::NotAName
        | SkipReason::BadAddress
        | SkipReason::Record
        | SkipReason::TooLong
        | SkipReason::Binary
        | SkipReason::NotUtf8 => true,
        SkipReason::SingleLabel
        | SkipReason::Cosmetic
        | SkipReason::Path
        | SkipReason::Modifier
        | SkipReason::Pattern
        | SkipReason::TooManyPatterns
        | SkipReason::TooManyOfOne
        | SkipReason::Directive
        | SkipReason::Action
        | SkipReason::NeedsRecursion
        | SkipReason::OutOfZone
        | SkipReason::Conflict
        | SkipReason::RealAddress
        | SkipReason::TooWide => false,
    }
}

/// Refuses a line that no reader should look at.
fn check_octets(line: &[u8]) -> Result<(), SkipReason> {
    if line.len() > LIST_LINE_OCTETS_MAX {
        return Err(SkipReason::TooLong);
    }
    // Without an early end the loop looks at many octets at once.
    if line.iter().fold(false, |found, &c| found | (c < 0x20 && c != b'\t') | (c == 0x7f)) {
        return Err(SkipReason::Binary);
    }
    Ok(())
}

/// `##.banner`: a rule for all pages, in a format where `#` begins one as often as a comment.
fn is_generic_cosmetic(line: &[u8]) -> bool {
    cut_comment(line).is_err() && line.get(2).is_some_and(|c| !is_blank(*c) && *c != b'#')
}

/// The start of a line as people may see it: at most 100 characters, what a terminal would obey or hide
/// written out, broken UTF-8 as `\u{fffd}`.
pub fn shown(line: &[u8]) -> String {
    // No character is longer than four octets; one more octet tells that there is more.
    let start = String::from_utf8_lossy(&line[..line.len().min(4 * SHOWN_CHARS_MAX + 1)]);
    let mut text = String::new();
    let mut room = SHOWN_CHARS_MAX;
    for c in start.chars() {
        let escaped = is_unseen(c).then(|| c.escape_default());
        let len = escaped.as_ref().map_or(1, ExactSizeIterator::len);
        if len > room {
            text.push('…');
            break;
        }
        room -= len;
        match escaped {
            Some(escaped) => text.extend(escaped),
            None => text.push(c),
        }
    }
    text
}

/// Control characters, and those that turn or hide what stands beside them.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
