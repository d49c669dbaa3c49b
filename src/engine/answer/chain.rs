//! What of an answer section answers the question: the chain of aliases from its name, and the records at the chain's end.
//!
//! Upstream may put anything beside that. Nobody asked for it, nothing vouches for it (RFC 2181 §5.4.1), and a cache behind
//! us could believe it: it is neither kept nor delivered.

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use crate::engine::answer::{Answer, AnswerBuilder, RecordRef, Section};
use crate::engine::limits::CHAIN_MAX;
use crate::engine::name::Name;
use crate::engine::query::{Question, RecordType};

impl Answer {
    /// The same with only that in its answer section which answers `question`, in the order of the chain: CNAMEs, DNAMEs
    /// that make them, the records of the wanted type at the end, each once, and the signatures of all these.
    ///
    /// A CNAME that is missing beside its DNAME is added (RFC 6672 §3.1), so that policy sees every name of the chain.
    pub fn answering(self, question: &Question) -> Answer {
        if self.is_straight(question) {
            return self;
        }
        let mut made = self.empty_like();
        Chain::of(&self, &mut made).follow(question);
        for record in self.records().filter(|r| r.section != Section::Answer) {
            made.push(record.section, record.owner, record.rtype, record.ttl, record.rdata);
        }
        made.finish()
    }

    /// Whether the chain of aliases from the question's name comes back to itself: nothing is at its end, for there is none.
    pub fn is_ring(&self, question: &Question) -> bool {
        if matches!(question.qtype, RecordType::CNAME | RecordType::ANY) {
            return false;
        }
        let aliases = self.section(Section::Answer).filter(|record| record.rtype == RecordType::CNAME).count();
        let mut name = question.qname.as_wire();
        // A longer chain is too long, whether it is a ring or not.
        for _ in 0..=aliases.min(CHAIN_MAX) {
            let mut at_name = self.section(Section::Answer).filter(|record| record.owner.eq_ignore_ascii_case(name));
            if at_name.clone().any(|record| record.rtype == question.qtype) {
                return false;
            }
            let Some(alias) = at_name.find(|record| record.rtype == RecordType::CNAME) else { return false };
            name = alias.rdata;
        }
        aliases <= CHAIN_MAX
    }

    /// Where the chain of an answer that is [`answering`](Answer::answering) leads; `None`: there are no aliases.
    pub fn end_of_chain(&self) -> Option<Name> {
        let last = self.section(Section::Answer).filter(|record| record.rtype == RecordType::CNAME).last()?;
        Name::from_wire(last.rdata).ok()
    }

    /// This chain, with what was found at its end so many seconds ago.
    pub fn with_end(&self, end: &Answer, age_secs: u32) -> Answer {
        let mut made = AnswerBuilder::new(end.rcode);
        made.answer.authentic_data = self.authentic_data && end.authentic_data;
        made.answer.ede = self.ede.iter().chain(&end.ede).cloned().collect();
        for record in self.section(Section::Answer) {
            made.push(Section::Answer, record.owner, record.rtype, record.ttl, record.rdata);
        }
        for record in end.records() {
            let ttl = record.ttl.saturating_sub(age_secs);
            made.push(record.section, record.owner, record.rtype, ttl, record.rdata);
        }
        made.finish()
    }

    /// Whether it holds signatures or proofs of absence that nobody asked for: those without DO. RFC 4035 §3.2.1.
    pub fn has_proofs(&self, question: &Question) -> bool {
        question.qtype != RecordType::ANY && self.records().any(|record| is_proof_type(record.rtype, question))
    }

    /// The same without them.
    pub fn without_proofs(self, question: &Question) -> Answer {
        if !self.has_proofs(question) {
            return self;
        }
        let mut made = self.empty_like();
        for record in self.records().filter(|record| !is_proof_type(record.rtype, question)) {
            made.push(record.section, record.owner, record.rtype, record.ttl, record.rdata);
        }
        made.finish()
    }

    /// [`answering`](Answer::answering), for a client that asks for proofs (DO) or does not.
    pub fn answering_for(self, question: &Question, dnssec_ok: bool) -> Answer {
        let answer = self.answering(question);
        if dnssec_ok { answer } else { answer.without_proofs(question) }
    }

    /// What is said of no record.
    fn empty_like(&self) -> AnswerBuilder {
        let mut made = AnswerBuilder::new(self.rcode);
        made.answer.authentic_data = self.authentic_data;
        made.answer.truncated = self.truncated;
        made.answer.ede = self.ede.clone();
        made
    }

    /// Whether the answer section is a short chain in order already, with nothing beside it: nearly every answer is.
    pub fn is_straight(&self, question: &Question) -> bool {
        let wanted = question.qtype;
        let mut name = question.qname.as_wire();
        let mut at_end: SmallVec<[&[u8]; STRAIGHT_RECORDS_MAX]> = SmallVec::new();
        for (i, record) in self.section(Section::Answer).enumerate() {
            if i >= STRAIGHT_RECORDS_MAX || !record.owner.eq_ignore_ascii_case(name) || wanted == RecordType::ANY {
                return false;
            }
            if record.rtype == wanted && !at_end.contains(&record.rdata) {
                at_end.push(record.rdata);
            } else if record.rtype == RecordType::CNAME && at_end.is_empty() && wanted != RecordType::CNAME {
                name = record.rdata;
            } else {
                return false;
            }
        }
        wanted != RecordType::CNAME || at_end.len() < 2
    }
}

fn is_proof_type(rtype: RecordType, question: &Question) -> bool {
    matches!(rtype, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3) && rtype != question.qtype
}

/// A longer answer is worth sorting. Chosen: real chains have five aliases, real names a dozen addresses.
const STRAIGHT_RECORDS_MAX: usize = 24;

struct Chain<'a> {
    /// The answer section by owner: a broken one may be thousands of records that are looked at for each alias.
    records: HashMap<Name, Vec<RecordRef<'a>>>,
    dnames: Vec<(Name, RecordRef<'a>)>,
    kept: HashSet<(&'a [u8], RecordType, &'a [u8])>,
    made: &'a mut AnswerBuilder,
}

impl<'a> Chain<'a> {
    fn of(answer: &'a Answer, made: &'a mut AnswerBuilder) -> Chain<'a> {
        let mut chain = Chain { records: HashMap::new(), dnames: Vec::new(), kept: HashSet::new(), made };
        for record in answer.section(Section::Answer) {
            let Ok(owner) = Name::from_wire(record.owner) else { continue };
            if record.rtype == RecordType::DNAME {
                chain.dnames.push((owner.clone(), record));
            }
            chain.records.entry(owner).or_default().push(record);
        }
        chain
    }

    fn follow(&mut self, question: &Question) {
        let wanted = question.qtype;
        let is_wanted = |r: &RecordRef<'_>| r.rtype == wanted || wanted == RecordType::ANY;
        let mut name = question.qname.clone();
        // One alias more than policy walks, so that it sees that there are too many. A ring of them is kept once.
        for _ in 0..=CHAIN_MAX {
            // Before aliases: some types may be beside a CNAME (RFC 4034 §4).
            if wanted != RecordType::CNAME && self.at(&name).any(|r| is_wanted(&r)) {
                break;
            }
            let Some(target) = self.alias(&name) else { break };
            if wanted == RecordType::CNAME {
                return;
            }
            name = target;
        }
        self.keep(&name, wanted, is_wanted);
    }

    /// Keeps what makes `name` an alias, and says of which name.
    fn alias(&mut self, name: &Name) -> Option<Name> {
        let cname = self.at(name).find(|r| r.rtype == RecordType::CNAME);
        let target = cname.and_then(|r| Name::from_wire(r.rdata).ok());
        let dname = self.dname_above(name);
        let made = dname.as_ref().and_then(|(owner, r)| substitute(name, owner, r.rdata));
        if let Some((owner, dname)) = dname
            && (target.is_none() || target == made)
        {
            self.keep(&owner, RecordType::DNAME, |r| *r == dname);
            if let (None, Some(made)) = (&target, &made) {
                self.made.push(Section::Answer, name.as_wire(), RecordType::CNAME, dname.ttl, made.as_wire());
            }
        }
        if let Some(cname) = cname {
            self.keep(name, RecordType::CNAME, |r| *r == cname);
        }
        // Neither: no alias, or one too long to be a name (RFC 6672 §2.2).
        target.or(made)
    }

    fn at(&self, name: &Name) -> impl Iterator<Item = RecordRef<'a>> {
        self.records.get(name).into_iter().flatten().copied()
    }

    /// A DNAME and its owner, which `name` is below.
    fn dname_above(&self, name: &Name) -> Option<(Name, RecordRef<'a>)> {
        self.dnames.iter().find(|(owner, _)| owner != name && name.is_at_or_below(owner)).cloned()
    }

    /// Keeps those of `owner`'s records of a type that are it, and the signatures of that type.
    fn keep(&mut self, owner: &Name, rtype: RecordType, is_it: impl Fn(&RecordRef<'_>) -> bool) {
        // RFC 4034 §3.1.1: a signature begins with the type it covers.
        let covers = |r: &RecordRef<'_>| r.rtype == RecordType::RRSIG && r.rdata.starts_with(&rtype.0.to_be_bytes());
        let records: Vec<_> = self.at(owner).filter(|r| is_it(r)).chain(self.at(owner).filter(covers)).collect();
        for record in records {
            if self.kept.insert((record.owner, record.rtype, record.rdata)) {
                self.made.push(Section::Answer, record.owner, record.rtype, record.ttl, record.rdata);
            }
        }
    }
}

/// `name` with `owner`, which it is below, replaced by `target`. `None`: it would be no name. RFC 6672 §2.2.
fn substitute(name: &Name, owner: &Name, target: &[u8]) -> Option<Name> {
    let (name, owner) = (name.as_wire(), owner.as_wire());
    let made = [&name[..name.len() - owner.len()], target].concat();
    Name::from_wire(&made).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query::Rcode;
    use crate::engine::test_support::{name, question};

    /// Answer records as `OWNER TYPE DATA` with `;` between. RRSIG's data is the type it covers.
    fn said(records: &str) -> Answer {
        let mut made = AnswerBuilder::new(Rcode::NOERROR);
        for record in records.split(';').map(str::trim).filter(|record| !record.is_empty()) {
            let [owner, rtype, data] = record.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let (rtype, rdata) = match rtype {
                "CNAME" => (RecordType::CNAME, name(data).as_wire().to_vec()),
                "DNAME" => (RecordType::DNAME, name(data).as_wire().to_vec()),
                "A" => (RecordType::A, vec![192, 0, 2, data.parse().unwrap()]),
                "NSEC" => (RecordType::NSEC, name(data).as_wire().to_vec()),
                "RRSIG" => (RecordType::RRSIG, [&[0, data.parse().unwrap()][..], &[0; 17]].concat()),
                other => panic!("type {other}"),
            };
            let owner = owner.split('.').flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat()).chain([0]);
            made.push(Section::Answer, &owner.collect::<Vec<_>>(), rtype, 300, &rdata);
        }
        made.finish()
    }

    #[test]
    fn only_the_chain_from_the_question_is_kept() {
        use RecordType as T;
        for (what, qname, qtype, records, expected) in [
            ("plain", "a.b", T::A, "a.b A 1; a.b A 2", "a.b A 1; a.b A 2"),
            ("another owner", "a.b", T::A, "a.b A 1; c.b A 2", "a.b A 1"),
            ("another owner alone", "a.b", T::A, "c.b A 2", ""),
            ("another type", "a.b", T::AAAA, "a.b A 1", ""),
            ("twice the same", "a.b", T::A, "a.b A 1; a.b A 1", "a.b A 1"),
            ("case does not count", "a.b", T::A, "A.B A 1", "A.B A 1"),
            ("chain", "a.b", T::A, "a.b CNAME c.d; c.d CNAME e.f; e.f A 1", "a.b CNAME c.d; c.d CNAME e.f; e.f A 1"),
            (
                "put in order",
                "a.b",
                T::A,
                "e.f A 1; c.d CNAME e.f; a.b CNAME c.d",
                "a.b CNAME c.d; c.d CNAME e.f; e.f A 1",
            ),
            (
                "beside the chain",
                "a.b",
                T::A,
                "a.b CNAME c.d; c.d A 1; x.y A 2; x.y CNAME c.d",
                "a.b CNAME c.d; c.d A 1",
            ),
            ("a chain to nothing", "a.b", T::A, "a.b CNAME c.d; e.f A 1", "a.b CNAME c.d"),
            (
                "of two aliases the first",
                "a.b",
                T::A,
                "a.b CNAME c.d; a.b CNAME e.f; e.f A 1; c.d A 2",
                "a.b CNAME c.d; c.d A 2",
            ),
            ("an alias with data", "a.b", T::A, "a.b CNAME c.d; a.b A 1; c.d A 2", "a.b A 1"),
            ("a ring", "a.b", T::A, "a.b CNAME c.d; c.d CNAME a.b", "a.b CNAME c.d; c.d CNAME a.b"),
            ("the alias itself", "a.b", T::CNAME, "a.b CNAME c.d; c.d CNAME e.f", "a.b CNAME c.d"),
            ("no alias", "a.b", T::CNAME, "x.y CNAME c.d", ""),
            ("beside an alias", "a.b", T::NSEC, "a.b CNAME c.d; a.b NSEC z.b", "a.b NSEC z.b"),
            ("anything", "a.b", T::ANY, "a.b A 1; a.b NSEC z.b; c.d A 2", "a.b A 1; a.b NSEC z.b"),
            (
                "signatures",
                "a.b",
                T::A,
                "a.b CNAME c.d; a.b RRSIG 5; a.b RRSIG 1; c.d RRSIG 1; c.d A 1; c.d A 2; c.d RRSIG 28; x.y RRSIG 1",
                "a.b CNAME c.d; a.b RRSIG 5; c.d A 1; c.d A 2; c.d RRSIG 1",
            ),
            (
                "signatures themselves",
                "a.b",
                T::RRSIG,
                "a.b RRSIG 1; a.b RRSIG 28; a.b A 1",
                "a.b RRSIG 1; a.b RRSIG 28",
            ),
            (
                "a DNAME and its CNAME",
                "x.a.b",
                T::A,
                "a.b DNAME c.d; a.b RRSIG 39; x.a.b CNAME x.c.d; x.c.d A 1",
                "a.b DNAME c.d; a.b RRSIG 39; x.a.b CNAME x.c.d; x.c.d A 1",
            ),
            ("a DNAME alone", "x.a.b", T::A, "A.b DNAME c.d; x.c.d A 1", "A.b DNAME c.d; x.a.b CNAME x.c.d; x.c.d A 1"),
            ("a DNAME of another name", "x.a.b", T::A, "e.b DNAME c.d; x.a.b A 1", "x.a.b A 1"),
            ("a DNAME at the name", "a.b", T::A, "a.b DNAME c.d; c.d A 1", ""),
            ("the DNAME itself", "a.b", T::DNAME, "a.b DNAME c.d; a.b RRSIG 39", "a.b DNAME c.d; a.b RRSIG 39"),
            (
                "a DNAME that did not make it",
                "x.a.b",
                T::A,
                "a.b DNAME c.d; x.a.b CNAME e.f; e.f A 1",
                "x.a.b CNAME e.f; e.f A 1",
            ),
            ("a DNAME's CNAME", "x.a.b", T::CNAME, "a.b DNAME c.d", "a.b DNAME c.d; x.a.b CNAME x.c.d"),
        ] {
            assert_eq!(said(records).answering(&question(qname, qtype)), said(expected), "{what}");
        }
    }

    #[test]
    fn a_ring_of_aliases_is_known() {
        use RecordType as T;
        for (records, qtype, expected) in [
            ("a.b CNAME a.b", T::A, true),
            ("a.b CNAME A.B", T::A, true),
            ("a.b CNAME c.d; c.d CNAME a.b", T::A, true),
            ("a.b CNAME c.d; c.d CNAME e.f; e.f CNAME c.d", T::A, true),
            ("a.b CNAME c.d; c.d CNAME a.b", T::CNAME, false),
            ("a.b CNAME c.d; c.d CNAME a.b", T::ANY, false),
            ("a.b CNAME c.d", T::A, false),
            ("a.b CNAME c.d; c.d A 1", T::A, false),
            ("a.b CNAME c.d; c.d CNAME a.b; c.d A 1", T::A, false),
            ("a.b A 1", T::A, false),
            ("x.y CNAME x.y", T::A, false),
            ("", T::A, false),
        ] {
            assert_eq!(said(records).is_ring(&question("a.b", qtype)), expected, "{records}");
        }
        let long: Vec<String> = (0..200).map(|i| format!("n{i}.b CNAME n{}.b", (i + 1) % 200)).collect();
        assert!(!said(&long.join(";")).is_ring(&question("n0.b", T::A)), "that is too long");
    }

    #[test]
    fn proofs_are_for_those_who_ask_for_them() {
        use RecordType as T;
        let records = "a.b RRSIG 1; a.b A 1; a.b NSEC z.b";
        for (qtype, expected, had_some) in [
            (T::A, "a.b A 1", true),
            (T::RRSIG, "a.b RRSIG 1; a.b A 1", true),
            (T::NSEC, "a.b A 1; a.b NSEC z.b", true),
            (T::ANY, records, false),
        ] {
            let question = question("a.b", qtype);
            assert_eq!(said(records).has_proofs(&question), had_some, "{qtype:?}");
            assert_eq!(said(records).without_proofs(&question), said(expected), "{qtype:?}");
        }
        assert!(!said("a.b A 1").has_proofs(&question("a.b", T::A)));
    }

    #[test]
    fn a_chain_is_kept_to_one_name_more_than_policy_walks() {
        let chain: Vec<String> = (0..200).map(|i| format!("n{i}.b CNAME n{}.b", i + 1)).collect();
        let kept = |first: usize| {
            let qname = format!("n{first}.b");
            said(&chain.join(";")).answering(&question(&qname, RecordType::A)).target_names(Section::Answer).count()
        };
        assert_eq!((kept(0), kept(200 - CHAIN_MAX)), (CHAIN_MAX + 1, CHAIN_MAX));
        // A DNAME below itself would make names for ever, and long ones.
        let growing = said("b DNAME b.b").answering(&question("a.b", RecordType::A));
        assert!(growing.records().len() > CHAIN_MAX);
        let long = said(&format!("b DNAME {}", ["x".repeat(60).as_str(); 4].join(".")));
        let too_long = long.clone().answering(&question(&format!("{}.b", "y".repeat(20)), RecordType::A));
        assert_eq!(too_long, long, "RFC 6672 §2.2: YXDOMAIN, and its proof");
    }

    #[test]
    fn everything_else_stays() {
        let mut made = AnswerBuilder::new(Rcode::NXDOMAIN);
        made.answer.authentic_data = true;
        made.push_ede(22, "why").push(Section::Authority, b"\0", RecordType::NS, 60, b"\x01a\0");
        made.push(Section::Additional, b"\x01a\0", RecordType::A, 60, &[192, 0, 2, 1]);
        let answer = made.finish();
        assert_eq!(answer.clone().answering(&question("x.y", RecordType::A)), answer);
    }
}
