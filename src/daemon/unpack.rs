//! gzip and zstd around a list file: told by its first octets, unpacked within bounds.
//!
//! Some publishers pack their lists, and a small file may unpack to more than any machine has: output is bounded in
//! octets and in proportion to the input.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::engine::limits::{LIST_EXPANSION_FREE_OCTETS, LIST_EXPANSION_MAX, LIST_FILE_OCTETS_MAX};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Whether a file that begins so is packed in a way we can unpack.
pub fn is_packed(start: &[u8]) -> bool {
    start.starts_with(GZIP) || start.starts_with(ZSTD)
}

/// The text in a packed file; any other is returned as it is.
///
/// # Errors
/// In words: the file is damaged, or what is in it is over a bound.
pub fn unpack(octets: Vec<u8>) -> Result<Vec<u8>, String> {
    if octets.starts_with(GZIP) {
        let mut text = Bounded::new(&octets);
        text.take_all(MultiGzDecoder::new(&*octets)).map_err(|why| text.told("gzip", &why))?;
        return Ok(text.octets);
    }
    if octets.starts_with(ZSTD) {
        let mut text = Bounded::new(&octets);
        let mut rest = &*octets;
        // A file may hold several frames, one after the other.
        while !rest.is_empty() {
            text.take_frame(&mut rest).map_err(|why| text.told("zstd", &why))?;
        }
        return Ok(text.octets);
    }
    Ok(octets)
}

/// What was unpacked so far, and how much it may be.
struct Bounded {
    octets: Vec<u8>,
    octets_max: u64,
}

impl Bounded {
    fn new(packed: &[u8]) -> Bounded {
        let by_size = (packed.len() as u64).saturating_mul(LIST_EXPANSION_MAX).max(LIST_EXPANSION_FREE_OCTETS);
        Bounded { octets: Vec::new(), octets_max: by_size.min(LIST_FILE_OCTETS_MAX) }
    }

    fn take_all(&mut self, reader: impl Read) -> Result<(), String> {
        let room = self.octets_max - self.octets.len() as u64;
        reader.take(room + 1).read_to_end(&mut self.octets).map_err(|why| why.to_string())?;
        if self.octets.len() as u64 > self.octets_max {
            return Err(format!("it unpacks to over {} octets, which no list does", self.octets_max));
        }
        Ok(())
    }

    fn take_frame(&mut self, rest: &mut &[u8]) -> Result<(), String> {
        let mut decoder = StreamingDecoder::new(rest).map_err(|why| why.to_string())?;
        self.take_all(&mut decoder)?;
        let frame = decoder.into_frame_decoder();
        match (frame.get_checksum_from_data(), frame.get_calculated_checksum()) {
            (Some(told), calculated) if Some(told) != calculated => Err("its checksum is wrong".to_owned()),
            _ => Ok(()),
        }
    }

    fn told(&self, format: &str, why: &str) -> String {
        format!("it is {format} that cannot be unpacked, after {} octets: {why}", self.octets.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        let mut packer = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
        packer.include_checksum(true).unwrap();
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn packed_text_is_the_text() {
        let text = b"a.example\nb.example\n".repeat(10_000);
        assert_eq!(unpack(text.clone()).unwrap(), text);
        for pack in [gzip, zstd] {
            assert_eq!(unpack(pack(&text)).unwrap(), text);
            assert_eq!(unpack(pack(b"")).unwrap(), b"");
            let twice = [pack(b"a.example\n"), pack(b"b.example\n")].concat();
            assert_eq!(unpack(twice).unwrap(), b"a.example\nb.example\n");
        }
    }

    #[test]
    fn damaged_files_are_refused_in_words() {
        for (pack, name) in [(gzip as fn(&[u8]) -> Vec<u8>, "gzip"), (zstd, "zstd")] {
            let whole = pack(&b"a.example\nb.example\n".repeat(1000));
            let mut cases = vec![whole[..whole.len() / 2].to_vec(), whole[..4].to_vec()];
            let mut flipped = whole.clone();
            let last = flipped.len() - 3;
            flipped[last] ^= 0xff;
            cases.push(flipped);
            cases.push([&whole[..], b"\x28\xb5"].concat());
            for (i, damaged) in cases.into_iter().enumerate() {
                let told = unpack(damaged);
                // What follows a gzip stream and is none is read over, as `gzip` does.
                if (i, name) == (3, "gzip") {
                    continue;
                }
                let why = told.unwrap_err();
                assert!(why.contains(&format!("it is {name} that cannot be unpacked")), "{i}: {why}");
            }
        }
    }

    #[test]
    fn a_small_file_does_not_become_a_large_one() {
        let zeros = vec![b'\n'; LIST_EXPANSION_FREE_OCTETS as usize + 1];
        for bomb in [gzip(&zeros), zstd(&zeros)] {
            assert!(bomb.len() as u64 * LIST_EXPANSION_MAX < LIST_EXPANSION_FREE_OCTETS);
            let why = unpack(bomb).unwrap_err();
            assert!(why.contains("unpacks to over"), "{why}");
        }
    }
}
