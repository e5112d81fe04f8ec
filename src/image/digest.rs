//! Content is named by its digest: `sha256:` and 64 hexadecimal digits (OCI image specification, descriptor.md).

use std::fmt;
use std::io::{self, Read};

use anyhow::{Result, bail};
use sha2::{Digest as _, Sha256, Sha512};

/// What content is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Digest {
    /// The usual one.
    Sha256([u8; 32]),
    /// The other one that the specification registers.
    Sha512([u8; 64]),
}

impl Digest {
    /// Reads `ALGORITHM:HEX`.
    pub(crate) fn parse(text: &str) -> Result<Digest> {
        let (algorithm, hex) = text.split_once(':').unwrap_or((text, ""));
        let parsed = match algorithm {
            "sha256" => parse_hex(hex).map(Digest::Sha256),
            "sha512" => parse_hex(hex).map(Digest::Sha512),
            _ => None,
        };
        match parsed {
            Some(digest) => Ok(digest),
            None => bail!("{text:.80?} is not a digest; sha256 and sha512 are known, in lower case"),
        }
    }

    /// The SHA-256 of some bytes.
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        Digest::Sha256(Sha256::digest(bytes).into())
    }

    /// `sha256` or `sha512`.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Digest::Sha256(_) => "sha256",
            Digest::Sha512(_) => "sha512",
        }
    }

    /// The digits.
    pub(crate) fn hex(&self) -> String {
        let bytes: &[u8] = match self {
            Digest::Sha256(bytes) => bytes,
            Digest::Sha512(bytes) => bytes,
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A directory's name.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}", self.algorithm(), self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm(), self.hex())
    }
}

fn parse_hex<const LENGTH: usize>(hex: &str) -> Option<[u8; LENGTH]> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if hex.len() != 2 * LENGTH || !hex.as_bytes().iter().all(is_digit) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Passes on what it reads, and sums it up.
pub(crate) struct Verifier<R> {
    inner: R,
    sum: Sum,
    expected: Digest,
}

enum Sum {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl<R: Read> Verifier<R> {
    /// Expects what `inner` holds to have this digest.
    pub(crate) fn new(inner: R, expected: Digest) -> Verifier<R> {
        let sum = match expected {
            Digest::Sha256(_) => Sum::Sha256(Sha256::new()),
            Digest::Sha512(_) => Sum::Sha512(Sha512::new()),
        };
        Verifier { inner, sum, expected }
    }

    /// Reads what is left, and compares.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        let found = match self.sum {
            Sum::Sha256(sum) => Digest::Sha256(sum.finalize().into()),
            Sum::Sha512(sum) => Digest::Sha512(sum.finalize().into()),
        };
        if found == self.expected {
            Ok(())
        } else {
            let message = format!("its digest is {found} and should be {}: it is damaged", self.expected);
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

impl<R: Read> Read for Verifier<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let read = buffer.get(..length).unwrap_or_default();
        match &mut self.sum {
            Sum::Sha256(sum) => sum.update(read),
            Sum::Sha512(sum) => sum.update(read),
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_an_algorithm_and_digits_and_nothing_that_a_path_could_be_made_of() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(Digest::parse(&format!("sha256:{digits}")).unwrap().hex(), digits);
        assert!(Digest::parse(&format!("sha512:{digits}{digits}")).is_ok());
        for wrong in [
            digits.clone(),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{}", &digits[1..]),
            format!("md5:{digits}"),
            "sha256:../../../../etc/passwd".into(),
            format!("sha256:é{}", &digits[2..]),
            String::new(),
        ] {
            assert!(Digest::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn content_that_is_not_what_its_digest_says_is_noticed() {
        let digest = Digest::of(b"content");
        assert!(Verifier::new(&b"content"[..], digest).finish().is_ok());
        let error = Verifier::new(&b"kontent"[..], digest).finish().unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
