//! Scans as these tests take them: a series, its first volume, and a report and its objects with lesions that are set
//! here.

use std::path::PathBuf;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use sulcus_operators::{
    convert,
    digest::Digest,
    lesions::measure,
    part10,
    results::{
        dicom::{Equipment, Header, Object, Reference},
        encapsulated::{self, EncapsulatedInput},
        key_images::{self, KeyImagesInput},
        kos::{self, KosInput, Reason},
        page::{self, PageInput},
        report::{Report, ReportInput},
        sr::{SrInput, encode},
    },
    rows::{DomainDistance, Finding, LesionVerdict, PatientKey, ReportRow, ReportStatus, RunOrder, RunOutcome},
    volume::{Encoded, Volume},
};
use sulcus_tests::slices::{Slices, write_series};

const HEADER: (&str, &str) = ("2.25.21", "2.25.22");
pub const SEGMENTATION: &str = "2.25.11";

/// A series read from disk, and its first volume.
pub struct Scan {
    pub files: Vec<(String, Vec<u8>)>,
    pub volume: Volume,
    pub study: String,
    pub series: String,
}

impl Scan {
    pub fn open(paths: &[PathBuf]) -> Self {
        let open = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            let file = part10::split(&bytes).unwrap();
            (file.transfer_syntax.clone(), file.data_set.to_vec())
        };
        let files: Vec<_> = paths.iter().map(open).collect();
        let encoded: Vec<_> =
            files.iter().map(|(transfer_syntax, data_set)| Encoded { transfer_syntax, data_set }).collect();
        let volume = convert::volumes(&encoded).unwrap().remove(0);
        let first = dicom_object::open_file(&paths[0]).unwrap();
        let uid = |tag| first.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
        Self { volume, study: uid(tags::STUDY_INSTANCE_UID), series: uid(tags::SERIES_INSTANCE_UID), files }
    }

    pub fn synthetic(count: u32, rows: u16, columns: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::open(&write_series(folder.path(), Slices { count, rows, columns, seed: 7 }).unwrap())
    }

    /// A small synthetic series with other elements in its headers: tag, VR and value as stored.
    pub fn with_elements(elements: &[(Tag, VR, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = write_series(folder.path(), Slices { count: 4, rows: 16, columns: 16, seed: 8 }).unwrap();
        for file in &files {
            let mut object = dicom_object::open_file(file).unwrap();
            for &(tag, vr, value) in elements {
                let padded = [value, if value.len() % 2 == 1 { b" " } else { b"" }].concat();
                object.put(DataElement::new(tag, vr, PrimitiveValue::U8(padded.into())));
            }
            object.write_to_file(file).unwrap();
        }
        Self::open(&files)
    }

    pub fn header(&self) -> Header<'_> {
        let (transfer_syntax, data_set) = &self.files[0];
        Header {
            source: Encoded { transfer_syntax, data_set },
            sop_instance_uid: HEADER.0,
            series_instance_uid: HEADER.1,
            series_number: 9002,
            revision: 2,
            created: 1_709_164_799_999,
            equipment: Equipment { serial_number: "site-1", software_version: "0.1.0" },
        }
    }

    pub fn reference<'a>(&'a self, class: &'a str, series: &'a str, instance: &'a str) -> Reference<'a> {
        Reference {
            study_instance_uid: &self.study,
            series_instance_uid: series,
            sop_class_uid: class,
            sop_instance_uid: instance,
        }
    }

    /// Boxes in as many even cells of the volume.
    pub fn labels(&self, count: u16) -> ndarray::Array3<u16> {
        let cells = (1..).find(|n: &usize| n.pow(3) >= usize::from(count)).unwrap();
        ndarray::Array3::from_shape_fn(self.volume.voxels.raw_dim(), |(slice, row, column)| {
            let [columns, rows, slices] = self.volume.grid.size;
            let place = [(slice, slices), (row, rows), (column, columns)].map(|(at, extent)| {
                let cell = extent / cells;
                (at / cell, at % cell < cell.div_ceil(2))
            });
            let cell = place.iter().fold(0, |sum, (cell, _)| sum * cells + cell);
            let inside = place.iter().all(|(cell, inside)| *cell < cells && *inside) && cell < usize::from(count);
            if inside { cell as u16 + 1 } else { 0 }
        })
    }

    /// A report of `count` lesions. Of three or more, readers accepted the first, renamed the second and rejected the
    /// last.
    pub fn report(&self, count: u16) -> (Report, ndarray::Array3<u16>) {
        let mut labels = self.labels(count);
        let probability = labels.mapv(|label| if label > 0 { 0.75 } else { 0.0 });
        let run_key = Digest::of(b"run");
        let lesions = measure::lesions(labels.view(), &self.volume, probability.view(), &run_key).unwrap();
        assert_eq!(lesions.len(), usize::from(count));
        let finding = |label: u16, verdict, comment: &str| Finding {
            tracking_uid: lesions[usize::from(label) - 1].tracking_uid.clone(),
            verdict,
            reader: "Reader^Ada".into(),
            comment: comment.into(),
        };
        let mut verdicts = Vec::new();
        if count >= 3 {
            verdicts = vec![
                finding(1, LesionVerdict::Accepted, ""),
                finding(2, LesionVerdict::Relabelled("cyst".into()), "bright on T2\nseen before"),
                finding(count, LesionVerdict::Rejected, "vessel"),
            ];
            labels.mapv_inplace(|label| if label == count { 0 } else { label });
        }
        let row = ReportRow {
            visits: Vec::new(),
            without: Vec::new(),
            study_uid: self.study.clone(),
            pipeline: "lesions".into(),
            status: ReportStatus::Final,
            run: Some(RunOrder {
                run_key,
                study_uid: self.study.clone(),
                series_uid: self.series.clone(),
                stack: self.volume.stack.clone(),
                model: Digest::of(b"model"),
                members: vec![1],
                inputs: Vec::new(),
            }),
            demographics_digest: Digest::default(),
            not_used: vec![("1.2.3.9".into(), "a second series of the same acquisition".into())],
            doubts: vec!["slices may be missing".into()],
            verdicts,
            content: Digest::default(),
        };
        let grid = &self.volume.grid;
        let outcome = RunOutcome {
            probability: None,
            alignments: Vec::new(),
            of_visits: false,
            domain: Some(DomainDistance { distance_milli: 3250, farther_than: 64, scans: 64 }),
            run_key,
            mask: Digest::default(),
            size: grid.size.map(|extent| extent as u32),
            spacing_um: grid.spacing().map(|mm| (mm * 1000.0).round() as i64),
            affine_nm: None,
            frame_of_reference_uid: self.volume.frame_of_reference_uid.clone(),
            intensity_scale: self.volume.intensity_scale.clone(),
            notes: vec!["the images are noisy".into()],
            lesions,
        };
        let report = Report::new(&ReportInput {
            row: &row,
            outcome: Some(&outcome),
            patient: &PatientKey { issuer: "source:test".into(), id: "P".into() },
            uid: "2.25.31",
            revision: 2,
            supersedes: None,
            created: 1_709_164_799_999,
            model: ("blob-filter", "1"),
            segmentation: Some(SEGMENTATION),
        });
        (report.unwrap(), labels)
    }

    pub fn sr(&self, report: &Report, labels: &ndarray::Array3<u16>) -> Object {
        let written = encode(&SrInput {
            header: self.header(),
            report,
            grid: &self.volume.grid,
            frames: &self.volume.frames,
            frame_of_reference_uid: &self.volume.frame_of_reference_uid,
            labels: labels.view(),
            segmentation: self.reference(uids::SEGMENTATION_STORAGE, "2.25.12", SEGMENTATION),
            supersedes: Some(self.reference(uids::COMPREHENSIVE3_DSR_STORAGE, "2.25.42", "2.25.41")),
        });
        written.unwrap()
    }

    /// Key images, and the page as Encapsulated PDF.
    pub fn pictures(&self, count: u16) -> [Object; 2] {
        let (report, labels) = self.report(count);
        let (header, volume) = (self.header(), &self.volume);
        let images = key_images::encode(&KeyImagesInput { header, report: &report, volume, labels: labels.view() });
        let page = page::render(&PageInput {
            report: &report,
            supersedes: None,
            source: header.source,
            images: Some((volume, labels.view())),
            earlier: &[],
            software_version: "0.1.0",
            fonts: &[],
        });
        let (pdf, frames) = (page.unwrap(), volume.frames.as_slice());
        [images.unwrap(), encapsulated::encode(&EncapsulatedInput { header, pdf: &pdf, frames }).unwrap()]
    }

    pub fn note(&self, reason: Reason) -> Object {
        let written = kos::encode(&KosInput {
            header: Header { sop_instance_uid: "2.25.51", series_instance_uid: "2.25.52", ..self.header() },
            reason,
            why: "Revision 2 is issued",
            objects: &[
                self.reference(uids::SEGMENTATION_STORAGE, "2.25.62", "2.25.61"),
                self.reference(uids::COMPREHENSIVE3_DSR_STORAGE, "2.25.42", "2.25.41"),
                self.reference(uids::ENCAPSULATED_PDF_STORAGE, "2.25.72", "2.25.71"),
            ],
        });
        written.unwrap()
    }
}
