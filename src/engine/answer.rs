//! RRsets of an upstream's answer: owner names, CNAME/DNAME/SVCB targets, addresses (A, AAAA, SVCB hints), TTLs.
//!
//! An [`Answer`] is what upstream said and nothing else (I3): decompressed once, kept in one buffer, read by policy, cache
//! and reply. OPT becomes the `ede` list; every other record is kept as octets (RFC 3597).

mod chain;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::limits::{NAME_OCTETS_MAX, NEGATIVE_TTL_SECS_MAX, POSITIVE_TTL_SECS_MAX, RECORDS_MAX};
use crate::engine::name::{Name, NameError, plain_wire, read_labels};
use crate::engine::query::{CLASS_IN, Question, Rcode, RecordType};

/// The three sections that hold records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// A message from upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub rcode: Rcode,
    /// AD as upstream set it. Whether a client sees it is decided when it is delivered.
    pub authentic_data: bool,
    /// TC: the records are not all there.
    pub truncated: bool,
    /// Extended errors of upstream, passed on faithfully.
    pub ede: Vec<Ede>,
    records: Vec<Record>,
    /// Owners and RDATA, uncompressed, end to end.
    octets: Vec<u8>,
}

/// An extended error. RFC 8914.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ede {
    pub code: u16,
    pub text: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    section: Section,
    rtype: RecordType,
    class: u16,
    ttl: u32,
    owner_at: u32,
    rdata_at: u32,
    rdata_len: u16,
    owner_len: u8,
}

/// A record as its readers see it. Names are uncompressed, their case as upstream sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub section: Section,
    pub owner: &'a [u8],
    pub rtype: RecordType,
    pub class: u16,
    pub ttl: u32,
    pub rdata: &'a [u8],
}

/// Why octets are no answer to our question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("it ends early")]
    Cut,
    #[error("it is no response (QR=0)")]
    NotAResponse,
    #[error("its question is not ours")]
    OtherQuestion,
    #[error("a name in it is broken: {0}")]
    Name(#[from] NameError),
    #[error("the data of a {0:?} record is broken")]
    Rdata(RecordType),
    #[error("a record has class {0}")]
    Class(u16),
    #[error("it has {0} records, at most {RECORDS_MAX}")]
    TooManyRecords(usize),
}

impl Answer {
    /// Reads a whole message. The question must be ours: name without regard to case, type and class (RFC 5452 §9.1).
    pub fn from_wire(message: &[u8], question: &Question) -> Result<Answer, AnswerError> {
        let mut builder = AnswerBuilder::new(Rcode::NOERROR);
        builder.read(message, question)?;
        Ok(builder.finish())
    }

    fn clear(&mut self, rcode: Rcode) {
        self.ede.clear();
        self.records.clear();
        self.octets.clear();
        (self.rcode, self.authentic_data, self.truncated) = (rcode, false, false);
    }

    /// The answer with no TTL above so many seconds.
    #[must_use]
    pub fn at_most(mut self, secs: u32) -> Answer {
        self.records.iter_mut().for_each(|record| record.ttl = record.ttl.min(secs));
        self
    }

    pub fn records(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> + Clone {
        self.records.iter().map(|r| RecordRef {
            section: r.section,
            owner: &self.octets[r.owner_at as usize..][..usize::from(r.owner_len)],
            rtype: r.rtype,
            class: r.class,
            ttl: r.ttl,
            rdata: &self.octets[r.rdata_at as usize..][..usize::from(r.rdata_len)],
        })
    }

    pub fn section(&self, section: Section) -> impl Iterator<Item = RecordRef<'_>> + Clone {
        self.records().filter(move |r| r.section == section)
    }

    /// Octets this answer holds, for the cache's bound.
    pub fn size(&self) -> usize {
        size_of::<Answer>()
            + self.octets.len()
            + size_of_val(&*self.records)
            + self.ede.iter().map(|e| size_of::<Ede>() + e.text.len()).sum::<usize>()
    }

    /// NXDOMAIN and NODATA are answers.
    pub fn is_failure(&self) -> bool {
        !self.rcode.is_answer()
    }

    /// Whether a validator says that signatures are wrong or missing: DNSSEC Bogus to NSEC Missing. RFC 8914 §4.7 to §4.13.
    pub fn is_bogus(&self) -> bool {
        self.ede.iter().any(|ede| (6..=12).contains(&ede.code))
    }

    /// Whether nothing in the answer section is of the type that was asked.
    pub fn is_negative(&self, qtype: RecordType) -> bool {
        self.rcode == Rcode::NXDOMAIN
            || !self.section(Section::Answer).any(|r| r.rtype == qtype || qtype == RecordType::ANY)
    }

    /// How long the answer may be kept, in seconds; zero: not at all.
    ///
    /// Positive: the least TTL of the answer section. Negative: also the lesser of the SOA's TTL and minimum, and nothing
    /// without an SOA (RFC 2308 §5).
    pub fn ttl_secs(&self, qtype: RecordType) -> u32 {
        let positive = self.section(Section::Answer).map(|r| r.ttl).min();
        // The DNAME that makes a name too long holds as long as the DNAME does.
        if !self.is_negative(qtype) || self.rcode == Rcode::YXDOMAIN {
            return positive.unwrap_or(0).min(POSITIVE_TTL_SECS_MAX);
        }
        let soa = self.section(Section::Authority).find(|r| r.rtype == RecordType::SOA);
        let Some(negative) = soa.and_then(|r| Some(r.ttl.min(soa_minimum(r.rdata)?))) else { return 0 };
        negative.min(positive.unwrap_or(u32::MAX)).min(NEGATIVE_TTL_SECS_MAX)
    }

    /// Names that a section leads to, each with the type that leads there: CNAME and DNAME targets, SVCB and HTTPS target
    /// names. In order of appearance.
    pub fn targets(&self, section: Section) -> impl Iterator<Item = (RecordType, Name)> + '_ {
        self.section(section).filter_map(|r| {
            let target = match r.rtype {
                RecordType::CNAME | RecordType::DNAME => Name::from_wire(r.rdata).ok(),
                // RFC 9460 §2.5: "." stands for the owner itself, which has been judged.
                RecordType::SVCB | RecordType::HTTPS => {
                    Name::read(r.rdata, 2).ok().map(|(target, _)| target).filter(|target| !target.is_root())
                }
                _ => None,
            };
            Some((r.rtype, target?))
        })
    }

    /// As [`Answer::targets`], the names alone.
    pub fn target_names(&self, section: Section) -> impl Iterator<Item = Name> + '_ {
        self.targets(section).map(|(_, target)| target)
    }

    /// Every address that a section gives: A, AAAA, and the hints of SVCB and HTTPS.
    pub fn addresses(&self, section: Section) -> impl Iterator<Item = IpAddr> + '_ {
        self.section(section).flat_map(|r| {
            let (single, hints) = match r.rtype {
                RecordType::A | RecordType::AAAA => (address(r.rtype, r.rdata), None),
                RecordType::SVCB | RecordType::HTTPS => (None, Some(SvcbHints::of(r.rdata))),
                _ => (None, None),
            };
            single.into_iter().chain(hints.into_iter().flatten())
        })
    }
}

/// The address of an A or AAAA record.
pub fn address(rtype: RecordType, rdata: &[u8]) -> Option<IpAddr> {
    match rtype {
        RecordType::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?).into()),
        RecordType::AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(rdata).ok()?).into()),
        _ => None,
    }
}

/// MINIMUM of an SOA: the last 32 bits.
fn soa_minimum(rdata: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*rdata.last_chunk()?))
}

/// ipv4hint (4) and ipv6hint (6) of a SVCB record. RFC 9460 §7.3.
struct SvcbHints<'a> {
    params: &'a [u8],
    /// The rest of the hint being read and its address length.
    hint: (&'a [u8], usize),
}

impl<'a> SvcbHints<'a> {
    fn of(rdata: &'a [u8]) -> SvcbHints<'a> {
        let params = Name::read(rdata, 2).map_or(&[][..], |(_, end)| &rdata[end..]);
        SvcbHints { params, hint: (&[], 4) }
    }
}

impl Iterator for SvcbHints<'_> {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        loop {
            let (hint, width) = self.hint;
            if hint.len() >= width {
                self.hint.0 = &hint[width..];
                let rtype = if width == 4 { RecordType::A } else { RecordType::AAAA };
                return address(rtype, &hint[..width]);
            }
            let (head, rest) = self.params.split_first_chunk::<4>()?;
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = rest.get(..len)?;
            self.params = &rest[len..];
            match u16::from_be_bytes([head[0], head[1]]) {
                4 => self.hint = (value, 4),
                6 => self.hint = (value, 16),
                _ => {}
            }
        }
    }
}

/// Puts an answer together; also for answers that we make ourselves. Cleared, it is used again with the memory it has.
#[derive(Debug)]
pub struct AnswerBuilder {
    answer: Answer,
    /// Of a message that was read: where the TTLs of its records stand.
    ttl_at: Vec<u16>,
    /// Octets up to the OPT behind all records, or to the end; zero if there is more in it than that.
    plain_len: usize,
    /// Where its names stand that lead elsewhere than to the question.
    pointers_at: Vec<u16>,
}

/// A message that holds its records and at most an OPT behind them: it can be passed on as it came.
#[derive(Debug, Clone, Copy)]
pub struct AsItCame<'a> {
    /// Header, question and records.
    pub octets: &'a [u8],
    /// Where the TTL of each record stands.
    pub ttl_at: &'a [u16],
}

impl AnswerBuilder {
    pub fn new(rcode: Rcode) -> AnswerBuilder {
        let (ede, records, octets) = (Vec::new(), Vec::with_capacity(4), Vec::with_capacity(160));
        let answer = Answer { rcode, authentic_data: false, truncated: false, ede, records, octets };
        AnswerBuilder { answer, ttl_at: Vec::new(), plain_len: 0, pointers_at: Vec::new() }
    }

    /// Forgets everything.
    pub fn clear(&mut self, rcode: Rcode) {
        self.answer.clear(rcode);
    }

    /// Code, AD and TC of the whole.
    pub fn set_head(&mut self, rcode: Rcode, authentic_data: bool, truncated: bool) {
        (self.answer.rcode, self.answer.authentic_data, self.answer.truncated) = (rcode, authentic_data, truncated);
    }

    /// What was put in so far.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// As [`Answer::from_wire`]; what was there is forgotten.
    pub fn read(&mut self, message: &[u8], question: &Question) -> Result<(), AnswerError> {
        self.plain_len = 0;
        self.ttl_at.clear();
        self.pointers_at.clear();
        let mut reader = Reader { message, at: 0, pointers_at: &mut self.pointers_at };
        let header: [u8; 12] = reader.take()?;
        let word = |i: usize| u16::from_be_bytes([header[i], header[i + 1]]);
        let flags = word(2);
        if flags & 0x8000 == 0 {
            return Err(AnswerError::NotAResponse);
        }
        if word(4) != 1 || flags & 0x7800 != 0 {
            return Err(AnswerError::OtherQuestion);
        }
        reader.at = question_end(message, question)?;
        let counts = [word(6), word(8), word(10)].map(usize::from);
        let total: usize = counts.iter().sum();
        if total > RECORDS_MAX {
            return Err(AnswerError::TooManyRecords(total));
        }
        self.answer.clear(Rcode(flags & 0xf));
        self.answer.authentic_data = flags & 0x0020 != 0;
        self.answer.truncated = flags & 0x0200 != 0;
        // A question that was written with a pointer may be made of the header's octets.
        let (mut opt_at, mut is_plain) = (None, reader.at == HEADER + question.qname.as_wire().len() + 4);
        for (section, count) in [Section::Answer, Section::Authority, Section::Additional].into_iter().zip(counts) {
            for _ in 0..count {
                let at = reader.at;
                match reader.record(section, &mut self.answer)? {
                    Put::Record { ttl_at } => {
                        is_plain &= opt_at.is_none();
                        self.ttl_at.push(ttl_at as u16);
                    }
                    Put::Opt => is_plain &= section == Section::Additional && opt_at.replace(at).is_none(),
                    Put::Nothing => is_plain = false,
                }
            }
        }
        self.plain_len = if is_plain { opt_at.unwrap_or(reader.at) } else { 0 };
        Ok(())
    }

    /// The message that was read last, if all that matters in it are the records that were taken from it, and no name in it
    /// is made of octets that differ from reply to reply: header and TTLs.
    pub fn as_it_came<'a>(&'a self, message: &'a [u8]) -> Option<AsItCame<'a>> {
        let octets = message.get(..self.plain_len).filter(|octets| !octets.is_empty())?;
        let is_steady = self.pointers_at.iter().all(|at| is_steady(octets, usize::from(*at), &self.ttl_at));
        is_steady.then_some(AsItCame { octets, ttl_at: &self.ttl_at })
    }

    /// Adds a record of class IN; `owner` and any name in `rdata` are uncompressed.
    pub fn push(&mut self, section: Section, owner: &[u8], rtype: RecordType, ttl: u32, rdata: &[u8]) -> &mut Self {
        let Answer { octets, records, .. } = &mut self.answer;
        let owner_at = octets.len() as u32;
        octets.extend_from_slice(owner);
        let rdata_at = octets.len() as u32;
        octets.extend_from_slice(rdata);
        records.push(Record {
            section,
            rtype,
            class: CLASS_IN,
            ttl,
            owner_at,
            rdata_at,
            rdata_len: rdata.len() as u16,
            owner_len: owner.len() as u8,
        });
        self
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.answer.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.answer.records.is_empty()
    }

    pub fn push_ede(&mut self, code: u16, text: &str) -> &mut Self {
        self.answer.ede.push(Ede { code, text: text.into() });
        self
    }

    pub fn finish(self) -> Answer {
        self.answer
    }
}

const HEADER: usize = 12;

/// Whether none of the octets that a name is read from, one that was read well, belongs to the header or to a TTL.
fn is_steady(message: &[u8], name_at: usize, ttl_at: &[u16]) -> bool {
    let mut at = name_at;
    loop {
        let Some(&octet) = message.get(at) else { return false };
        let end = if octet >= 0xc0 { at + 2 } else { at + 1 + usize::from(octet) };
        if at < HEADER || ttl_at.iter().map(|at| usize::from(*at)).any(|ttl| at < ttl + 4 && ttl < end) {
            return false;
        }
        at = match (octet, message.get(at + 1)) {
            (0, _) => return true,
            (0xc0.., Some(low)) => usize::from(octet & 0x3f) << 8 | usize::from(*low),
            _ => end,
        };
    }
}

/// The end of a message's first question, which must be `question`. RFC 5452 §9.1.
fn question_end(message: &[u8], question: &Question) -> Result<usize, AnswerError> {
    let qname = question.qname.as_wire();
    // Most servers repeat it to the letter.
    let at = if message.get(HEADER..).is_some_and(|rest| rest.starts_with(qname)) {
        HEADER + qname.len()
    } else {
        let (of_message, end) = Name::read(message, HEADER)?;
        if of_message != question.qname {
            return Err(AnswerError::OtherQuestion);
        }
        end
    };
    let Some([a, b, c, d]) = message.get(at..).and_then(|rest| rest.first_chunk()) else {
        return Err(AnswerError::Cut);
    };
    let is_ours = [[*a, *b], [*c, *d]] == [question.qtype.0.to_be_bytes(), question.qclass.to_be_bytes()];
    if is_ours { Ok(at + 4) } else { Err(AnswerError::OtherQuestion) }
}

/// Whether a message's first question is `question`: name without regard to case, type and class. RFC 5452 §9.1.
pub fn asks(message: &[u8], question: &Question) -> bool {
    question_end(message, question).is_ok()
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
    pointers_at: &'a mut Vec<u16>,
}

/// What became of a record that was read.
enum Put {
    /// It is in the answer; its TTL stands there in the message.
    Record {
        ttl_at: usize,
    },
    /// An OPT, taken apart.
    Opt,
    Nothing,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], AnswerError> {
        let octets = self.message.get(self.at..).and_then(|m| m.first_chunk::<N>()).ok_or(AnswerError::Cut)?;
        self.at += N;
        Ok(*octets)
    }

    fn u16(&mut self) -> Result<u16, AnswerError> {
        self.take().map(u16::from_be_bytes)
    }

    fn record(&mut self, section: Section, out: &mut Answer) -> Result<Put, AnswerError> {
        let mut owner = [0; NAME_OCTETS_MAX];
        let mut owner_len = 0;
        self.at = self.name(self.at, &mut owner, &mut owner_len)?;
        let rtype = RecordType(self.u16()?);
        let class = self.u16()?;
        let ttl_at = self.at;
        let ttl = u32::from_be_bytes(self.take()?);
        let len = usize::from(self.u16()?);
        let end = self.at + len;
        let rdata = self.message.get(self.at..end).ok_or(AnswerError::Cut)?;
        let put = if rtype == RecordType::OPT {
            out.rcode = Rcode(out.rcode.0 | ((ttl >> 24) as u16) << 4);
            read_ede(rdata, out);
            Put::Opt
        } else if class != CLASS_IN && section == Section::Additional {
            // TSIG and the like: nothing that an answer needs.
            Put::Nothing
        } else {
            if class != CLASS_IN {
                return Err(AnswerError::Class(class));
            }
            // RFC 2181 §8: a TTL with the top bit set is zero.
            let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
            let owner_at = out.octets.len() as u32;
            out.octets.extend_from_slice(&owner[..usize::from(owner_len)]);
            let rdata_at = out.octets.len();
            self.copy_rdata(rtype, end, &mut out.octets)?;
            check_rdata(rtype, &out.octets[rdata_at..])?;
            // RFC 2308 §5: a negative answer lives no longer than MINIMUM, also in the caches it goes to from here.
            let ttl = match (rtype, section) {
                (RecordType::SOA, Section::Authority) => ttl.min(soa_minimum(&out.octets[rdata_at..]).unwrap_or(0)),
                _ => ttl,
            };
            let rdata_len = u16::try_from(out.octets.len() - rdata_at).map_err(|_| AnswerError::Rdata(rtype))?;
            out.records.push(Record {
                section,
                rtype,
                class,
                ttl,
                owner_at,
                rdata_at: rdata_at as u32,
                rdata_len,
                owner_len,
            });
            Put::Record { ttl_at }
        };
        self.at = end;
        Ok(put)
    }

    /// Copies the name at `at`; says where the next field starts.
    fn name(&mut self, at: usize, out: &mut [u8; NAME_OCTETS_MAX], len: &mut u8) -> Result<usize, AnswerError> {
        let end = read_labels(self.message, at, out, len)?;
        let octets = &self.message[at..end];
        // One that is written out in full stands for itself, and the question is the same in every reply.
        if octets.len() != usize::from(*len) && *octets != [0xc0, HEADER as u8] {
            self.pointers_at.push(at as u16);
        }
        Ok(end)
    }

    /// Copies RDATA that ends at `end`, writing compressed names out in full.
    fn copy_rdata(&mut self, rtype: RecordType, end: usize, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        let broken = AnswerError::Rdata(rtype);
        let (before, names) = name_layout(rtype);
        let start = self.at;
        let head = self.message.get(start..start + before).filter(|_| start + before <= end).ok_or(broken.clone())?;
        out.extend_from_slice(head);
        let mut at = start + before;
        for _ in 0..names {
            let mut name = [0; NAME_OCTETS_MAX];
            let mut len = 0;
            at = self.name(at, &mut name, &mut len)?;
            if at > end {
                return Err(broken);
            }
            out.extend_from_slice(&name[..usize::from(len)]);
        }
        out.extend_from_slice(self.message.get(at..end).ok_or(broken)?);
        Ok(())
    }
}

/// Octets before the first name of a type's RDATA, and how many names follow on each other.
///
/// Types whose names may be compressed: RFC 1035's, and the later ones RFC 3597 §4 tells receivers to decompress.
pub fn name_layout(rtype: RecordType) -> (usize, usize) {
    match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NSAP-PTR, DNAME
        2..=5 | 7..=9 | 12 | 23 | 39 => (0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 1),
        // PX
        26 => (2, 2),
        // SRV
        33 => (6, 1),
        // SIG and RRSIG: signer's name
        24 | 46 => (18, 1),
        // NXT, NSEC
        30 | 47 => (0, 1),
        _ => (0, 0),
    }
}

/// The shapes that policy reads must be right: a broken one would be judged wrongly.
fn check_rdata(rtype: RecordType, rdata: &[u8]) -> Result<(), AnswerError> {
    let good = match rtype {
        RecordType::A => rdata.len() == 4,
        RecordType::AAAA => rdata.len() == 16,
        RecordType::CNAME | RecordType::DNAME | RecordType::NS | RecordType::PTR => Name::from_wire(rdata).is_ok(),
        RecordType::SOA => soa_is_whole(rdata),
        RecordType::SVCB | RecordType::HTTPS => svcb_is_whole(rdata),
        _ => true,
    };
    if good { Ok(()) } else { Err(AnswerError::Rdata(rtype)) }
}

/// Two names and five numbers: the last of them says how long "no" may be kept.
fn soa_is_whole(rdata: &[u8]) -> bool {
    let rname_end = Name::read(rdata, 0).and_then(|(_, end)| Name::read(rdata, end)).map(|(_, end)| end);
    rname_end.is_ok_and(|end| rdata.len() == end + 20)
}

fn svcb_is_whole(rdata: &[u8]) -> bool {
    // RFC 9460 §2.2: the target is not compressed. A pointer would mean one thing here and another to whoever follows it.
    let Some(target) = rdata.get(2..).and_then(plain_wire) else { return false };
    let mut at = 2 + target.len();
    while at < rdata.len() {
        let Some(head) = rdata.get(at..at + 4) else { return false };
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        // A hint that is not whole addresses could hide one from policy.
        let whole = match u16::from_be_bytes([head[0], head[1]]) {
            4 => len.is_multiple_of(4),
            6 => len.is_multiple_of(16),
            _ => true,
        };
        at += 4 + len;
        if !whole || at > rdata.len() {
            return false;
        }
    }
    true
}

fn read_ede(mut options: &[u8], out: &mut Answer) {
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(value) = rest.get(..len) else { return };
        options = &rest[len..];
        if u16::from_be_bytes([head[0], head[1]]) == 15 && value.len() >= 2 && out.ede.len() < 4 {
            let text = String::from_utf8_lossy(&value[2..]);
            out.ede
                .push(Ede { code: u16::from_be_bytes([value[0], value[1]]), text: text.trim_end_matches('\0').into() });
        }
    }
}

#[cfg(test)]
mod tests;
