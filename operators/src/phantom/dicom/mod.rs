//! A phantom as a scanner sends it: the series of one study, as DICOM data sets.
//!
//! Which series a scan gives and how they are named is decided here; `classic` writes one MR Image object a slice,
//! `enhanced` one Enhanced MR object a series, `shared` what both carry. Attribute values are those that the two
//! vendors' public conformance statements and public sample files show; no scanner was at hand. All UIDs and dates
//! follow from the seed and the label: the same study again has the same bytes.

mod classic;
mod elements;
mod enhanced;
mod shared;

use dicom_object::WriteError;
use rayon::prelude::*;

use super::{Field, ImageKind, Orientation, Phantom, Sequence};
use crate::digest::Digest;

/// Explicit VR Little Endian.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// MR Image Storage.
const MR_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.4";
/// Enhanced MR Image Storage.
const ENHANCED_MR_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.4.1";

/// Whose conventions the data sets follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vendor {
    /// Siemens: stored values are intensities.
    Siemens,
    /// Philips: rescale slope, and the private scale slope (2005,xx0E).
    Philips,
}

/// Which objects carry the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// MR Image Storage: one object a slice.
    Classic,
    /// Enhanced MR Image Storage: one object a series.
    Enhanced,
}

/// How the scanner writes the study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanSpec {
    /// The vendor.
    pub vendor: Vendor,
    /// Classic or Enhanced.
    pub encoding: Encoding,
    /// Whether a localizer of three thick slices comes first.
    pub localizer: bool,
    /// Tells visits of one head apart: part of every UID below the patient.
    pub label: String,
}

/// One series as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhantomSeries {
    /// SeriesDescription.
    pub description: String,
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// The objects, by position along the slice axis.
    pub instances: Vec<PhantomInstance>,
}

/// One object as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhantomInstance {
    /// SOPClassUID.
    pub sop_class_uid: String,
    /// SOPInstanceUID.
    pub sop_instance_uid: String,
    /// TransferSyntaxUID of `data_set`.
    pub transfer_syntax: String,
    /// The data set, without group 0002.
    pub data_set: Vec<u8>,
}

/// Why no data set could be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write series '{series}' of the phantom; report this with the specification used")]
pub struct PhantomDicomError {
    /// SeriesDescription.
    series: String,
    /// What the writer says.
    #[source]
    source: Box<WriteError>,
}

/// A series that is to be written.
struct Series<'a> {
    phantom: &'a Phantom,
    scan: &'a ScanSpec,
    /// Index into `Phantom::images`.
    image: usize,
    /// SeriesNumber.
    number: u16,
    /// What UIDs of the series are derived from.
    role: &'static str,
    description: String,
    image_type: &'static str,
    /// Slices of the phantom that are sent, ascending.
    slices: Vec<usize>,
    /// SliceThickness, mm.
    thickness_mm: f64,
    /// AcquisitionTime and the time of the series.
    time: &'static str,
    /// Inversion time, ms, where one inversion alone made the image.
    inversion_ms: Option<f64>,
    /// Flip angle, degrees.
    flip: f64,
}

/// Writes the study: the localizer where asked for, then INV1, INV2 and UNI, or MPRAGE. The images of one acquisition
/// share frame of reference and acquisition time.
///
/// # Errors
/// [`PhantomDicomError`] where a data set cannot be encoded.
pub fn study(phantom: &Phantom, scan: &ScanSpec) -> Result<Vec<PhantomSeries>, PhantomDicomError> {
    plan(phantom, scan).iter().map(Series::write).collect()
}

fn plan<'a>(phantom: &'a Phantom, scan: &'a ScanSpec) -> Vec<Series<'a>> {
    let slices = phantom.grid.size[2];
    let thickness_mm = phantom.spec.spacing_mm[2];
    let protocol = shared::protocol(phantom);
    let trains: Vec<(f64, f64)> = protocol.trains().collect();
    let train = |index: usize| trains.get(index).copied().unwrap_or_default();
    let name = scan_name(phantom, scan.vendor);
    let mut series = Vec::new();
    if scan.localizer {
        series.push(Series {
            phantom,
            scan,
            image: 0,
            number: 1,
            role: "localizer",
            description: if scan.vendor == Vendor::Siemens { "localizer" } else { "Survey" }.to_owned(),
            image_type: image_type(scan, "ORIGINAL", "NORM"),
            slices: (1..=3).map(|quarter| slices * quarter / 4).collect(),
            thickness_mm: 7.0,
            time: "101210.250000",
            inversion_ms: None,
            flip: 20.0,
        });
    }
    // Scanners send the inversions first, in this order, then what is computed of them.
    let order = [ImageKind::Inv1, ImageKind::Inv2, ImageKind::Uni, ImageKind::Mprage];
    for kind in order {
        let Some(image) = phantom.images.iter().position(|image| image.kind == kind) else { continue };
        let (role, suffix, origin, kind_value, source) = match kind {
            ImageKind::Inv1 => ("inv1", "_INV1", "ORIGINAL", "NORM", Some(0)),
            ImageKind::Inv2 => ("inv2", "_INV2", "ORIGINAL", "NORM", Some(1)),
            ImageKind::Uni => ("uni", "_UNI_Images", "DERIVED", "UNI", None),
            ImageKind::Mprage => ("mprage", "", "ORIGINAL", "NORM", Some(0)),
        };
        series.push(Series {
            phantom,
            scan,
            image,
            number: series.len() as u16 + 2,
            role,
            description: format!("{name}{suffix}"),
            image_type: image_type(scan, origin, kind_value),
            slices: (0..slices).collect(),
            thickness_mm,
            time: "101530.500000",
            inversion_ms: source.map(|index| train(index).0 * 1000.0),
            flip: train(source.unwrap_or(0)).1,
        });
    }
    series
}

/// The protocol's name, in the manner of the vendor.
fn scan_name(phantom: &Phantom, vendor: Vendor) -> String {
    let orientation = match phantom.spec.orientation {
        Orientation::Axial | Orientation::Oblique => "tra",
        Orientation::Sagittal => "sag",
        Orientation::Coronal => "cor",
    };
    let sequence = match phantom.spec.sequence {
        Sequence::Mp2rage => "mp2rage",
        Sequence::Mprage => "mprage",
    };
    match vendor {
        Vendor::Siemens => format!("t1_{sequence}_{orientation}_p3_iso"),
        Vendor::Philips => format!("T1W_3D_{}_{orientation}", sequence.to_uppercase()),
    }
}

/// ImageType. Only classic Siemens objects tell by it what was computed; Enhanced ones keep to the defined terms.
fn image_type(scan: &ScanSpec, origin: &str, kind: &str) -> &'static str {
    match (scan.vendor, scan.encoding, origin, kind) {
        (Vendor::Siemens, Encoding::Classic, "DERIVED", _) => "DERIVED\\PRIMARY\\M\\ND\\UNI",
        (Vendor::Siemens, Encoding::Classic, ..) => "ORIGINAL\\PRIMARY\\M\\ND\\NORM",
        (Vendor::Philips, Encoding::Classic, "DERIVED", _) => "DERIVED\\PRIMARY\\M_FFE\\M\\FFE",
        (Vendor::Philips, Encoding::Classic, ..) => "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE",
        (_, Encoding::Enhanced, "DERIVED", _) => "DERIVED\\PRIMARY\\T1\\NONE",
        (_, Encoding::Enhanced, ..) => "ORIGINAL\\PRIMARY\\T1\\NONE",
    }
}

impl Series<'_> {
    fn write(&self) -> Result<PhantomSeries, PhantomDicomError> {
        let instances: Result<Vec<PhantomInstance>, Box<WriteError>> = match self.scan.encoding {
            Encoding::Classic => (0..self.slices.len()).into_par_iter().map(|at| classic::instance(self, at)).collect(),
            Encoding::Enhanced => enhanced::instance(self).map(|instance| vec![instance]),
        };
        match instances {
            Ok(instances) => {
                Ok(PhantomSeries { description: self.description.clone(), series_uid: self.uid("series"), instances })
            }
            Err(source) => Err(PhantomDicomError { series: self.description.clone(), source }),
        }
    }

    /// A UID of this series.
    fn uid(&self, what: &str) -> String {
        shared::uid(self.phantom, self.scan, &[self.role, what])
    }

    /// Stored values of the slice at place `at`, and the slope from them to intensities.
    fn stored(&self, at: usize) -> Vec<u16> {
        let slope = self.slope();
        let plane = self.slices.get(at).zip(self.phantom.images.get(self.image));
        plane.map_or_else(Vec::new, |(slice, image)| {
            let plane = image.voxels.index_axis(ndarray::Axis(0), *slice);
            plane.iter().map(|v| (f64::from(*v) / slope).round().clamp(0.0, 4095.0) as u16).collect()
        })
    }

    /// RescaleSlope; the intercept is 0.
    fn slope(&self) -> f64 {
        match self.scan.vendor {
            Vendor::Siemens => 1.0,
            Vendor::Philips => 1.271062271,
        }
    }

    /// Philips scale slope.
    fn scale_slope(&self) -> f32 {
        match self.phantom.spec.field {
            Field::T3 => 0.006_25,
            Field::T7 => 0.004,
        }
    }

    /// ImagePositionPatient of the slice at place `at`.
    fn position(&self, at: usize) -> [f64; 3] {
        self.phantom.grid.point([0.0, 0.0, self.slices.get(at).map_or(0.0, |slice| *slice as f64)])
    }

    /// ImageOrientationPatient.
    fn orientation(&self) -> [f64; 6] {
        let [row, column, _] = self.phantom.spec.orientation.axes();
        [row[0], row[1], row[2], column[0], column[1], column[2]]
    }

    fn sop_instance_uid(&self, at: usize) -> String {
        self.uid(&format!("instance {at}"))
    }
}

fn digest_uid(parts: &[&[u8]]) -> String {
    Digest::of_parts("sulcus phantom", parts.iter().copied()).uid()
}

#[cfg(test)]
mod tests;
