//! One record of the spool: how it lies in a segment, and how it is told whole from torn.
//!
//! ```text
//!   0  magic "SULCREC1"
//!   8  length of the label, u32 LE        12  zero, u32
//!  16  length of the data set, u64 LE
//!  24  BLAKE3 of the data set
//!  56  BLAKE3 of bytes 0..56 and the label
//!  88  the label (JSON), the data set, zeros up to the next multiple of 4,096
//! ```
//!
//! Records start on a page of their own, so that a page that was once synced is never written again.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use serde::{Deserialize, Serialize};
use sulcus_operators::{digest::Digest, rows::InstanceFacts};

use crate::ledger::event::SpoolPlace;

/// Records start at multiples of this.
pub const PAGE: u64 = 4096;
/// Length of the fixed part.
pub const HEAD: usize = 88;
/// Longest label that is read or written, in bytes: an Enhanced object of some 100,000 frames.
pub const LONGEST_LABEL: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"SULCREC1";

/// How a received instance stands to what is already held under its UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Its bytes are in this record.
    Fresh,
    /// The same bytes lie at this place, and were verified; this record has none.
    Repeats(SpoolPlace),
    /// The same bytes were held but no longer verify; those in this record take their place.
    Replaces,
}

/// What a record says of its data set: everything that its event needs, so that the ledger can be rebuilt from the
/// spool alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub enum Label {
    /// An instance.
    Received {
        /// Name of the source.
        source: String,
        /// What its header says.
        facts: Arc<InstanceFacts>,
        /// New bytes, or a repetition.
        standing: Standing,
    },
    /// Bytes that cannot be understood.
    Quarantined {
        /// Name of the source.
        source: String,
        /// TransferSyntaxUID that the sender gave.
        transfer_syntax: String,
        /// SOP Class UID that the sender gave.
        sop_class_uid: String,
        /// SOP Instance UID that the sender gave.
        sop_instance_uid: String,
        /// Why they cannot be used.
        reason: String,
    },
}

/// Lengths and digest of one record, read back and found consistent.
#[derive(Clone, Debug)]
pub struct Head {
    /// What it says.
    pub label: Label,
    /// Length of the label.
    pub label_length: u64,
    /// Length of the data set.
    pub length: u64,
    /// BLAKE3 of the data set.
    pub digest: Digest,
}

impl Head {
    /// Offset of the data set within the record.
    pub fn data_set_at(&self) -> u64 {
        HEAD as u64 + self.label_length
    }

    /// Length of the whole record, with its padding.
    pub fn span(&self) -> u64 {
        span(self.label_length, self.length)
    }
}

/// Length of a record, with its padding.
pub fn span(label_length: u64, length: u64) -> u64 {
    (HEAD as u64).saturating_add(label_length).saturating_add(length).div_ceil(PAGE).saturating_mul(PAGE)
}

/// The fixed part and the label of a record, ready to be written before its data set.
pub fn encode(label: &Label, data_set_length: u64, digest: &Digest) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(label)?;
    if json.len() > LONGEST_LABEL {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the facts of this instance are too long to keep"));
    }
    let mut bytes = Vec::with_capacity(HEAD + json.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&data_set_length.to_le_bytes());
    bytes.extend_from_slice(&digest.0);
    let own = own_digest(&bytes, &json);
    bytes.extend_from_slice(&own.0);
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

fn own_digest(fixed: &[u8], json: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(fixed).update(json);
    Digest(*hasher.finalize().as_bytes())
}

/// Reads fixed part and label at `offset`. `None`: no whole record begins here (the end, or a torn one). Allocates
/// no more than the file holds.
pub fn read_head(file: &File, file_length: u64, offset: u64) -> io::Result<Option<Head>> {
    let Some(room) = file_length.checked_sub(offset).and_then(|rest| rest.checked_sub(HEAD as u64)) else {
        return Ok(None);
    };
    let mut fixed = [0u8; HEAD];
    file.read_exact_at(&mut fixed, offset)?;
    let (sealed, own) = fixed.split_at(56);
    if !sealed.starts_with(MAGIC) {
        return Ok(None);
    }
    let label_length = u64::from(u32::from_le_bytes(array(sealed, 8)));
    let length = u64::from_le_bytes(array(sealed, 16));
    if label_length > LONGEST_LABEL as u64 || label_length.checked_add(length).is_none_or(|all| all > room) {
        return Ok(None);
    }
    let mut json = vec![0; label_length as usize];
    file.read_exact_at(&mut json, offset + HEAD as u64)?;
    if own_digest(sealed, &json).0 != own {
        return Ok(None);
    }
    let label = serde_json::from_slice(&json).map_err(io::Error::other)?;
    Ok(Some(Head { label, label_length, length, digest: Digest(array(sealed, 24)) }))
}

/// Whether the data set of the record at `offset` has the digest that its head states. Reads in pieces.
pub fn data_set_verifies(file: &File, offset: u64, head: &Head) -> io::Result<bool> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; head.length.min(1 << 20) as usize];
    let (mut at, mut left) = (offset + head.data_set_at(), head.length);
    while left > 0 {
        let now = left.min(piece.len() as u64) as usize;
        let piece = &mut piece[..now];
        file.read_exact_at(piece, at)?;
        hasher.update(piece);
        at += now as u64;
        left -= now as u64;
    }
    Ok(*hasher.finalize().as_bytes() == head.digest.0)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
