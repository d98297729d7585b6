//! Phantom series as DICOM: what a scanner would write, read back by our own conversion.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::super::PhantomSpec;
use super::*;
use crate::convert::volumes;
use crate::header::facts;
use crate::volume::Encoded;

fn small(sequence: Sequence, orientation: Orientation) -> Phantom {
    let spec = PhantomSpec {
        spacing_mm: [2.0, 2.5, 3.0],
        size: [80, 70, 48],
        orientation,
        lesions: 0..=0,
        ..PhantomSpec::demo(Field::T3, sequence, 11)
    };
    Phantom::generate(&spec).unwrap()
}

fn scan(vendor: Vendor, encoding: Encoding) -> ScanSpec {
    ScanSpec { vendor, encoding, localizer: false, label: "visit 1".to_owned() }
}

#[test]
fn what_is_written_converts_back_to_the_same_grid_and_intensities() {
    for orientation in [Orientation::Axial, Orientation::Sagittal, Orientation::Coronal, Orientation::Oblique] {
        let phantom = small(Sequence::Mprage, orientation);
        for vendor in [Vendor::Siemens, Vendor::Philips] {
            for encoding in [Encoding::Classic, Encoding::Enhanced] {
                let series = study(&phantom, &scan(vendor, encoding)).unwrap();
                assert_eq!(series.len(), 1);
                let encoded: Vec<Encoded<'_>> = series[0]
                    .instances
                    .iter()
                    .map(|i| Encoded { transfer_syntax: &i.transfer_syntax, data_set: &i.data_set })
                    .collect();
                let converted = volumes(&encoded).unwrap();
                assert_eq!(converted.len(), 1, "{orientation:?} {vendor:?} {encoding:?}");
                let volume = &converted[0];
                assert_eq!(volume.grid.size, phantom.grid.size);
                for (ours, theirs) in volume.grid.affine.iter().flatten().zip(phantom.grid.affine.iter().flatten()) {
                    assert!((ours - theirs).abs() < 1e-4, "{orientation:?} {vendor:?} {encoding:?}: {volume:?}");
                }
                // A stored step is at most 1.3 intensities.
                let apart = |(a, b): (&f32, &f32)| (a - b).abs() > 0.65;
                assert_eq!(volume.voxels.iter().zip(&phantom.images[0].voxels).filter(|pair| apart(*pair)).count(), 0);
            }
        }
    }
}

#[test]
fn the_series_of_one_acquisition_share_study_frame_of_reference_and_time() {
    let phantom = small(Sequence::Mp2rage, Orientation::Sagittal);
    for encoding in [Encoding::Classic, Encoding::Enhanced] {
        let spec = ScanSpec { localizer: true, ..scan(Vendor::Siemens, encoding) };
        let series = study(&phantom, &spec).unwrap();
        let descriptions: Vec<&str> = series.iter().map(|s| s.description.as_str()).collect();
        let base = "t1_mp2rage_sag_p3_iso";
        let names = ["_INV1", "_INV2", "_UNI_Images"].map(|suffix| format!("{base}{suffix}"));
        assert_eq!(descriptions, ["localizer", &names[0], &names[1], &names[2]]);
        let of = |series: &PhantomSeries| {
            let first = &series.instances[0];
            let encoded = Encoded { transfer_syntax: &first.transfer_syntax, data_set: &first.data_set };
            facts(encoded, "scanner").unwrap()
        };
        let all: Vec<_> = series.iter().map(of).collect();
        let same = |pick: fn(&crate::rows::InstanceFacts) -> &String, from: usize| {
            all[from..].iter().map(pick).collect::<BTreeSet<_>>().len() == 1
        };
        assert!(same(|f| &f.study_uid, 0) && same(|f| &f.frame_of_reference_uid, 0));
        assert!(same(|f| &f.acquisition, 1) && !same(|f| &f.acquisition, 0));
        let uids: BTreeSet<&String> = series.iter().flat_map(|s| &s.instances).map(|i| &i.sop_instance_uid).collect();
        assert_eq!(uids.len(), series.iter().map(|s| s.instances.len()).sum::<usize>());
        for (series, facts) in series.iter().zip(&all) {
            assert_eq!(series.series_uid, facts.series_uid);
            assert_eq!(facts.enhanced, encoding == Encoding::Enhanced);
            if encoding == Encoding::Classic {
                assert_eq!(facts.expected_instances, Some(series.instances.len() as u32));
            }
        }
    }
}

#[test]
fn the_same_study_again_has_the_same_bytes_and_another_visit_other_uids() {
    let phantom = small(Sequence::Mprage, Orientation::Axial);
    let first = scan(Vendor::Siemens, Encoding::Classic);
    let other = ScanSpec { label: "visit 2".to_owned(), ..first.clone() };
    let once = study(&phantom, &first).unwrap();
    assert_eq!(once, study(&phantom, &first).unwrap());
    assert_ne!(once[0].series_uid, study(&phantom, &other).unwrap()[0].series_uid);
}
