//! The facts of one instance, as rows: identity, geometry, counts, digests.
//!
//! Called once for each object that arrives, before it is acknowledged, so it reads only what it needs.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use dicom_core::{Tag, VR};

use super::functional_groups::{self, Frame, FramesError};
use super::{keywords, vendor};
use crate::digest::Digest;
use crate::prescan::{DEFLATED_LE, EXPLICIT_BE, Limits, PixelBytes, Prescan, Refusal, prescan};
use crate::rows::{InstanceFacts, PatientKey};
use crate::volume::Encoded;

/// Attributes of patient and study that outputs carry; their bytes make the demographics digest.
const DEMOGRAPHICS: [Tag; 16] = [
    Tag(0x0008, 0x0005), // SpecificCharacterSet
    Tag(0x0008, 0x0020), // StudyDate
    Tag(0x0008, 0x0030), // StudyTime
    Tag(0x0008, 0x0050), // AccessionNumber
    Tag(0x0008, 0x0051), // IssuerOfAccessionNumberSequence
    Tag(0x0008, 0x0090), // ReferringPhysicianName
    Tag(0x0008, 0x1030), // StudyDescription
    Tag(0x0010, 0x0010), // PatientName
    Tag(0x0010, 0x0020), // PatientID
    Tag(0x0010, 0x0021), // IssuerOfPatientID
    Tag(0x0010, 0x0030), // PatientBirthDate
    Tag(0x0010, 0x0040), // PatientSex
    Tag(0x0010, 0x1000), // OtherPatientIDs
    Tag(0x0010, 0x1010), // PatientAge
    Tag(0x0020, 0x000D), // StudyInstanceUID
    Tag(0x0020, 0x0010), // StudyID
];

/// Numbers that say how pixel bytes are to be read.
const PIXEL_FORMAT: [Tag; 8] = [
    Tag(0x0028, 0x0002), // SamplesPerPixel
    Tag(0x0028, 0x0010), // Rows
    Tag(0x0028, 0x0011), // Columns
    Tag(0x0028, 0x0100), // BitsAllocated
    Tag(0x0028, 0x0101), // BitsStored
    Tag(0x0028, 0x0102), // HighBit
    Tag(0x0028, 0x0103), // PixelRepresentation
    Tag(0x0028, 0x0120), // PixelPaddingValue
];

/// Bytes that pixels may have beyond what is needed, however small the image is.
const PIXEL_SLACK: usize = 1 << 20;

/// A megabyte that came deflated may be half a gigabyte: whoever reads such facts does it alone, so that the memory of
/// any number of senders is that of one.
static INFLATING: Mutex<()> = Mutex::new(());

/// Why an instance is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// Refused before reading.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A UID that every instance needs is missing.
    #[error("{0} is missing; the sender must give every instance its UIDs")]
    MissingUid(&'static str),
    /// A UID is too long or has other characters than digits and dots.
    #[error("{0} is no UID (digits and dots, at most 64 characters); the sender must correct it")]
    BadUid(&'static str),
    /// PixelData is far longer than the image that it is of.
    #[error("PixelData has {present} bytes where the image needs {needed}; send the object again")]
    PixelsTooLong {
        /// Bytes of PixelData.
        present: usize,
        /// Rows x Columns x SamplesPerPixel x NumberOfFrames x BitsAllocated / 8.
        needed: usize,
    },
    /// The frames contradict each other.
    #[error(transparent)]
    Frames(#[from] FramesError),
}

/// Reads the facts of an instance. `source` is the name of the source that sent it.
///
/// # Errors
/// [`FactsError`], with a hint for whoever sent it. The bytes should be kept in quarantine.
pub fn facts(encoded: Encoded<'_>, source: &str) -> Result<InstanceFacts, FactsError> {
    let _alone =
        (encoded.transfer_syntax == DEFLATED_LE).then(|| INFLATING.lock().unwrap_or_else(PoisonError::into_inner));
    let scan = prescan(encoded, &Limits::default())?;
    check_pixel_length(&scan)?;
    let frames = functional_groups::frames(&scan)?;
    let enhanced = functional_groups::is_enhanced(&scan);
    let keywords = keywords::keywords(&scan);
    let (expected_instances, counted_by) =
        Some(&scan).filter(|_| !enhanced).and_then(vendor::expected_instances).unzip();
    let frame_of_reference_uid = scan.text(Tag(0x0020, 0x0052));

    Ok(InstanceFacts {
        sop_class_uid: uid(&scan, Tag(0x0008, 0x0016), "SOPClassUID (0008,0016)")?,
        sop_instance_uid: uid(&scan, Tag(0x0008, 0x0018), "SOPInstanceUID (0008,0018)")?,
        study_uid: uid(&scan, Tag(0x0020, 0x000D), "StudyInstanceUID (0020,000D)")?,
        series_uid: uid(&scan, Tag(0x0020, 0x000E), "SeriesInstanceUID (0020,000E)")?,
        transfer_syntax: encoded.transfer_syntax.to_owned(),
        data_set_digest: Digest::of(encoded.data_set),
        content_digest: content_digest(&scan, &frames, &frame_of_reference_uid),
        demographics_digest: demographics_digest(&scan),
        patient: patient(&scan, source),
        instance_number: scan.number(Tag(0x0020, 0x0013)).map(|number| number as i64),
        frame_of_reference_uid,
        matrix: [Tag(0x0028, 0x0011), Tag(0x0028, 0x0010)].map(|tag| scan.count(tag).unwrap_or(0)),
        enhanced,
        mosaic: keywords.get("ImageType").is_some_and(|image_type| vendor::is_mosaic(image_type)),
        expected_instances,
        counted_by: counted_by.unwrap_or_default(),
        concatenation: concatenation(&scan).filter(|_| enhanced),
        frames: frames.iter().map(Frame::facts).collect(),
        acquisition: acquisition(&scan),
        keywords: keywords.into(),
    })
}

/// Refuses uncompressed pixels of more than twice the bytes that an image of this size needs, so that an object that
/// lies is not read again by every later step.
fn check_pixel_length(scan: &Prescan<'_>) -> Result<(), FactsError> {
    let Some(PixelBytes::Native(range)) = scan.pixels() else { return Ok(()) };
    let number = |element, otherwise| scan.count(Tag(0x0028, element)).unwrap_or(otherwise) as usize;
    let [Some(rows), Some(columns)] = [0x0010, 0x0011].map(|element| scan.count(Tag(0x0028, element))) else {
        return Ok(());
    };
    let factors = [rows as usize, columns as usize, number(0x0002, 1), number(0x0008, 1).max(1), number(0x0100, 16)];
    let needed = factors.into_iter().fold(1, usize::saturating_mul).div_ceil(8);
    if range.len() > needed.saturating_mul(2).saturating_add(PIXEL_SLACK) {
        return Err(FactsError::PixelsTooLong { present: range.len(), needed });
    }
    Ok(())
}

/// Whose scan it is: PatientID within IssuerOfPatientID, or within the source where no issuer is given. Without a
/// PatientID, PatientName and PatientBirthDate within issuer and source are all that tells one person from another: a
/// short digest of them is the issuer of the empty id.
fn patient(scan: &Prescan<'_>, source: &str) -> PatientKey {
    let [id, issuer, name, birth_date] =
        [0x0020, 0x0021, 0x0010, 0x0030].map(|element| scan.text(Tag(0x0010, element)));
    if id.is_empty() {
        let parts = [source, &issuer, &name, &birth_date].map(str::as_bytes);
        let digest = Digest::of_parts("sulcus person without id", parts);
        return PatientKey { issuer: format!("demographics:{}", digest.short()), id };
    }
    PatientKey { issuer: if issuer.is_empty() { format!("source:{source}") } else { issuer }, id }
}

fn uid(scan: &Prescan<'_>, tag: Tag, name: &'static str) -> Result<String, FactsError> {
    let uid = scan.text(tag);
    if uid.is_empty() {
        return Err(FactsError::MissingUid(name));
    }
    let legal = uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    legal.then_some(uid).ok_or(FactsError::BadUid(name))
}

/// InConcatenationNumber (0020,9162) and InConcatenationTotalNumber (0020,9163; 0 where the sender does not know).
fn concatenation(scan: &Prescan<'_>) -> Option<[u32; 2]> {
    let part = scan.count(Tag(0x0020, 0x9162))?;
    Some([part, scan.count(Tag(0x0020, 0x9163)).unwrap_or(0)])
}

fn acquisition(scan: &Prescan<'_>) -> String {
    let date_time = scan.text(Tag(0x0008, 0x002A));
    let time = scan.text(Tag(0x0008, 0x0032));
    if !date_time.is_empty() {
        date_time
    } else if !time.is_empty() {
        format!("{}{time}", scan.text(Tag(0x0008, 0x0022)))
    } else {
        scan.text(Tag(0x0020, 0x0012))
    }
}

fn demographics_digest(scan: &Prescan<'_>) -> Digest {
    let parts = DEMOGRAPHICS.iter().map(|tag| {
        let bytes = scan.find(*tag).map(|element| scan.value(element)).unwrap_or_default();
        bytes.trim_ascii_end().strip_suffix(b"\0").unwrap_or(bytes.trim_ascii_end())
    });
    Digest::of_parts("sulcus demographics", parts)
}

/// What a computation sees: pixels as they are stored, how to read them, where they lie, how they are rescaled.
fn content_digest(scan: &Prescan<'_>, frames: &[Frame], frame_of_reference_uid: &str) -> Digest {
    let mut format = Vec::with_capacity(256);
    for tag in PIXEL_FORMAT {
        let number = scan.find(tag).and_then(|element| scan.numbers_of(element, VR::US).first().copied());
        format.extend_from_slice(&number.unwrap_or(-1.0).to_le_bytes());
    }
    let mut geometry = Vec::with_capacity(frames.len() * 160);
    for frame in frames {
        let scale = [frame.slope, frame.intercept, frame.scale_slope.unwrap_or(0.0), frame.slice_step.unwrap_or(0.0)];
        geometry.extend_from_slice(&(frame.stack.len() as u64).to_le_bytes());
        geometry.extend_from_slice(frame.stack.as_bytes());
        for numbers in [
            frame.position.as_ref().map(<[f64; 3]>::as_slice),
            frame.orientation.as_ref().map(<[f64; 6]>::as_slice),
            frame.spacing.as_ref().map(<[f64; 2]>::as_slice),
            Some(scale.as_slice()),
        ] {
            geometry.push(u8::from(numbers.is_some()));
            geometry.extend(numbers.unwrap_or_default().iter().flat_map(|number| number.to_le_bytes()));
        }
    }
    let photometric = scan.text(Tag(0x0028, 0x0004));
    let encoding = match scan.pixels() {
        Some(PixelBytes::Fragments { .. }) => scan.transfer_syntax(),
        Some(PixelBytes::Native(_)) if scan.transfer_syntax() == EXPLICIT_BE => "big endian",
        _ => "little endian",
    };
    let pixels: Range<usize> = match scan.pixels() {
        Some(PixelBytes::Native(range)) => range.clone(),
        Some(PixelBytes::Fragments { fragments, .. }) => {
            fragments.first().map_or(0, |first| first.start)..fragments.last().map_or(0, |last| last.end)
        }
        None => 0..0,
    };
    Digest::of_parts(
        "sulcus content",
        [
            encoding.as_bytes(),
            scan.bytes().get(pixels).unwrap_or_default(),
            &format,
            photometric.as_bytes(),
            &geometry,
            frame_of_reference_uid.as_bytes(),
        ],
    )
}
