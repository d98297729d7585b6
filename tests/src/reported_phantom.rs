//! A reported study without an engine: a phantom as its scanner sends it, its volume, its lesions, and the report.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use ndarray::Array3;
use sulcus_operators::{
    convert,
    digest::Digest,
    header,
    lesions::measure,
    phantom::{
        Field, Orientation, Phantom, PhantomSpec, Sequence,
        dicom::{Encoding, ScanSpec, Vendor, study},
    },
    results::{
        dicom::{Equipment, Header},
        page::{PageInput, Visit},
        report::{Report, ReportInput},
        typeface::MoreFont,
    },
    rows::{PatientKey, ReportRow, ReportStatus, RunOrder, RunOutcome},
    volume::{Encoded, Volume},
};

use crate::peer::PeerError;

/// A study with one report.
#[derive(Debug, Clone)]
pub struct ReportedPhantom {
    /// First instance of the series that was used, Explicit VR Little Endian.
    pub source: Vec<u8>,
    /// Its volume.
    pub volume: Volume,
    /// Lesion labels, axes (slice, row, column).
    pub labels: Array3<u16>,
    /// What the report says.
    pub row: ReportRow,
    /// What the run gave.
    pub outcome: RunOutcome,
    /// Earlier visits.
    pub earlier: Vec<Visit>,
    /// Fonts beside Noto Sans.
    pub fonts: Vec<MoreFont>,
}

impl ReportedPhantom {
    /// A phantom of 1.2 mm, or as fine as `spacing_mm` says, with its true lesions reported.
    ///
    /// # Errors
    /// Where the phantom cannot be made.
    pub fn phantom(
        orientation: Orientation,
        spacing_mm: [f64; 3],
        lesions: usize,
    ) -> Result<ReportedPhantom, PeerError> {
        let failed = |error: &dyn std::fmt::Display| PeerError::failed(error.to_string());
        // Whole heads: 190 mm across, 220 mm from front to back, 190 mm high.
        let extent = match orientation {
            Orientation::Axial | Orientation::Oblique => [190.0, 220.0, 190.0],
            Orientation::Sagittal => [220.0, 190.0, 190.0],
            Orientation::Coronal => [190.0, 190.0, 220.0],
        };
        let size = std::array::from_fn(|axis| (extent[axis] / spacing_mm[axis]) as usize);
        let spec = PhantomSpec {
            spacing_mm,
            size,
            orientation,
            lesions: lesions..=lesions,
            stripped: false,
            ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 11)
        };
        let phantom = Phantom::generate(&spec).map_err(|error| failed(&error))?;
        let scan = ScanSpec {
            vendor: Vendor::Siemens,
            encoding: Encoding::Classic,
            localizer: false,
            label: "page".to_owned(),
        };
        let series = study(&phantom, &scan).map_err(|error| failed(&error))?;
        let instances = &series.first().ok_or_else(|| PeerError::failed("the phantom sends no series"))?.instances;
        let encoded: Vec<Encoded<'_>> = instances
            .iter()
            .map(|instance| Encoded { transfer_syntax: &instance.transfer_syntax, data_set: &instance.data_set })
            .collect();
        let volume = convert::volumes(&encoded).map_err(|error| failed(&error))?.remove(0);
        let source = encoded.first().map(|first| first.data_set.to_vec()).unwrap_or_default();
        ReportedPhantom::of(source, volume, phantom.labels)
    }

    /// 320 slices of 384 x 384 voxels with 200 lesions, as `bench outputs` measures.
    ///
    /// # Errors
    /// Where the phantom cannot be made.
    pub fn large() -> Result<ReportedPhantom, PeerError> {
        let mut base = ReportedPhantom::phantom(Orientation::Sagittal, [0.5728, 0.4947, 0.5937], 0)?;
        for label in 0..200usize {
            let at = [90 + label % 8 * 18, 100 + label / 8 % 5 * 34, 100 + label / 40 * 34];
            let side = 3 + label % 6;
            for voxel in 0..side.pow(3) {
                let index = [at[0] + voxel / side / side, at[1] + voxel / side % side, at[2] + voxel % side];
                if let Some(mark) = base.labels.get_mut(index) {
                    *mark = label as u16 + 1;
                }
            }
        }
        ReportedPhantom::of(base.source, base.volume, base.labels)
    }

    /// Reports a label map of a volume.
    ///
    /// # Errors
    /// Where both do not fit.
    pub fn of(source: Vec<u8>, volume: Volume, labels: Array3<u16>) -> Result<ReportedPhantom, PeerError> {
        let run_key = Digest::of(b"run");
        let probability = labels.mapv(|label| if label > 0 { 0.87 } else { 0.0 });
        let lesions = measure::lesions(labels.view(), &volume, probability.view(), &run_key)
            .map_err(|error| PeerError::failed(error.to_string()))?;
        let outcome = RunOutcome {
            run_key,
            mask: Digest::of(b"mask"),
            probability: None,
            size: volume.grid.size.map(|extent| extent as u32),
            spacing_um: volume.grid.spacing().map(|mm| (mm * 1000.0).round() as i64),
            affine_nm: None,
            frame_of_reference_uid: volume.frame_of_reference_uid.clone(),
            intensity_scale: volume.intensity_scale.clone(),
            notes: Vec::new(),
            lesions,
            alignments: Vec::new(),
            of_visits: false,
            domain: None,
        };
        let row = ReportRow {
            study_uid: "1.2.840.99999.1.20260105.1".to_owned(),
            pipeline: "cortical-lesions".to_owned(),
            status: ReportStatus::Final,
            run: Some(RunOrder {
                run_key,
                study_uid: "1.2.840.99999.1.20260105.1".to_owned(),
                series_uid: "1.2.840.99999.1.20260105.1.4".to_owned(),
                stack: "magnitude".to_owned(),
                model: Digest::of(b"model"),
                members: vec![1],
                inputs: Vec::new(),
            }),
            demographics_digest: Digest::of(b"demographics"),
            not_used: Vec::new(),
            doubts: Vec::new(),
            verdicts: Vec::new(),
            visits: Vec::new(),
            without: Vec::new(),
            content: Digest::of(b"content"),
        };
        Ok(ReportedPhantom { source, volume, labels, row, outcome, earlier: Vec::new(), fonts: Vec::new() })
    }

    /// The report, revision 2.
    ///
    /// # Errors
    /// Where row and outcome do not belong together.
    pub fn report(&self) -> Result<Report, PeerError> {
        let patient = PatientKey { issuer: "source:scanner".to_owned(), id: "PHANTOM-11".to_owned() };
        let input = ReportInput {
            row: &self.row,
            outcome: Some(&self.outcome),
            patient: &patient,
            uid: "2.25.314654810263110638083228041343414222360",
            revision: 2,
            supersedes: Some("2.25.119135060337403701967610305609272757539"),
            created: 1_767_621_600_000,
            model: ("cortical-nnunet", "1.2"),
            segmentation: Some("2.25.8"),
        };
        Report::new(&input).map_err(|error| PeerError::failed(error.to_string()))
    }

    /// What the page is made from.
    pub fn page<'a>(&'a self, report: &'a Report) -> PageInput<'a> {
        PageInput {
            report,
            supersedes: Some((1, 1_767_521_600_000)),
            source: self.encoded(),
            images: Some((&self.volume, self.labels.view())),
            earlier: &self.earlier,
            software_version: "0.1.0",
            fonts: &self.fonts,
        }
    }

    /// What every object of it is made from.
    pub fn header(&self) -> Header<'_> {
        Header {
            source: self.encoded(),
            sop_instance_uid: "2.25.11",
            series_instance_uid: "2.25.12",
            series_number: 9003,
            revision: 2,
            created: 1_767_621_600_000,
            equipment: Equipment { serial_number: "site-1", software_version: "0.1.0" },
        }
    }

    /// The source instance.
    pub fn encoded(&self) -> Encoded<'_> {
        Encoded { transfer_syntax: "1.2.840.10008.1.2.1", data_set: &self.source }
    }

    /// The same study of a patient whose name is stored like this.
    ///
    /// # Errors
    /// Where the source cannot be written again.
    pub fn named(mut self, charset: &str, name: &[u8]) -> Result<ReportedPhantom, PeerError> {
        let failed = |error: &dyn std::fmt::Display| PeerError::failed(error.to_string());
        let mut object = header::read(self.encoded()).map_err(|error| failed(&error))?;
        let codes = PrimitiveValue::Strs(charset.split('\\').map(str::to_owned).collect());
        object.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, codes));
        let mut bytes = name.to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(b' ');
        }
        object.put(DataElement::new(tags::PATIENT_NAME, VR::PN, PrimitiveValue::U8(bytes.into())));
        let mut written = Vec::new();
        object
            .write_dataset_with_ts(&mut written, &EXPLICIT_VR_LITTLE_ENDIAN.erased())
            .map_err(|error| failed(&error))?;
        self.source = written;
        Ok(self)
    }
}
