//! Special rules in a compiled file: written as JSON, since they are few, and read with everything checked that a reader of
//! a list's text would never let by — a pattern that does not compile, a name that is none, data that is no record's.

use std::collections::HashMap;

use crate::engine::answer::Answer;
use crate::engine::limits::{LIST_OWNER_RECORDS_MAX, LIST_OWNER_RULES_MAX};
use crate::engine::list::pattern;
use crate::engine::list::special::From as Begins;
use crate::engine::list::special::{
    Action, Alias, Owner, Pattern, Record, Rewritten, RuleAnswer, SpecialRule, ZoneAction,
};
use crate::engine::matcher::special::{SpecialBuilder, SpecialTable};
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, Question, Rcode};
use crate::engine::verdict::ListId;

/// Longest literal: as long as a name's text can be.
const LITERAL_OCTETS_MAX: usize = 255;

/// Nothing when there are none.
pub(super) fn encode(rules: &[(ListId, SpecialRule)]) -> serde_json::Result<Vec<u8>> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let rules: Vec<(u16, &SpecialRule)> = rules.iter().map(|(list, rule)| (list.0, rule)).collect();
    serde_json::to_vec(&rules)
}

/// `None`: some rule is none.
pub(super) fn read(octets: &[u8], lists: usize) -> Option<SpecialTable> {
    if octets.is_empty() {
        return Some(SpecialTable::default());
    }
    let rules: Vec<(u16, SpecialRule)> = serde_json::from_slice(octets).ok()?;
    let mut counts: HashMap<(u16, &Owner), usize> = HashMap::new();
    for (list, rule) in &rules {
        let count = counts.entry((*list, &rule.owner)).or_default();
        *count += 1;
        if *count > LIST_OWNER_RULES_MAX {
            return None;
        }
    }
    let mut builder = SpecialBuilder::default();
    for (list, rule) in rules {
        if usize::from(list) >= lists || !is_rule(&rule) {
            return None;
        }
        builder.add(ListId(list), rule);
    }
    builder.build()
}

fn is_rule(rule: &SpecialRule) -> bool {
    let is_owner = match &rule.owner {
        Owner::Name { name, .. } => is_name(name),
        Owner::Pattern(pattern) => is_pattern(pattern),
        Owner::Client(_) | Owner::Address(_) => true,
    };
    let is_condition = rule.condition.as_ref().is_none_or(|c| c.deny_allow.iter().all(|name| is_name(name)));
    is_owner && is_condition && is_action(&rule.action)
}

/// Whether these octets are a name, and the one way to write it.
fn is_name(wire: &[u8]) -> bool {
    Name::from_wire(wire).is_ok_and(|name| name.as_wire() == wire)
}

fn is_pattern(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Literal { text, from, ends } => {
            // `^` and `$` stand for a name's ends in the table's own text.
            let is_text = |c: u8| !matches!(c, b'^' | b'$') && !c.is_ascii_uppercase() && !c.is_ascii_control();
            let is_parted = !ends || *from != Begins::Word;
            (1..=LITERAL_OCTETS_MAX).contains(&text.len()) && text.bytes().all(is_text) && is_parted
        }
        Pattern::Regex(source) => source.len() <= LITERAL_OCTETS_MAX * 16 && pattern::compile(&[source]).is_ok(),
    }
}

fn is_action(action: &Action) -> bool {
    let is_rewritten = |answer: &Rewritten| match answer {
        Rewritten::Rcode(rcode) => is_rcode(*rcode),
        Rewritten::Cname(_) => true,
        Rewritten::Record(record) => is_record(record),
    };
    match action {
        Action::Rewrite { answer, .. } => is_rewritten(answer),
        Action::Unrewrite { answer, .. } => answer.as_ref().is_none_or(is_rewritten),
        Action::Zone(ZoneAction::Answer(answer)) => match answer {
            RuleAnswer::Rcode(rcode) => is_rcode(*rcode),
            RuleAnswer::Records(records) => {
                records.all.len() <= LIST_OWNER_RECORDS_MAX && records.all.iter().all(is_record)
            }
            RuleAnswer::Alias(alias) => {
                // A name is one by its type.
                let Alias { target: _, expands: _, ttl: _ } = &**alias;
                true
            }
            RuleAnswer::Nodata | RuleAnswer::Drop | RuleAnswer::TcpOnly => true,
        },
        Action::Block { .. }
        | Action::Except { .. }
        | Action::Zone(ZoneAction::Pass | ZoneAction::Block)
        | Action::Review => true,
    }
}

fn is_rcode(rcode: Rcode) -> bool {
    // RFC 6895 §2.3: twelve bits.
    rcode.0 < 1 << 12
}

/// Whether a message with this record can be read, and nothing of it is lost.
fn is_record(record: &Record) -> bool {
    let question = Question { qname: Name::ROOT, qtype: record.rtype, qclass: CLASS_IN };
    let Ok(len) = u16::try_from(record.rdata.len()) else { return false };
    let rtype = record.rtype.0.to_be_bytes();
    let mut message = vec![0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    for _ in 0..2 {
        message.push(0);
        message.extend_from_slice(&rtype);
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
    }
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(&record.rdata);
    Answer::from_wire(&message, &question).is_ok_and(|answer| answer.records().any(|r| *r.rdata == *record.rdata))
}
