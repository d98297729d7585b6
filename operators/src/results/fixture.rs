//! A small classic MR series for tests of the outputs: oblique, with known intensities, and lesions measured on it.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use ndarray::Array3;

use super::{
    dicom::{Algorithm, Equipment, Header},
    seg::{SegInput, SegKind},
};
use crate::{
    digest::Digest,
    rows::LesionRow,
    volume::{Encoded, FrameRef, Grid},
};

pub(super) const SLOPE: f64 = 2.5;
pub(super) const INTERCEPT: f64 = -10.0;

/// A series of classic instances, its grid, a label map and the lesions.
pub(super) struct Sample {
    /// SOPInstanceUID and data set (Explicit VR Little Endian) of each slice.
    pub(super) instances: Vec<(String, Vec<u8>)>,
    pub(super) grid: Grid,
    pub(super) frames: Vec<FrameRef>,
    pub(super) labels: Array3<u16>,
    pub(super) lesions: Vec<LesionRow>,
}

/// A stored sample that differs from voxel to voxel and from slice to slice.
pub(super) fn stored(slice: usize, row: usize, column: usize) -> u16 {
    (100 + 37 * slice + 5 * row + 11 * column + (slice * row * column) % 23) as u16
}

impl Sample {
    /// `size` is columns, rows, slices; `boxes` are first voxel and extent of each lesion, in the same order.
    pub(super) fn new(size: [usize; 3], boxes: &[([usize; 3], [usize; 3])]) -> Self {
        let (c, s) = (0.8, 0.6);
        // Columns along (c, s, 0), rows along -z, slices along their normal; 0.7 x 0.9 x 1.1 mm.
        let grid = Grid {
            size,
            affine: [
                [0.7 * c, 0.0, -1.1 * s, -31.25],
                [0.7 * s, 0.0, 1.1 * c, 12.125],
                [0.0, -0.9, 0.0, 47.0],
                [0.0, 0.0, 0.0, 1.0],
            ],
        };
        let mut labels = Array3::zeros([size[2], size[1], size[0]]);
        for (label, (first, extent)) in (1u16..).zip(boxes) {
            for slice in first[2]..first[2] + extent[2] {
                for row in first[1]..first[1] + extent[1] {
                    for column in first[0]..first[0] + extent[0] {
                        labels[[slice, row, column]] = label;
                    }
                }
            }
        }
        let frames = (0..size[2])
            .map(|slice| FrameRef {
                sop_class_uid: uids::MR_IMAGE_STORAGE.to_owned(),
                sop_instance_uid: format!("1.2.3.4.{}", slice + 1),
                frame: None,
            })
            .collect::<Vec<_>>();
        let lesions = (1..=boxes.len() as u32).map(|label| measure(&labels, label)).collect();
        let mut sample = Self { instances: Vec::new(), grid, frames, labels, lesions };
        sample.instances = (0..size[2]).map(|slice| sample.instance(slice)).collect();
        sample
    }

    fn instance(&self, slice: usize) -> (String, Vec<u8>) {
        let uid = self.frames[slice].sop_instance_uid.clone();
        let [columns, rows, _] = self.grid.size;
        let position = self.grid.point([0.0, 0.0, slice as f64]).map(|mm| format!("{mm:.6}"));
        let mut object = InMemDicomObject::new_empty();
        for (tag, vr, value) in [
            (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
            (tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE),
            (tags::SOP_INSTANCE_UID, VR::UI, uid.as_str()),
            (tags::STUDY_DATE, VR::DA, "20240229"),
            (tags::STUDY_TIME, VR::TM, "101500"),
            (tags::ACCESSION_NUMBER, VR::SH, "A1"),
            (tags::MODALITY, VR::CS, "MR"),
            (tags::PATIENT_ID, VR::LO, "P1"),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
            (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4"),
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.3.5"),
            (tags::IMAGE_POSITION_PATIENT, VR::DS, &position.join("\\")),
            (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0.8\\0.6\\0\\0\\0\\-1"),
            (tags::PIXEL_SPACING, VR::DS, "0.9\\0.7"),
            (tags::SLICE_THICKNESS, VR::DS, "1.1"),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            (tags::RESCALE_INTERCEPT, VR::DS, &INTERCEPT.to_string()),
            (tags::RESCALE_SLOPE, VR::DS, &SLOPE.to_string()),
        ] {
            object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
        }
        // PN M\u{fc}ller in ISO_IR 100.
        let name = PrimitiveValue::U8(b"M\xfcller^A".as_slice().into());
        object.put(DataElement::new(tags::PATIENT_NAME, VR::PN, name));
        for (tag, value) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, rows as u16),
            (tags::COLUMNS, columns as u16),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 16),
            (tags::HIGH_BIT, 15),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        }
        let pixels: Vec<u16> =
            (0..rows * columns).map(|voxel| stored(slice, voxel / columns, voxel % columns)).collect();
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
        let mut bytes = Vec::new();
        object.write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
        (uid, bytes)
    }

    /// The instance with this UID.
    pub(super) fn source(&self, uid: &str) -> Option<Encoded<'_>> {
        let (_, data_set) = self.instances.iter().find(|(known, _)| known == uid)?;
        Some(Encoded { transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN, data_set })
    }

    /// What the builder takes.
    pub(super) fn input(&self) -> SegInput<'_> {
        SegInput {
            header: self.header(),
            kind: SegKind::Lesions,
            grid: &self.grid,
            frames: &self.frames,
            frame_of_reference_uid: "1.2.3.5",
            labels: self.labels.view(),
            lesions: &self.lesions,
            findings: &[],
            algorithm: Algorithm { name: "blob-filter", version: "1", digest: Digest([5; 32]) },
        }
    }

    /// Whose object it is.
    pub(super) fn header(&self) -> Header<'_> {
        Header {
            source: self.source("1.2.3.4.1").unwrap(),
            sop_instance_uid: "2.25.11",
            series_instance_uid: "2.25.12",
            series_number: 9001,
            revision: 2,
            created: 1_709_164_799_999,
            equipment: Equipment { serial_number: "site-1", software_version: "0.1.0" },
        }
    }
}

/// A lesion's row, measured on the stored samples.
fn measure(labels: &Array3<u16>, label: u32) -> LesionRow {
    let inside: Vec<_> = labels.indexed_iter().filter(|(_, l)| u32::from(**l) == label).map(|(at, _)| at).collect();
    let sum: f64 = inside.iter().map(|&(s, r, c)| SLOPE * f64::from(stored(s, r, c)) + INTERCEPT).sum();
    LesionRow {
        label,
        tracking_uid: format!("2.25.{}", 100 + label),
        voxels: inside.len() as u64,
        volume_nl: inside.len() as u64 * 693,
        centroid_um: [0; 3],
        box_first: [0; 3],
        box_size: [1; 3],
        mean_intensity_milli: (1000.0 * sum / inside.len() as f64).round() as i64,
        probability_permille: 875,
        peak_probability_permille: 990,
    }
}
