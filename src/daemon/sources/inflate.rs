//! Compressed lists: gzip and zstd, told by their first octets, with a bound on what comes out.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// RFC 1952 §2.3.1.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// RFC 8878 §3.1.1.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A file that was compressed, in a transfer that was compressed: nobody packs a list more often.
const LAYERS_MAX: usize = 2;
/// Octets between two layers.
const CHUNK_OCTETS: usize = 1 << 16;

/// The text in `octets`, which is at most `octets_max` long at every step; what is not compressed is returned as it is.
///
/// # Errors
/// A sentence: it is cut short or damaged, or unpacks to more than the bound.
pub fn inflate(octets: Vec<u8>, octets_max: u64) -> Result<Vec<u8>, String> {
    if !is_packed(&octets) {
        return Ok(octets);
    }
    let mut text = Vec::new();
    let read = unpacked(&octets[..], octets_max).and_then(|mut from| from.read_to_end(&mut text));
    read.map(|_| text).map_err(|why| why.to_string())
}

/// What is in `octets`, one layer down; `None` when they are not compressed.
pub fn layer(octets: &[u8], octets_max: u64) -> Result<Option<Vec<u8>>, String> {
    if !is_packed(octets) {
        return Ok(None);
    }
    let mut text = Vec::new();
    let read = Layer::of(Box::new(octets), octets_max).and_then(|mut layer| layer.read_to_end(&mut text));
    read.map(|_| Some(text)).map_err(|why| why.to_string())
}

/// As [`inflate`] for what is read as it comes; errors say what is wrong in a sentence.
pub fn unpacked<'a>(from: impl BufRead + 'a, octets_max: u64) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut from: Box<dyn BufRead + 'a> = Box::new(from);
    for _ in 0..LAYERS_MAX {
        if !is_packed(from.fill_buf()?) {
            return Ok(from);
        }
        from = Box::new(BufReader::with_capacity(CHUNK_OCTETS, Layer::of(from, octets_max)?));
    }
    match is_packed(from.fill_buf()?) {
        true => Err(io::Error::other(format!("it is packed more than {LAYERS_MAX} times"))),
        false => Ok(from),
    }
}

/// Whether a file that begins so is packed in a way we can unpack.
pub fn is_packed(octets: &[u8]) -> bool {
    octets.starts_with(GZIP) || octets.starts_with(ZSTD)
}

/// What is in a packed file, with a bound.
struct Layer<'a> {
    kind: &'static str,
    from: Box<dyn Read + 'a>,
    octets_max: u64,
    left: u64,
}

impl<'a> Layer<'a> {
    fn of(mut from: Box<dyn BufRead + 'a>, octets_max: u64) -> io::Result<Layer<'a>> {
        let (kind, from): (_, Box<dyn Read + 'a>) = match from.fill_buf()?.starts_with(GZIP) {
            true => ("gzip", Box::new(MultiGzDecoder::new(from))),
            false => ("zstd", Box::new(Frames { from, decoder: FrameDecoder::new(), is_open: false })),
        };
        Ok(Layer { kind, from, octets_max, left: octets_max })
    }
}

impl Read for Layer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer).map_err(|why| {
            // What is packed twice has its error told once.
            match why.get_ref().is_some_and(|told| told.is::<Told>()) {
                true => why,
                false => Told::error(format!("its {} compression is cut short or damaged: {why}", self.kind)),
            }
        })?;
        self.left = (self.left.checked_sub(count as u64))
            .ok_or_else(|| Told::error(format!("it unpacks to more than {} octets", self.octets_max)))?;
        Ok(count)
    }
}

/// A sentence that needs no other around it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

impl Told {
    fn error(text: String) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Told(text))
    }
}

/// The frames of a zstd file one after the other (RFC 8878 §3.1), each checked against its sum when it has one.
struct Frames<R> {
    from: R,
    decoder: FrameDecoder,
    is_open: bool,
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame; `false` when there is none.
    fn open(&mut self) -> io::Result<bool> {
        while !self.from.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.from) {
                Ok(()) => {
                    self.is_open = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut self.from.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(why) => return Err(io::Error::other(why)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_open && !self.open()? {
                return Ok(0);
            }
            let decoder = &mut self.decoder;
            while decoder.can_collect() < buffer.len() && !decoder.is_finished() {
                let wanted = BlockDecodingStrategy::UptoBytes(buffer.len() - decoder.can_collect());
                decoder.decode_blocks(&mut self.from, wanted).map_err(io::Error::other)?;
            }
            match decoder.read(buffer)? {
                0 if !buffer.is_empty() => {}
                count => return Ok(count),
            }
            if decoder.get_checksum_from_data().is_some_and(|sum| Some(sum) != decoder.get_calculated_checksum()) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its sum is another"));
            }
            self.is_open = false;
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
