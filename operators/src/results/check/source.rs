//! Source instances as the check sees them: geometry and raw samples by the instance's own header.

use dicom_dictionary_std::tags;

use super::Mismatch;
use crate::{
    header::{self, Frame},
    pixels::{PixelFormat, frame_bytes},
    prescan::{Limits, Prescan, prescan},
    volume::Encoded,
};

/// A source instance.
pub(super) struct Source<'a> {
    scan: Prescan<'a>,
    frames: Vec<Frame>,
    /// StudyInstanceUID.
    pub(super) study_uid: String,
    /// FrameOfReferenceUID.
    pub(super) frame_of_reference_uid: String,
}

impl<'a> Source<'a> {
    /// Fetches and reads the instance of this SOPInstanceUID.
    pub(super) fn read(uid: &str, fetch: &dyn Fn(&str) -> Option<Encoded<'a>>) -> Result<Self, Mismatch> {
        let failed = |reason: String| Mismatch::Source { uid: uid.to_owned(), reason };
        let encoded = fetch(uid).ok_or_else(|| failed("it is not held".into()))?;
        let scan = prescan(encoded, &Limits::default()).map_err(|error| failed(error.to_string()))?;
        if scan.text(tags::SOP_INSTANCE_UID) != uid {
            return Err(failed("it is another instance".into()));
        }
        let frames = header::frames(&scan).map_err(|error| failed(error.to_string()))?;
        let (study_uid, frame_of_reference_uid) =
            (scan.text(tags::STUDY_INSTANCE_UID), scan.text(tags::FRAME_OF_REFERENCE_UID));
        Ok(Self { scan, frames, study_uid, frame_of_reference_uid })
    }

    /// A frame, counted from 1.
    pub(super) fn frame(&self, number: u32) -> Option<&Frame> {
        self.frames.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Intensities of one frame, rows from the top: rescaled, MONOCHROME1 turned round, padding 0.
    pub(super) fn intensities(&self, uid: &str, number: u32) -> Result<Vec<f64>, Mismatch> {
        let failed = |reason: String| Mismatch::Source { uid: uid.to_owned(), reason };
        let frame = self.frame(number).ok_or_else(|| failed(format!("it has no frame {number}")))?;
        let format = PixelFormat::of(&self.scan).map_err(|error| failed(error.to_string()))?;
        // The sum of the darkest and the brightest sample that can be stored.
        let ends = if format.signed { -1.0 } else { 2f64.powi(format.bits_stored as i32) - 1.0 };
        let bytes = frame_bytes(&self.scan, &format, number).map_err(|error| failed(error.to_string()))?;
        let mut intensities = vec![0.0; format.rows * format.columns];
        bytes.read(&format, &mut intensities, |sample| {
            let shown = if format.monochrome1 { ends - f64::from(sample) } else { f64::from(sample) };
            let padding = sample != 0 && format.padding == Some(sample);
            if padding { 0.0 } else { shown * frame.slope + frame.intercept }
        });
        Ok(intensities)
    }
}
