//! A text becomes a part of an index: on one thread while we serve, on several before.
//!
//! A text is cut into pieces at the ends of lines. Whoever is free takes the next; what comes of it is the same, however
//! many they are.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::text::{self, Text};
use crate::daemon::background;
use crate::daemon::progress::Progress;
use crate::engine::compile::ListSettings;
use crate::engine::list::{Manner, ParseOptions, RuleSet, parse};
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::matcher::room::Room;
use crate::engine::matcher::{Guard, Part, PartReader};

/// Octets at the start of a text that tell what it is.
const START: u64 = 1 << 20;
/// Pieces of a text, unless they would be shorter than the shortest or longer than the longest. Chosen: enough for all
/// threads, and few enough to be merged fast.
const PIECES: u64 = 16;
const PIECE_MIN: u64 = 1 << 20;
const PIECE_MAX: u64 = 4 << 20;
/// Octets that are read at a time.
const CHUNK: u64 = 1 << 18;
/// A line is read no further than this; it is too long long before.
const LINE_READ_MAX: usize = 1 << 20;

/// How texts are read.
#[derive(Clone)]
pub struct Reading<'a> {
    pub threads: usize,
    pub room: Option<Arc<dyn Room>>,
    pub progress: &'a Progress,
}

/// Lines that one thread reads.
struct Piece {
    octets: Range<u64>,
    /// Lines of the text before it.
    lines_before: u32,
}

/// Reads a list's text.
///
/// # Errors
/// Why it is no list, or cannot be read.
pub fn read(text: &Text, settings: &ListSettings, reading: &Reading<'_>) -> Result<Part, String> {
    background::make_way_for(text.octets);
    reading.progress.reads(text.octets);
    let mut parts = text.parts.iter();
    if !text.is_group {
        return parts.next().map_or(Ok(Part::default()), |part| read_part(text, part, 0, settings, reading));
    }
    let mut list = Part::default();
    for part in parts {
        let read = read_part(text, part, list.report.lines, settings, reading);
        list.append(part.name.clone(), read.map_err(|why| format!("{}: {why}", part.name))?);
    }
    list.bound_specials();
    Ok(list)
}

/// The rules as they come, all of them: for a person who compares two versions.
pub fn rules(text: &Text, options: ParseOptions) -> Result<RuleSet, String> {
    let read = |part: &text::Part| {
        let octets = text.octets_of(part.start, part.end).map_err(|why| why.to_string())?;
        parse(&octets, options).map_err(|why| why.to_string())
    };
    let mut parts = text.parts.iter();
    if !text.is_group {
        return parts.next().map_or(Ok(RuleSet::default()), read);
    }
    let mut list = RuleSet::default();
    for part in parts {
        list.append(part.name.clone(), read(part).map_err(|why| format!("{}: {why}", part.name))?);
    }
    Ok(list)
}

/// Reads one file, before which the list has so many lines.
fn read_part(
    text: &Text,
    part: &text::Part,
    lines_before: u32,
    settings: &ListSettings,
    reading: &Reading<'_>,
) -> Result<Part, String> {
    let guard: Guard<'_> = if settings.obey_public_suffixes { &|_| false } else { &is_public_suffix };
    let told = |why: io::Error| format!("it cannot be read again: {why}");
    let manner = manner(text, part, settings)?;
    let pieces = pieces_of(part);
    let threads = if manner.is_free() { reading.threads.min(pieces.len()).max(1) } else { 1 };
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<PartReader<'_>> {
        let mut reader = PartReader::new(manner, lines_before, guard, reading.room.clone());
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            read_piece(text, piece, &mut reader)?;
            if pieces.len() > 1 {
                reader.end_piece();
            }
            reading.progress.read(piece.octets.end - piece.octets.start);
        }
        Ok(reader)
    };
    let read: io::Result<PartReader<'_>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut reader = work()?;
        for other in others {
            reader.absorb(other.join().map_err(|_| io::Error::other("its reader broke off"))??);
        }
        Ok(reader)
    });
    if let Some(part) = read.map_err(told)?.finish(&settings.block_keywords).map_err(|why| why.to_string())? {
        return Ok(part);
    }
    let whole = text.octets_of(part.start, part.end).map_err(told)?;
    let mut reader = PartReader::new(manner, lines_before, guard, reading.room.clone());
    reader.read_whole(&whole);
    let part = reader.finish(&settings.block_keywords).map_err(|why| why.to_string())?;
    part.ok_or_else(|| "it was read as a whole and is not whole".to_owned())
}

/// What a file's beginning tells of it.
fn manner(text: &Text, part: &text::Part, settings: &ListSettings) -> Result<Manner, String> {
    let end = part.end.min(part.start + START);
    let mut start = text.octets_of(part.start, end).map_err(|why| why.to_string())?;
    if end < part.end
        && let Some(last) = start.iter().rposition(|&c| c == b'\n')
    {
        start.truncate(last + 1);
    }
    Manner::of(&start, settings.options).map_err(|why| why.to_string())
}

fn pieces_of(part: &text::Part) -> Vec<Piece> {
    let wanted = ((part.end - part.start) / PIECES).clamp(PIECE_MIN, PIECE_MAX);
    let mut pieces = Vec::new();
    let (mut start, mut lines_before) = (part.start, 0);
    for &(at, lines) in part.marks.iter().chain(&[(part.end, 0)]) {
        if at - start >= wanted || at == part.end {
            pieces.push(Piece { octets: start..at, lines_before });
            (start, lines_before) = (at, lines);
        }
    }
    pieces
}

fn read_piece(text: &Text, piece: &Piece, reader: &mut PartReader<'_>) -> io::Result<()> {
    let (mut at, end) = (piece.octets.start, piece.octets.end);
    let mut lines = piece.lines_before;
    let mut octets = Vec::new();
    while at < end {
        let here = octets.len();
        let count = (end - at).min(CHUNK);
        octets.resize(here + count as usize, 0);
        text.read_at(at, &mut octets[here..])?;
        at += count;
        let whole = match octets[here..].iter().rposition(|&c| c == b'\n') {
            _ if at == end => octets.len(),
            Some(last) => here + last + 1,
            None => {
                octets.truncate(here.max(LINE_READ_MAX));
                continue;
            }
        };
        reader.read(lines, &octets[..whole]);
        lines += octets[..whole].iter().filter(|&&c| c == b'\n').count() as u32;
        octets.drain(..whole);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::category::CategoryId;
    use crate::engine::compile::ListSource;
    use crate::engine::gate::GateSettings;
    use crate::engine::list::Format;
    use crate::engine::matcher::{Builder, HashSeed};
    use crate::engine::verdict::ListId;

    fn settings(format: Format) -> ListSettings {
        ListSettings {
            name: "x".into(),
            category: CategoryId(0),
            options: ParseOptions { format, bare_reach: None },
            source: ListSource::BuiltIn("x".into()),
            required: true,
            obey_public_suffixes: false,
            block_keywords: Vec::new(),
            gate: GateSettings::OPEN,
        }
    }

    fn octets(part: &Part) -> Vec<u8> {
        let mut builder = Builder::new(HashSeed(1, 2));
        builder.add(ListId(0), part.clone());
        builder.build().unwrap().names.as_octets().to_vec()
    }

    #[test]
    fn a_text_is_read_the_same_by_one_and_by_several() {
        // Long names, so that a few thousand are several pieces.
        let zone = format!("{}.{}.example", "x".repeat(60), "y".repeat(60));
        let names = |from: u32| -> String {
            (from..from + 9_000).map(|i| format!("n{:x}.{zone}\n", i.wrapping_mul(0x9e37_79b9))).collect()
        };
        let odd = "192.0.2.1\nnot a name!\ncom.vn\n";
        let long = format!("{}\n", "x".repeat(3 << 20));
        let plain = [&names(0), odd, &names(9), &long, odd].concat();
        let voids = format!("||n0.{zone}^$badfilter\n{}||n0.{zone}^\n||last.example^", names(0));
        let specials = format!("{}/ads[0-9]/\n{}/tracker[0-9]/\n@@||n0.example^\n", names(0), names(7));
        let dnsmasq: String = (0..9_000).map(|i| format!("address=/n{i}.{zone}/\n")).collect();
        let bom = format!("\u{feff}{}", names(0));
        for (text, format) in [
            (&plain, Format::Domains),
            (&plain, Format::Auto),
            (&voids, Format::Adblock),
            (&specials, Format::Adblock),
            (&dnsmasq, Format::Auto),
            (&bom, Format::Auto),
            (&String::new(), Format::Auto),
        ] {
            let settings = settings(format);
            let rules = parse(text.as_bytes(), settings.options).unwrap();
            let whole = Part::of(&rules, &is_public_suffix);
            let text = Text::of(text.as_bytes(), Path::new("/nonexistent")).unwrap();
            let read = |threads| {
                read(&text, &settings, &Reading { threads, room: None, progress: &Progress::default() }).unwrap()
            };
            let (one, several) = (read(1), read(4));
            for part in [&one, &several] {
                assert_eq!((part.rules, &part.spared), (whole.rules, &whole.spared));
                assert_eq!(part.report, whole.report);
                let names = |part: &Part| {
                    let mut all = Vec::new();
                    part.walk_names(&mut |batch| {
                        all.extend(batch.names().map(|rule| (rule.name.to_vec(), rule.reach, rule.effect, rule.line)));
                    })
                    .unwrap();
                    all.sort_unstable();
                    all
                };
                assert!(names(part) == names(&whole), "{format:?}");
            }
            assert!(octets(&one) == octets(&several), "{format:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_told_by_its_line() {
        let mut text: String = (0..20_000).map(|i| format!("not a name {i}!{}\n", "x".repeat(120))).collect();
        text.insert_str(0, "first.example\n");
        let text = Text::of(text.as_bytes(), Path::new("/nonexistent")).unwrap();
        let why = |threads| {
            let reading = Reading { threads, room: None, progress: &Progress::default() };
            read(&text, &settings(Format::Domains), &reading).unwrap_err()
        };
        assert!(why(1).contains("first, line 2: \"not a name 0!x"), "{}", why(1));
        assert_eq!(why(1), why(3));
    }
}
