//! A change as octets, for the state directory and for a fleet: profiles by name, nothing that names a person.

use crate::engine::client::Token;
use crate::engine::subscribers::{Change, Entry, Holder, Key, NameId, Table, Term};

const PUT_TOKEN: u8 = 1;
const PUT_PROFILE: u8 = 2;
const REMOVE: u8 = 3;
const CHOOSE: u8 = 4;
const SAY: u8 = 5;
const SERIAL: u8 = 6;
const FLEET: u8 = 7;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Change(Change),
    Serial(u64),
    /// The name of the fleet's data that the table was in step with.
    Fleet(String),
}

pub fn write(change: &Change, table: &Table, out: &mut Vec<u8>) {
    match change {
        Change::Put(key, Entry { holder, term }) => {
            match holder {
                Holder::Token(token) => {
                    out.push(PUT_TOKEN);
                    out.extend(key.to_octets());
                    out.extend(token.0.to_be_bytes());
                }
                Holder::Profile(name) => {
                    out.push(PUT_PROFILE);
                    out.extend(key.to_octets());
                    write_name(Some(*name), table, out);
                }
            }
            out.extend(term.until.unwrap_or(0).to_be_bytes());
            out.push(u8::from(term.is_hard) | u8::from(term.is_session) << 1);
        }
        Change::Remove(key) => {
            out.push(REMOVE);
            out.extend(key.to_octets());
        }
        Change::Choose(token, name) => write_token(CHOOSE, *token, *name, table, out),
        Change::Say(token, name) => write_token(SAY, *token, *name, table, out),
    }
}

pub fn write_serial(serial: u64, out: &mut Vec<u8>) {
    out.push(SERIAL);
    out.extend(serial.to_be_bytes());
}

pub fn write_fleet(name: &str, out: &mut Vec<u8>) {
    let name = if name.len() <= usize::from(u8::MAX) { name } else { "" };
    out.extend([FLEET, name.len() as u8]);
    out.extend(name.as_bytes());
}

fn write_token(kind: u8, token: Token, name: Option<NameId>, table: &Table, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(token.0.to_be_bytes());
    write_name(name, table, out);
}

/// A name that is longer than its octet can say is no profile's: configured ones are shorter, and feeds are held to that.
fn write_name(name: Option<NameId>, table: &Table, out: &mut Vec<u8>) {
    let name = name.map(|name| table.name(name)).filter(|name| name.len() <= usize::from(u8::MAX)).unwrap_or_default();
    out.push(name.len() as u8);
    out.extend(name.as_bytes());
}

/// Reads every record; `None`: these are no records, or profiles have too many names.
pub fn read(mut octets: &[u8], table: &Table) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while let Some((&kind, rest)) = octets.split_first() {
        let mut from = Reader(rest);
        records.push(match kind {
            PUT_TOKEN | PUT_PROFILE => {
                let key = Key::from_octets(&from.array()?)?;
                let holder = match kind {
                    PUT_TOKEN => Holder::Token(from.token()?),
                    _ => Holder::Profile(from.name(table)??),
                };
                let until = u32::from_be_bytes(from.array()?);
                let [flags] = from.array()?;
                let (is_hard, is_session) = (flags & 1 != 0, flags & 2 != 0);
                let term = Term { until: (until != 0).then_some(until), is_hard, is_session };
                Record::Change(Change::Put(key, Entry { holder, term }))
            }
            REMOVE => Record::Change(Change::Remove(Key::from_octets(&from.array()?)?)),
            CHOOSE => Record::Change(Change::Choose(from.token()?, from.name(table)?)),
            SAY => Record::Change(Change::Say(from.token()?, from.name(table)?)),
            SERIAL => Record::Serial(u64::from_be_bytes(from.array()?)),
            FLEET => Record::Fleet(std::str::from_utf8(from.text()?).ok()?.to_owned()),
            _ => return None,
        });
        octets = from.0;
    }
    Some(records)
}

struct Reader<'o>(&'o [u8]);

impl<'o> Reader<'o> {
    /// Behind an octet with its length.
    fn text(&mut self) -> Option<&'o [u8]> {
        let [length] = self.array()?;
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(text)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*found)
    }

    fn token(&mut self) -> Option<Token> {
        Some(Token(u128::from_be_bytes(self.array()?)))
    }

    fn name(&mut self, table: &Table) -> Option<Option<NameId>> {
        let name = self.text()?;
        if name.is_empty() {
            return Some(None);
        }
        Some(Some(table.intern(std::str::from_utf8(name).ok()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::Realm;

    #[test]
    fn records_are_read_as_they_were_written_and_nothing_else_is() {
        let (table, _) = Table::new((0, 0));
        let name = table.intern("gia-đình");
        let key = Key::of_net(Realm(2), "2001:db8::/56".parse().unwrap());
        let term = Term { until: Some(1_800_000_000), is_hard: true, is_session: true };
        let changes = [
            Change::Put(key, Entry { holder: Holder::Token(Token(7)), term }),
            Change::Put(key, Entry { holder: Holder::Profile(name.unwrap()), term: Term::default() }),
            Change::Remove(key),
            Change::Choose(Token(7), name),
            Change::Choose(Token(7), None),
            Change::Say(Token(u128::MAX), name),
        ];
        let mut octets = Vec::new();
        changes.iter().for_each(|change| write(change, &table, &mut octets));
        write_serial(77, &mut octets);
        let mut expected: Vec<Record> = changes.into_iter().map(Record::Change).collect();
        expected.push(Record::Serial(77));
        assert_eq!(read(&octets, &table), Some(expected));
        for length in 1..octets.len() {
            if let Some(records) = read(&octets[..length], &table) {
                assert!(records.len() < 7, "{length}");
            }
        }
        assert_eq!(read(&[9], &table), None);
    }
}
