//! Layers as they are stored: plain, gzip, or zstd. The first bytes tell; media types are not needed for it.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::limits::MAX_WINDOW;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A frame to be passed over: its first byte is 0x50 to 0x5f (RFC 8878, 3.1.2).
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
/// Others that images once had, or might have: to be named in an error.
const OTHERS: [(&[u8], &str); 2] = [(&[0xfd, b'7', b'z', b'X', b'Z'], "xz"), (b"BZh", "bzip2")];

/// What a reader's content says when it is not compressed.
pub(super) fn decompress<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let begin = reader.fill_buf()?;
    let is_skippable = begin.get(1..4) == Some(ZSTD_SKIPPABLE) && begin.first().is_some_and(|b| b >> 4 == 5);
    if begin.starts_with(GZIP) {
        return Ok(Box::new(Gzip(MultiGzDecoder::new(reader))));
    }
    if begin.starts_with(ZSTD) || is_skippable {
        return Ok(Box::new(Zstd::new(reader)));
    }
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| begin.starts_with(magic)) {
        let message = format!("it is compressed with {name}; plain, gzip and zstd are known");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Box::new(reader))
}

/// Members one after the other, as one stream, with errors that say what they are about.
struct Gzip<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.raw_os_error() {
            // The file's, not the data's.
            Some(_) => error,
            None => invalid(&format!("its gzip data is damaged or truncated: {error}")),
        })
    }
}

/// Frames one after the other, as one stream.
struct Zstd<R> {
    reader: R,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(reader: R) -> Zstd<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Zstd { reader, decoder, is_inside: false }
    }

    /// Reads the next frame's header, or passes over a frame without data.
    fn begin_frame(&mut self) -> io::Result<()> {
        match self.decoder.reset(&mut self.reader) {
            Ok(()) => self.is_inside = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let length = u64::from(length);
                if io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())? < length {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is truncated"));
                }
            }
            Err(error) => return Err(damaged(&error)),
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_inside {
                if self.reader.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin_frame()?;
                continue;
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.reader, one).map_err(|error| damaged(&error))?;
            }
            let length = self.decoder.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            self.is_inside = !self.decoder.is_finished() || self.decoder.can_collect() > 0;
        }
    }
}

fn damaged(error: &FrameDecoderError) -> io::Error {
    // Some of its messages have several lines.
    let error = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    invalid(&format!("its zstd data is damaged or truncated: {error}"))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn plain(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decompress(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn members_and_frames_are_read_to_the_last() {
        let (one, other) = ([b'a'; 300_000], [b'b'; 70_000]);
        let expected = [&one[..], &other[..]].concat();
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        assert_eq!(plain(&[gzip(&one), gzip(&other)].concat()).unwrap(), expected);
        assert_eq!(plain(&[&skipped, &zstd(&one)[..], &skipped, &zstd(&other)].concat()).unwrap(), expected);
        assert_eq!(plain(&expected).unwrap(), expected);
        assert_eq!(plain(b"").unwrap(), b"");
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_an_error_of_one_line() {
        for whole in [gzip(&[b'a'; 1000]), zstd(&[b'a'; 1000]), b"\xfd7zXZ\0\0".to_vec(), b"BZh9".to_vec()] {
            let cut = if whole.len() > 10 { &whole[..whole.len() - 9] } else { &whole };
            let error = plain(cut).unwrap_err().to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn a_frame_that_asks_for_much_memory_is_refused() {
        // Magic number, a descriptor without anything, a window of 2^41 bytes (RFC 8878, 3.1.1.1.2).
        let error = plain(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0]).unwrap_err().to_string();
        assert!(error.contains("window"), "{error}");
    }
}
