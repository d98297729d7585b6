//! Small phantom series on disk in every orientation and encoding, as MR Image or Enhanced MR Image objects.

use std::path::{Path, PathBuf};

use dicom_core::ops::{ApplyOp, AttributeAction, AttributeOp, AttributeSelector};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, open_file};
use sulcus_operators::part10;
use sulcus_operators::phantom::dicom::{Encoding, ScanSpec, Vendor, study};
use sulcus_operators::phantom::{Field, Orientation, Phantom, PhantomSpec, Sequence};

use crate::peer::PeerError;

/// A head of 24 columns, 20 rows and 16 slices, 1.1 x 1.4 x 3 mm.
#[derive(Debug)]
pub struct Head {
    phantom: Phantom,
}

impl Head {
    /// Draws one whose slices lie so.
    ///
    /// # Errors
    /// Where it cannot be drawn.
    pub fn new(orientation: Orientation) -> Result<Head, PeerError> {
        let spec = PhantomSpec {
            spacing_mm: [1.1, 1.4, 3.0],
            size: [24, 20, 16],
            orientation,
            lesions: 0..=0,
            ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 11)
        };
        Ok(Head { phantom: Phantom::generate(&spec).map_err(|error| failed(&error))? })
    }

    /// Writes its series as files; Philips where classic, for the rescale slope. `directions` is what the direction
    /// cosines along a row and along a column are multiplied by: the head is mirrored, and every position with it.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&self, folder: &Path, encoding: Encoding, directions: [f64; 2]) -> Result<Vec<PathBuf>, PeerError> {
        let vendor = if encoding == Encoding::Classic { Vendor::Philips } else { Vendor::Siemens };
        let scan = ScanSpec { vendor, encoding, localizer: false, label: "visit".to_owned() };
        let series = study(&self.phantom, &scan).map_err(|error| failed(&error))?.pop();
        let series = series.ok_or_else(|| PeerError::failed("the phantom has no series"))?;
        std::fs::create_dir_all(folder)?;
        let mut files = Vec::new();
        for (number, instance) in series.instances.iter().enumerate() {
            let file = folder.join(format!("{number:03}.dcm"));
            let (class, uid) = (&instance.sop_class_uid, &instance.sop_instance_uid);
            std::fs::write(&file, part10::wrap(&instance.transfer_syntax, class, uid, &instance.data_set))?;
            if directions != [1.0, 1.0] {
                changed(&file, |object| self.turn(object, encoding, directions))?;
            }
            files.push(file);
        }
        Ok(files)
    }

    fn turn(&self, object: &mut DefaultDicomObject, encoding: Encoding, directions: [f64; 2]) -> Result<(), PeerError> {
        let [row, column, _] = self.phantom.spec.orientation.axes();
        let [row, column] = [row.map(|x| x * directions[0]), column.map(|x| x * directions[1])];
        let cosines: Vec<String> = row.iter().chain(&column).map(|x| format!("{x:.9}")).collect();
        let selector = match encoding {
            Encoding::Classic => AttributeSelector::from(tags::IMAGE_ORIENTATION_PATIENT),
            Encoding::Enhanced => AttributeSelector::from((
                tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
                0,
                tags::PLANE_ORIENTATION_SEQUENCE,
                0,
                tags::IMAGE_ORIENTATION_PATIENT,
            )),
        };
        let set = AttributeAction::SetStr(cosines.join("\\").into());
        object.apply(AttributeOp::new(selector, set)).map_err(|error| failed(&error))
    }
}

/// Changes a file.
///
/// # Errors
/// Where it cannot be read or written, or `change` fails.
pub fn changed(
    file: &Path,
    change: impl FnOnce(&mut DefaultDicomObject) -> Result<(), PeerError>,
) -> Result<(), PeerError> {
    let mut object = open_file(file).map_err(|error| failed(&error))?;
    change(&mut object)?;
    object.write_to_file(file).map_err(|error| failed(&error))
}

/// Leaves the first frame alone in an Enhanced object of 16-bit samples.
///
/// # Errors
/// Where it has none.
pub fn first_frame(object: &mut DefaultDicomObject) -> Result<(), PeerError> {
    let missing = || PeerError::failed("no frame");
    let groups = object.get(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).and_then(|groups| groups.items());
    let group = groups.and_then(|groups| groups.first()).cloned().ok_or_else(missing)?;
    let samples = object.get(tags::PIXEL_DATA).and_then(|pixels| pixels.to_multi_int::<u16>().ok());
    let mut samples = samples.ok_or_else(missing)?;
    let side = |tag| object.get(tag).and_then(|side| side.to_int::<usize>().ok()).ok_or_else(missing);
    samples.truncate(side(tags::ROWS)? * side(tags::COLUMNS)?);
    let groups = DataSetSequence::from(vec![group]);
    object.put(DataElement::new(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, VR::SQ, groups));
    object.put(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, PrimitiveValue::from("1")));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(samples.into())));
    Ok(())
}

fn failed(error: &dyn std::error::Error) -> PeerError {
    PeerError::failed(error.to_string())
}
