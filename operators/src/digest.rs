//! Content digests (BLAKE3, 32 bytes) and the DICOM UIDs made of them.

use std::{cmp::Ordering, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// A BLAKE3 digest; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

/// As of the bytes. The first word almost always decides: series sort those of all their slices.
impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.0.as_chunks::<8>().0, other.0.as_chunks::<8>().0);
        own.iter().map(|word| u64::from_be_bytes(*word)).cmp(others.iter().map(|word| u64::from_be_bytes(*word)))
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of several parts under a domain name. Each part is preceded by its length, so no two lists of
    /// parts collide.
    pub fn of_parts<'a>(domain: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(domain.len() as u64).to_le_bytes()).update(domain.as_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// The digest of a row's JSON form under a domain name. Rows hold integers, strings and ordered maps only, so
    /// the form is canonical.
    pub fn of_row<T: Serialize>(domain: &str, row: &T) -> Self {
        let json = serde_json::to_vec(row).unwrap_or_default();
        Self::of_parts(domain, [json.as_slice()])
    }

    /// A UID under `2.25.` (PS3.5 B.2): the first 16 bytes as a UUID version 8 (RFC 9562), in decimal.
    /// At most 44 characters.
    pub fn uid(&self) -> String {
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&self.0[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        format!("2.25.{}", u128::from_be_bytes(bytes))
    }

    /// The first 12 hexadecimal digits, for logs and tables.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0u8; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(text.as_bytes().as_chunks().0) {
            *byte = (nibble(*high)? << 4) | nibble(*low)?;
        }
        Some(Digest(bytes))
    }

    fn digits(&self) -> [u8; 64] {
        let mut digits = [0u8; 64];
        for ([high, low], byte) in digits.as_chunks_mut().0.iter_mut().zip(&self.0) {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
        digits
    }
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|nibble| nibble as u8)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits)
    }
}

struct Digits;

impl Visitor<'_> for Digits {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest of 64 hexadecimal digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Digest, E> {
        Digest::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_of_a_digest_is_frozen() {
        assert_eq!(Digest::of(b"sulcus").uid(), Digest::of(b"sulcus").uid());
        assert!(Digest::of(b"sulcus").uid().len() <= 44);
        assert_eq!(Digest([0xff; 32]).uid(), "2.25.340282366920937934553716840013076889599");
    }

    #[test]
    fn digests_are_in_the_order_of_their_bytes() {
        let mut digests: Vec<Digest> = (0..64u8).map(|byte| Digest::of(&[byte % 60])).collect();
        digests.extend((0..32).map(|at| Digest(std::array::from_fn(|index| u8::from(index == at)))));
        let mut bytes: Vec<[u8; 32]> = digests.iter().map(|digest| digest.0).collect();
        digests.sort();
        bytes.sort();
        assert_eq!(digests.iter().map(|digest| digest.0).collect::<Vec<_>>(), bytes);
    }

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of(b"sulcus");
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::parse("zz"), None);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let ab_c = Digest::of_parts("d", [b"ab".as_slice(), b"c"]);
        let a_bc = Digest::of_parts("d", [b"a".as_slice(), b"bc"]);
        assert_ne!(ab_c, a_bc);
    }
}
