//! What a text is, as its beginning tells: no list at all, or a list of one format.

use crate::engine::limits::LIST_SNIFF_LINES_MAX;
use crate::engine::list::lines::shown;
use crate::engine::list::names::{is_blank, words};
use crate::engine::list::{Format, ListError, SkipReason, dnsmasq, hosts, rpz, unbound};

/// Octets at the start of a text where a NUL says that it is no text at all.
const BINARY_LOOK_OCTETS: usize = 1024;
/// First octets of what people compress, archive or encode otherwise: gzip, zip, zstd, xz, UTF-16 either way.
const BINARY_STARTS: &[&[u8]] =
    &[b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\xff\xfe", b"\xfe\xff"];

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_suffix(b"\n").unwrap_or(text).split(|&c| c == b'\n').map(<[u8]>::trim_ascii)
}

/// Captive portals, error pages and archives are the commonest things that are no list.
pub(super) fn refuse_other_than_text(text: &[u8]) -> Result<(), ListError> {
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
pub(super) fn sniff(text: &[u8]) -> Format {
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

pub(super) fn is_comment(line: &[u8]) -> bool {
    // `[Adblock Plus 3.13]`, `[uBO]`: a header on any line; an IPv6 address in brackets is not written bare.
    matches!(line[0], b'#' | b'!' | b';' | b'[')
}

/// The line without its comment, trimmed; or the verdict that it is a rule about pages.
///
/// The markers are `##`, `#@#`, `#?#`, `#$#`, `#%#` and their mixtures, and `$$`, `$@$`. They follow the names at once;
/// a blank before the `#` makes a comment of it. A rule that begins with an Adblock anchor may have a `#` of its own.
pub(super) fn cut_comment(line: &[u8]) -> Result<&[u8], SkipReason> {
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
