//! Series with lesions set into them, their segmentations of every kind, and what peers are told to compare them with.
//!
//! What the labels are is decided here; how they are written and checked is the product's.

use std::path::{Path, PathBuf};

use ndarray::{Array3, ArrayView3};
use serde_json::{Value, json};
use sulcus_operators::convert;
use sulcus_operators::digest::Digest;
use sulcus_operators::lesions::measure;
use sulcus_operators::part10;
use sulcus_operators::results::check::{Expected, check};
use sulcus_operators::results::dicom::{Algorithm, Equipment, Header};
use sulcus_operators::results::seg::{Probability, SegInput, SegKind, Segmentation, encode};
use sulcus_operators::rows::LesionRow;
use sulcus_operators::volume::{Encoded, Volume};

use crate::peer::PeerError;

/// A series on disk, as it was stored.
#[derive(Debug)]
pub struct Series {
    files: Vec<(PathBuf, String, String, Vec<u8>)>,
}

impl Series {
    /// Reads Part-10 files.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn open(paths: &[PathBuf]) -> Result<Series, PeerError> {
        let open = |path: &PathBuf| {
            let bytes = std::fs::read(path)?;
            let file = part10::split(&bytes).map_err(|error| failed(&error))?;
            Ok((path.clone(), file.sop_instance_uid, file.transfer_syntax, file.data_set.to_vec()))
        };
        Ok(Series { files: paths.iter().map(open).collect::<Result<_, PeerError>>()? })
    }

    /// Its data sets.
    pub fn encoded(&self) -> Vec<Encoded<'_>> {
        self.files.iter().map(|(_, _, transfer_syntax, data_set)| Encoded { transfer_syntax, data_set }).collect()
    }

    /// The data set with this SOPInstanceUID.
    pub fn source(&self, uid: &str) -> Option<Encoded<'_>> {
        let (_, _, transfer_syntax, data_set) = self.files.iter().find(|(_, known, ..)| known == uid)?;
        Some(Encoded { transfer_syntax, data_set })
    }

    fn path(&self, uid: &str) -> Option<&Path> {
        self.files.iter().find(|(_, known, ..)| known == uid).map(|(path, ..)| path.as_path())
    }
}

/// What is written of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Written {
    /// BINARY, one segment a lesion.
    Lesions,
    /// BINARY, one segment.
    AllAsOne,
    /// FRACTIONAL.
    Probability,
    /// LABELMAP.
    LabelMap,
}

/// Every kind.
pub const KINDS: [Written; 4] = [Written::Lesions, Written::AllAsOne, Written::Probability, Written::LabelMap];

/// A converted series with lesions.
#[derive(Debug)]
pub struct Subject {
    /// The series.
    pub series: Series,
    /// Its volume.
    pub volume: Volume,
    /// Lesion labels, axes (slice, row, column).
    pub labels: Array3<u16>,
    /// High in lesions, low elsewhere; the same axes.
    pub probability: Array3<f32>,
    /// The lesions.
    pub lesions: Vec<LesionRow>,
}

impl Subject {
    /// Converts a series of one volume and sets lesions into it.
    ///
    /// # Errors
    /// Where it cannot be converted.
    pub fn new(series: Series, labels: impl FnOnce(&Volume) -> Array3<u16>) -> Result<Subject, PeerError> {
        let mut volumes = convert::volumes(&series.encoded()).map_err(|error| failed(&error))?;
        let volume = volumes.pop().ok_or_else(|| PeerError::failed("the series has no volume"))?;
        let labels = labels(&volume);
        let noise = |(s, r, c): (usize, usize, usize)| ((s * 59 + r * 17 + c * 41) % 101) as f32 / 400.0;
        let within = |at| if labels[at] > 0 { 0.7 } else { 0.0 };
        let probability = Array3::from_shape_fn(labels.raw_dim(), |at| noise(at) + within(<[usize; 3]>::from(at)));
        let lesions = measure::lesions(labels.view(), &volume, probability.view(), &Digest::of(b"run"))
            .map_err(|error| failed(&error))?;
        Ok(Subject { series, volume, labels, probability, lesions })
    }

    fn kind(&self, written: Written) -> SegKind<'_> {
        match written {
            Written::Lesions => SegKind::Lesions,
            Written::AllAsOne => SegKind::AllAsOne,
            Written::Probability => SegKind::Probability(Probability::Unit(self.probability.view())),
            Written::LabelMap => SegKind::LabelMap,
        }
    }

    /// Writes a segmentation and checks it; objects of different names differ in their UIDs.
    ///
    /// # Errors
    /// Where it is refused, or the check finds something.
    pub fn encode(&self, written: Written, name: &str) -> Result<Segmentation, PeerError> {
        let uid = |what: &str| Digest::of_parts(what, [name.as_bytes(), format!("{written:?}").as_bytes()]).uid();
        let (instance, series) = (uid("instance"), uid("series"));
        let segmentation = encode(&SegInput {
            header: Header {
                source: *self.series.encoded().first().ok_or_else(|| PeerError::failed("an empty series"))?,
                sop_instance_uid: &instance,
                series_instance_uid: &series,
                series_number: 9001,
                revision: 1,
                created: 1_709_164_799_999,
                equipment: Equipment { serial_number: "site-1", software_version: "0.1.0" },
            },
            kind: self.kind(written),
            grid: &self.volume.grid,
            frames: &self.volume.frames,
            frame_of_reference_uid: &self.volume.frame_of_reference_uid,
            labels: self.labels.view(),
            lesions: &self.lesions,
            findings: &[],
            algorithm: Algorithm { name: "blob-filter", version: "1", digest: Digest::of(b"model") },
        })
        .map_err(|error| failed(&error))?;
        let source = |uid: &str| self.series.source(uid);
        let expected = Expected {
            kind: self.kind(written),
            source: &source,
            frames: &self.volume.frames,
            labels: self.labels.view(),
            lesions: &self.lesions,
            findings: &[],
        };
        check(&segmentation.parts, &expected).map_err(|error| PeerError::failed(format!("{name}: {error}")))?;
        Ok(segmentation)
    }

    /// Writes the only object of a segmentation into `folder`, and beside it what it must hold. Gives the file, and what
    /// `tests/peers/read_segmentations.py` is to be told of it.
    ///
    /// # Errors
    /// As [`Subject::encode`], and where a file cannot be written.
    pub fn write(&self, written: Written, folder: &Path, name: &str) -> Result<(PathBuf, Value), PeerError> {
        let segmentation = self.encode(written, name)?;
        let [part] = segmentation.parts.as_slice() else { return Err(PeerError::failed("several parts")) };
        let file = folder.join(format!("{name}-{written:?}.dcm"));
        std::fs::write(&file, &part.bytes)?;
        let held = file.with_extension("held");
        std::fs::write(&held, self.held(written, &segmentation))?;
        let frames = self.volume.frames.iter().map(|frame| {
            let uid = &frame.sop_instance_uid;
            json!({"file": self.series.path(uid), "uid": uid, "frame": frame.frame})
        });
        let tracking: Vec<&str> = match written {
            Written::Lesions | Written::LabelMap => self.lesions.iter().map(|l| l.tracking_uid.as_str()).collect(),
            Written::AllAsOne | Written::Probability => Vec::new(),
        };
        let told = json!({
            "name": format!("{name}-{written:?}"),
            "segmentation": file,
            "fractional": written == Written::Probability,
            "held": held,
            "sources": frames.collect::<Vec<_>>(),
            "tracking_uids": tracking,
        });
        Ok((file, told))
    }

    /// The segment number of each voxel, or the step of 255, as unsigned 16-bit little endian.
    fn held(&self, written: Written, segmentation: &Segmentation) -> Vec<u8> {
        let number = |label: &u16| match written {
            Written::AllAsOne => u16::from(*label > 0),
            _ => {
                let lesion = self.lesions.iter().position(|lesion| lesion.label == u32::from(*label));
                lesion.and_then(|lesion| segmentation.places.get(lesion)).map_or(0, |place| place.segment)
            }
        };
        match written {
            Written::Probability => {
                self.probability.iter().flat_map(|p| ((p * 255.0).round() as u16).to_le_bytes()).collect()
            }
            _ => self.labels.iter().flat_map(|label| number(label).to_le_bytes()).collect(),
        }
    }

    /// How many voxels have a label.
    pub fn labelled(&self) -> usize {
        labelled(self.labels.view())
    }
}

fn labelled(labels: ArrayView3<'_, u16>) -> usize {
    labels.iter().filter(|label| **label > 0).count()
}

/// Ellipsoids along the volume's diagonal, one a lesion.
pub fn ellipsoids(volume: &Volume, count: u16) -> Array3<u16> {
    let size = volume.grid.size.map(|extent| extent as f64);
    let share = 1.0 / f64::from(count.max(1));
    Array3::from_shape_fn(volume.voxels.raw_dim(), |(slice, row, column)| {
        let at = [column as f64 / size[0], row as f64 / size[1], slice as f64 / size[2]];
        let inside = |label: &u16| {
            let centre = (f64::from(*label) - 0.5) * share;
            let radii = [0.45 * share, 0.3 * share, 0.4 * share];
            at.iter().zip(radii).map(|(x, radius)| ((x - centre) / radius).powi(2)).sum::<f64>() <= 1.0
        };
        (1..=count).find(inside).unwrap_or(0)
    })
}

/// Lesions of a voxel or two along the columns, a voxel apart, from the first slice on; of no symmetry.
pub fn lattice(volume: &Volume, count: u16) -> Array3<u16> {
    let [columns, rows, slices] = volume.grid.size;
    let mut labels = Array3::zeros([slices, rows, columns]);
    let mut label = 0;
    for (slice, row) in (0..slices).step_by(2).flat_map(|slice| (0..rows).step_by(2).map(move |row| (slice, row))) {
        for column in (0..columns.saturating_sub(1)).step_by(3).take_while(|_| label < count).collect::<Vec<_>>() {
            if label == count {
                return labels;
            }
            label += 1;
            labels[[slice, row, column]] = label;
            if label % 3 == 0 {
                labels[[slice, row, column + 1]] = label;
            }
        }
    }
    labels
}

fn failed(error: &dyn std::error::Error) -> PeerError {
    PeerError::failed(error.to_string())
}
