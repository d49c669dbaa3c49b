//! The reader of lines: what all formats share — line ends, comments, refusals, and which format a line is of.
//! Whether a text is a list at all, and of which format, is told by its beginning (`sniff`).
//!
//! A list is read line by line and no line can spoil another. Cosmetic rules are recognised before `#` comments are
//! cut: `news.example##.banner` cut at the `#` would block the newspaper.

use std::collections::HashSet;

use crate::engine::limits::{
    LIST_BAD_LINES_MIN, LIST_BAD_PERCENT_MAX, LIST_LINE_OCTETS_MAX, LIST_PATTERNS_MAX, LIST_SKIPPED_SHOWN_MAX,
};
use crate::engine::list::adblock::Outcome;
use crate::engine::list::names::{NameReaches, Says, is_blank, push_name};
use crate::engine::list::sniff::{cut_comment, is_comment, refuse_other_than_text, sniff};
use crate::engine::list::special::SpecialRule;
use crate::engine::list::zone::Owners;
use crate::engine::list::{
    Effect, Format, ListError, ListReport, Mark, ParseOptions, Reach, RuleSet, SkipReason, Skipped, adblock, dnsmasq,
    hosts, keywords, names, rpz, unbound,
};

/// Characters of a line that reports show: one row of a terminal.
const SHOWN_CHARS_MAX: usize = 100;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads a list. A line that makes no rule is skipped and counted; a text that is no list is refused whole.
pub fn parse(text: &[u8], options: ParseOptions) -> Result<RuleSet, ListError> {
    let mut reader = LineReader::new(Manner::of(text, options)?);
    reader.read(0, text);
    match reader.finish()? {
        Some(rules) => Ok(rules),
        None => unreachable!("nothing was given away and nobody else read"),
    }
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    format: Format,
    options: ParseOptions,
}

impl Manner {
    /// As the first lines of a text tell.
    ///
    /// # Errors
    /// They are of something that is no list.
    pub fn of(start: &[u8], options: ParseOptions) -> Result<Manner, ListError> {
        let start = start.strip_prefix(BOM).unwrap_or(start);
        refuse_other_than_text(start)?;
        let format = match options.format {
            Format::Auto => sniff(start),
            given => given,
        };
        Ok(Manner { format, options })
    }

    /// Whether a line means the same wherever it stands, so that several may read one text.
    pub fn is_free(&self) -> bool {
        match self.format {
            Format::Hosts | Format::Domains | Format::Adblock | Format::Auto => true,
            // Dnsmasq and Unbound void what came before, a zone has owners that go on, keywords are few.
            Format::Dnsmasq | Format::Unbound | Format::Rpz | Format::Keywords => false,
        }
    }
}

/// Reads lines and holds the rules that they make. For a text of millions of names they are given away as they come
/// ([`LineReader::give_names`]), and several readers may share a text ([`LineReader::absorb`]).
#[derive(Debug)]
pub struct LineReader {
    set: RuleSet,
    /// Rules about names that were given away.
    given: usize,
    /// Others read lines of the same text.
    is_shared: bool,
    /// There was a `$badfilter`.
    has_void: bool,
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

impl LineReader {
    pub fn new(Manner { format, options }: Manner) -> LineReader {
        let bare = match format {
            // AdGuard's "domains only" line and a hosts file's name are exactly themselves.
            Format::Hosts | Format::Adblock => Reach::Exact,
            Format::Domains | Format::Auto | Format::Dnsmasq | Format::Unbound | Format::Rpz | Format::Keywords => {
                Reach::Subtree
            }
        };
        LineReader {
            set: RuleSet::default(),
            given: 0,
            is_shared: false,
            has_void: false,
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

    /// Reads whole lines that stand behind `lines_before` others.
    pub fn read(&mut self, lines_before: u32, text: &[u8]) {
        let text = if lines_before == 0 { text.strip_prefix(BOM).unwrap_or(text) } else { text };
        self.line = lines_before;
        if text.is_empty() {
            return;
        }
        for line in text.strip_suffix(b"\n").unwrap_or(text).split(|&c| c == b'\n') {
            self.read_line(line);
        }
    }

    /// Rules about names that are held.
    pub fn names_held(&self) -> usize {
        self.set.rules.len()
    }

    /// Gives `take` the rules about names that are held, and forgets them.
    pub fn give_names(&mut self, take: impl FnOnce(&RuleSet)) {
        take(&self.set);
        self.given += self.set.rules.len();
        self.set.rules.clear();
        self.set.names.clear();
    }

    /// Takes over what another reader made of other lines of the same text.
    pub fn absorb(&mut self, other: LineReader) {
        self.is_shared = true;
        self.has_void |= other.has_void;
        self.given += other.given;
        self.set.take(other.set);
        self.line = self.line.max(other.line);
        self.content += other.content;
        self.bad += other.bad;
        self.first_bad = [self.first_bad.take(), other.first_bad].into_iter().flatten().min_by_key(|bad| bad.line);
        for (reason, count) in other.counts {
            match self.counts.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, sum)) => *sum += count,
                None => self.counts.push((reason, count)),
            }
        }
        self.shown.extend(other.shown);
        self.shown.sort_by_key(|skipped| skipped.line);
        self.shown.truncate(LIST_SKIPPED_SHOWN_MAX);
    }

    /// Reads one line as it stands in the text.
    fn read_line(&mut self, raw: &[u8]) {
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
        self.has_void = true;
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

    /// What is left, with the report. `None`: a `$badfilter` line voids rules that were given away or read by others, or
    /// there are more patterns than a list may have: the text has to be read as a whole, by one.
    ///
    /// # Errors
    /// The text is no list.
    pub fn finish(mut self) -> Result<Option<RuleSet>, ListError> {
        let is_voided = (self.is_shared || self.given > 0) && self.has_void;
        if is_voided || self.is_shared && self.set.patterns > LIST_PATTERNS_MAX {
            return Ok(None);
        }
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
        Ok(Some(self.set))
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
