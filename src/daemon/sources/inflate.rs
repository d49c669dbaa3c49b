//! Compressed lists: gzip and zstd, told by their first octets, with a bound on what comes out.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

/// RFC 1952 §2.3.1.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// RFC 8878 §3.1.1.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A file that was compressed, in a transfer that was compressed: nobody packs a list more often.
const LAYERS_MAX: usize = 2;

/// The text in `octets`, which is at most `octets_max` long at every step; what is not compressed is returned as it is.
///
/// # Errors
/// A sentence: it is cut short or damaged, or unpacks to more than the bound.
pub fn inflate(octets: Vec<u8>, octets_max: u64) -> Result<Vec<u8>, String> {
    let mut octets = octets;
    for _ in 0..LAYERS_MAX {
        match layer(&octets, octets_max)? {
            Some(inner) => octets = inner,
            None => return Ok(octets),
        }
    }
    match is_packed(&octets) {
        true => Err(format!("it is packed more than {LAYERS_MAX} times")),
        false => Ok(octets),
    }
}

/// What is in `octets`, one layer down; `None` when they are not compressed.
pub fn layer(octets: &[u8], octets_max: u64) -> Result<Option<Vec<u8>>, String> {
    match () {
        () if octets.starts_with(GZIP) => unpack("gzip", MultiGzDecoder::new(octets), octets_max).map(Some),
        () if octets.starts_with(ZSTD) => unpack("zstd", Frames::new(octets), octets_max).map(Some),
        () => Ok(None),
    }
}

/// Whether a file that begins so is packed in a way we can unpack.
pub fn is_packed(octets: &[u8]) -> bool {
    octets.starts_with(GZIP) || octets.starts_with(ZSTD)
}

fn unpack(kind: &str, from: impl Read, octets_max: u64) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    from.take(octets_max + 1)
        .read_to_end(&mut text)
        .map_err(|why| format!("its {kind} compression is cut short or damaged: {why}"))?;
    if text.len() as u64 > octets_max {
        return Err(format!("it unpacks to more than {octets_max} octets"));
    }
    Ok(text)
}

/// The frames of a zstd file one after the other (RFC 8878 §3.1), each checked against its sum when it has one.
struct Frames<'a> {
    rest: &'a [u8],
    current: Option<StreamingDecoder<&'a [u8], ruzstd::decoding::FrameDecoder>>,
}

impl<'a> Frames<'a> {
    fn new(octets: &'a [u8]) -> Frames<'a> {
        Frames { rest: octets, current: None }
    }

    /// Begins the next frame; `false` when there is none.
    fn open(&mut self) -> io::Result<bool> {
        while !self.rest.is_empty() {
            match StreamingDecoder::new(self.rest) {
                Ok(decoder) => {
                    self.current = Some(decoder);
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    // Its magic number and its length are four octets each.
                    let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8);
                    self.rest = self.rest.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
                }
                Err(why) => return Err(io::Error::other(why)),
            }
        }
        Ok(false)
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.current else {
                if self.open()? {
                    continue;
                }
                return Ok(0);
            };
            match decoder.read(buffer)? {
                0 if !buffer.is_empty() => {}
                count => return Ok(count),
            }
            let frame = &decoder.decoder;
            if frame.get_checksum_from_data().is_some_and(|sum| Some(sum) != frame.get_calculated_checksum()) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its sum is another"));
            }
            if let Some(ended) = self.current.take() {
                self.rest = ended.into_inner();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const MAX: u64 = 1 << 20;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 19).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let text = b"one.example.com\ntwo.example.com\n".repeat(2_000);
        let half = text.len() / 2;
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        for packed in [
            text.clone(),
            gzip(&text),
            zstd(&text),
            gzip(&zstd(&text)),
            [gzip(&text[..half]), gzip(&text[half..])].concat(),
            [zstd(&text[..half]), skippable, zstd(&text[half..])].concat(),
        ] {
            assert!(inflate(packed, MAX).unwrap() == text);
        }
        assert_eq!(inflate(Vec::new(), MAX), Ok(Vec::new()));
    }

    #[test]
    fn a_bomb_is_refused_and_so_is_half_a_file() {
        let bomb = vec![b'a'; MAX as usize + 1];
        for pack in [gzip, zstd] {
            assert!(inflate(pack(&bomb), MAX).unwrap_err().contains("more than 1048576 octets"));
            assert!(inflate(pack(&bomb[1..]), MAX).is_ok());
            let whole = pack(b"one.example.com\n");
            for cut in 4..whole.len() {
                assert!(inflate(whole[..cut].to_vec(), MAX).is_err(), "{cut} of {}", whole.len());
            }
            let mut damaged = whole.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert!(inflate(damaged, MAX).is_err());
            assert!(inflate(pack(&pack(&whole)), MAX).unwrap_err().contains("more than 2 times"));
        }
    }
}
