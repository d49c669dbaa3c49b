//! One entry in words: a head, the message, and behind it where the TTLs stand and upstream's extended errors.
//!
//! The message begins with the question, so that the key is in it: an entry is compared with what was asked for octet by
//! octet after it was copied, and a torn or foreign copy is at worst no hit.

use crate::engine::answer::{Answer, AnswerBuilder, AsItCame, Ede, Section};
use crate::engine::cache::{About, KeyRef};
use crate::engine::limits::CACHED_ANSWER_OCTETS_MAX;
use crate::engine::name::Name;
use crate::engine::policy::Cleared;
use crate::engine::query::{CLASS_IN, Header, Query, Question, Rcode, RecordType, Transport};
use crate::engine::reply::encoder::{self, EdeText, TtlRule};

/// Words of the largest entry.
pub const WORDS_MAX: usize = Head::WORDS + 2 * CACHED_ANSWER_OCTETS_MAX / 8;

const AD: u16 = 1;
const TRUST_AD: u16 = 2;
const DNSSEC_OK: u16 = 4;
const CHECKING_DISABLED: u16 = 8;
const TRUNCATED: u16 = 16;

/// What policy found in an answer: a number that the generation's owner gave, good in that generation alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Note {
    /// The low 48 bits of its number.
    generation: u64,
    pub number: u16,
}

impl Note {
    pub fn new(generation: u64, number: u16) -> Note {
        Note { generation: generation & u64::MAX >> 16, number }
    }

    pub fn to_word(self) -> u64 {
        self.generation << 16 | u64::from(self.number)
    }

    pub fn from_word(word: u64) -> Note {
        Note { generation: word >> 16, number: word as u16 }
    }
}

/// How an entry ages, and what is in it.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    pub hash: u64,
    /// When upstream said it, in milliseconds of the cache's own time.
    pub stored_ms: u64,
    pub ttl_secs: u32,
    pub rcode: Rcode,
    flags: u16,
    message_len: u16,
    ttl_count: u16,
    ede_len: u16,
    /// Of the whole entry.
    pub words: u16,
    group: u64,
    pub note: Note,
    /// Until then a stale answer is used without asking upstream again.
    pub held_until_ms: u64,
}

impl Head {
    /// Words of a head.
    pub const WORDS: usize = 7;
    /// Place of the note in an entry.
    pub const NOTE: usize = 5;
    /// Place of `held_until_ms`.
    pub const HELD: usize = 6;

    /// Reads a head; `word` gives each of its words.
    pub fn read(word: impl Fn(usize) -> u64) -> Head {
        let (lens, codes) = (word(2), word(3));
        Head {
            hash: word(0),
            stored_ms: word(1),
            ttl_secs: (lens >> 32) as u32,
            message_len: (lens >> 16) as u16,
            ttl_count: lens as u16,
            rcode: Rcode((codes >> 48) as u16),
            flags: (codes >> 32) as u16,
            ede_len: (codes >> 16) as u16,
            words: codes as u16,
            group: word(4),
            note: Note::from_word(word(Head::NOTE)),
            held_until_ms: word(Head::HELD),
        }
    }

    fn to_words(self) -> [u64; Head::WORDS] {
        let lens = u64::from(self.ttl_secs) << 32 | u64::from(self.message_len) << 16 | u64::from(self.ttl_count);
        let codes = u64::from(self.rcode.0) << 48 | u64::from(self.flags) << 32 | u64::from(self.ede_len) << 16;
        let codes = codes | u64::from(self.words);
        [self.hash, self.stored_ms, lens, codes, self.group, self.note.to_word(), self.held_until_ms]
    }

    /// NXDOMAIN and NODATA are answers.
    pub fn is_failure(&self) -> bool {
        !self.rcode.is_answer()
    }

    /// AD may be told to clients: the channel it came by was authentic.
    pub fn trust_ad(&self) -> bool {
        self.flags & TRUST_AD != 0
    }

    fn is_about(&self, about: About) -> bool {
        self.group == about.group && self.flags & (DNSSEC_OK | CHECKING_DISABLED) == flags_of(about)
    }

    /// Words behind the head.
    pub fn body_words(&self) -> usize {
        usize::from(self.words).saturating_sub(Head::WORDS)
    }
}

fn flags_of(about: About) -> u16 {
    let flag = |flag, is_set| if is_set { flag } else { 0 };
    flag(DNSSEC_OK, about.dnssec_ok) | flag(CHECKING_DISABLED, about.checking_disabled)
}

/// A copy of an entry, in memory that is used again.
#[derive(Debug)]
pub struct Entry {
    pub head: Head,
    /// Room for the largest entry.
    octets: Box<[u8]>,
}

/// What else is known of an answer that becomes an entry.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    pub hash: u64,
    /// AD may be told to clients: the channel it came by was authentic.
    pub trust_ad: bool,
    /// In milliseconds of the cache's own time.
    pub stored_ms: u64,
    pub ttl_secs: u32,
}

/// How an entry is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub ttl: TtlRule,
    /// An extended error of ours.
    pub ede: Option<EdeText<'a>>,
}

impl Default for Entry {
    fn default() -> Entry {
        Entry { head: Head::read(|_| 0), octets: vec![0; 8 * WORDS_MAX].into() }
    }
}

impl Entry {
    /// Becomes the entry of an answer. `None`: it is larger than anything that is kept.
    pub fn compose(&mut self, key: KeyRef<'_>, answer: &Answer, keeping: Keeping) -> Option<()> {
        let qname = Name::from_wire(key.name).ok()?;
        let question = Question { qname, qtype: key.about.qtype, qclass: CLASS_IN };
        let stored = encoder::store(&question, answer.records())?;
        self.put(key, answer, &stored.octets, &stored.ttl_at, keeping)
    }

    /// As [`Entry::compose`], with the octets that upstream sent: `answer` was read from them. `None` also: they do not say
    /// the question as we do.
    pub fn pass_on(&mut self, key: KeyRef<'_>, answer: &Answer, came: AsItCame<'_>, keeping: Keeping) -> Option<()> {
        self.put(key, answer, came.octets, came.ttl_at, keeping)?;
        let records = answer.records();
        let count = records.clone().filter(|record| record.section == Section::Additional).count() as u16;
        let message = &mut self.octets[..came.octets.len()];
        // Id, code and flags but QR are each reply's own.
        message[..4].copy_from_slice(&[0, 0, 0x80, 0]);
        // The OPT is not in it any more.
        message[10..12].copy_from_slice(&count.to_be_bytes());
        // A TTL may have been too large, or larger than its SOA allows.
        for (record, at) in records.zip(came.ttl_at) {
            message[usize::from(*at)..][..4].copy_from_slice(&record.ttl.to_be_bytes());
        }
        self.is_of(key).then_some(())
    }

    fn put(
        &mut self,
        key: KeyRef<'_>,
        answer: &Answer,
        message: &[u8],
        ttl_at: &[u16],
        keeping: Keeping,
    ) -> Option<()> {
        if message.len() > CACHED_ANSWER_OCTETS_MAX {
            return None;
        }
        let mut end = 0;
        let mut put = |octets: &[u8]| {
            self.octets.get_mut(end..end + octets.len())?.copy_from_slice(octets);
            end += octets.len();
            Some(end)
        };
        put(message)?;
        for at in ttl_at {
            put(&at.to_ne_bytes())?;
        }
        let before_ede = put(&[])?;
        for Ede { code, text } in &answer.ede {
            let len = u16::try_from(text.len()).ok()?;
            put([code.to_ne_bytes(), len.to_ne_bytes()].as_flattened())?;
            put(text.as_bytes())?;
        }
        let len = put(&[])?;
        self.octets.get_mut(len..len.next_multiple_of(8))?.fill(0);
        let Keeping { hash, trust_ad, stored_ms, ttl_secs } = keeping;
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        self.head = Head {
            hash,
            stored_ms,
            ttl_secs,
            rcode: answer.rcode,
            flags: flags_of(key.about)
                | flag(AD, answer.authentic_data)
                | flag(TRUST_AD, trust_ad)
                | flag(TRUNCATED, answer.truncated),
            message_len: message.len() as u16,
            ttl_count: ttl_at.len() as u16,
            ede_len: (len - before_ede) as u16,
            words: (Head::WORDS + len.div_ceil(8)) as u16,
            group: key.about.group,
            note: Note::default(),
            held_until_ms: 0,
        };
        Some(())
    }

    /// All of it, as it is kept: [`Head::words`] of them.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        let (body, _) = self.octets.as_chunks::<8>();
        let body = body.iter().take(self.head.body_words()).map(|chunk| u64::from_ne_bytes(*chunk));
        self.head.to_words().into_iter().chain(body)
    }

    /// Copies an entry whose head was read; `word` gives the words behind it. Whether it is what was asked for, and whole,
    /// is the caller's to see.
    pub fn fill(&mut self, head: Head, word: impl Iterator<Item = u64>) {
        self.head = head;
        let (places, _) = self.octets.as_chunks_mut::<8>();
        places.iter_mut().zip(word).for_each(|(place, word)| *place = word.to_ne_bytes());
    }

    /// Whether this is the answer to a key's question.
    pub fn is_of(&self, key: KeyRef<'_>) -> bool {
        let end = Header::LEN + key.name.len();
        let class_and_type = [key.about.qtype.0.to_be_bytes(), CLASS_IN.to_be_bytes()];
        self.head.is_about(key.about)
            && self.message().get(Header::LEN..end) == Some(key.name)
            && self.message().get(end..end + 4) == Some(class_and_type.as_flattened())
    }

    fn message(&self) -> &[u8] {
        // A torn head may say anything up to 64 KiB.
        self.octets.get(..usize::from(self.head.message_len)).unwrap_or(&[])
    }

    fn ttl_at(&self) -> impl Iterator<Item = usize> + '_ {
        let from = usize::from(self.head.message_len);
        let places = self.octets.get(from..from + 2 * usize::from(self.head.ttl_count)).unwrap_or(&[]);
        let (places, _) = places.as_chunks::<2>();
        places.iter().map(|place| usize::from(u16::from_ne_bytes(*place)))
    }

    /// Upstream's extended errors.
    fn ede(&self) -> impl Iterator<Item = (u16, &str)> {
        let from = usize::from(self.head.message_len) + 2 * usize::from(self.head.ttl_count);
        let mut rest = self.octets.get(from..from + usize::from(self.head.ede_len)).unwrap_or(&[]);
        std::iter::from_fn(move || {
            let ([code_a, code_b, len_a, len_b], after) = rest.split_first_chunk::<4>()?;
            let (text, after) = after.split_at_checked(usize::from(u16::from_ne_bytes([*len_a, *len_b])))?;
            rest = after;
            Some((u16::from_ne_bytes([*code_a, *code_b]), std::str::from_utf8(text).ok()?))
        })
    }

    /// The question that it answers.
    pub fn qname(&self) -> &[u8] {
        let message = self.message();
        let mut end = Header::LEN;
        while message[end] != 0 {
            end += 1 + usize::from(message[end]);
        }
        &message[Header::LEN..=end]
    }

    /// The answer taken apart, as upstream gave it.
    pub fn decode(&self) -> Option<Answer> {
        let mut answer = AnswerBuilder::new(self.head.rcode);
        self.decode_into(&mut answer)?;
        Some(answer.finish())
    }

    /// As [`Entry::decode`], into memory that is used again.
    pub fn decode_into(&self, out: &mut AnswerBuilder) -> Option<()> {
        let (qname, end) = Name::read(self.message(), Header::LEN).ok()?;
        let qtype = RecordType(u16::from_be_bytes(*self.message().get(end..)?.first_chunk()?));
        let question = Question { qname, qtype, qclass: CLASS_IN };
        out.read(self.message(), &question).ok()?;
        let is = |flag| self.head.flags & flag != 0;
        out.set_head(self.head.rcode, is(AD), is(TRUNCATED));
        self.ede().for_each(|(code, text)| {
            out.push_ede(code, text);
        });
        Some(())
    }

    /// Writes the reply to a query whose answer this is, with every record: a copy with its own head, spelling and TTLs.
    /// `false`: it needs more thought, since it does not fit into what the client takes, or asks for our name.
    pub fn tell(
        &self,
        cleared: Cleared,
        query: &Query,
        transport: Transport,
        told: &Told<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        if !cleared.delivers(Section::Additional) {
            return false;
        }
        if query.edns.is_some_and(|edns| edns.nsid) || self.head.flags & TRUNCATED != 0 {
            return false;
        }
        // Upstream's own errors are rare; the encoder knows which are left out when room is short.
        if self.head.ede_len > 0 && query.edns.is_some() {
            return false;
        }
        out.clear();
        out.extend_from_slice(self.message());
        let rule = told.ttl.at_most(cleared.ttl_secs_max());
        let wants_ad = query.authentic_data || query.edns.is_some_and(|edns| edns.dnssec_ok);
        let authentic = wants_ad && self.head.flags & (AD | TRUST_AD) == AD | TRUST_AD;
        encoder::put_head(out, query, self.head.rcode, authentic);
        let spelling = query.spelling.as_wire();
        out[Header::LEN..][..spelling.len()].copy_from_slice(spelling);
        for at in self.ttl_at() {
            let Some(place) = out.get_mut(at..at + 4) else { return false };
            let ttl = u32::from_be_bytes([place[0], place[1], place[2], place[3]]);
            place.copy_from_slice(&rule.apply(ttl).to_be_bytes());
        }
        if let Some(edns) = &query.edns {
            encoder::put_opt(out, edns, transport, self.head.rcode, told.ede.as_ref());
        }
        out.len() <= encoder::size_limit(transport, query.edns.as_ref())
    }
}
