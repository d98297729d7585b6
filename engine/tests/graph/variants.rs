//! What random logs are made of: slices of six kinds of series, and sets of rules.

use sulcus_config::AppliesTo;
use sulcus_engine::ledger::event::{AloneRule, InputRule, PipelineRule, Rules};
use sulcus_operators::{digest::Digest, rows::Role};

use crate::site::{Slice, rules};

/// Series 0 is counted; 1 and 2 are one acquisition, one of them normalised; 3 is Enhanced, and of the second study in
/// another frame of reference; 4 is uncounted; 5 is no MR.
pub fn slice(study: u8, series: u8, number: i64, version: u8, patient: u8) -> Slice {
    let mut slice = Slice { version, patient, ..Slice::new(study, series, number) };
    match series {
        0 => slice.expected = Some(4),
        1 => slice.acquisition = "same".into(),
        2 => {
            slice.acquisition = "same".into();
            slice.image_type = "ORIGINAL\\PRIMARY\\M\\NORM";
            slice.expected = Some(3);
        }
        3 => {
            slice.enhanced = true;
            slice.frame = study % 2;
        }
        5 => slice.modality = "SR",
        _ => {}
    }
    slice.day = ["20200101", "20200102"][usize::from(study) % 2];
    slice
}

pub fn variant(of: u8, applies_to: u8) -> Rules {
    let mut rules = rules();
    // The first studies are scanned on this day, the others on the next.
    let applies_to = [AppliesTo::New, AppliesTo::Since(20_200_102), AppliesTo::Since(20_200_101), AppliesTo::All]
        [usize::from(applies_to) % 4];
    rules.pipelines[0].applies_to = applies_to;
    match of {
        0 => rules.pipelines.clear(),
        1 => rules.pipelines[0].model = Digest::of(b"another model"),
        2 => rules.pipelines[0].when = "ImageType.contains(\"NORM\")".into(),
        3 => rules.pipelines[0].when = "Modality == ".into(),
        4 => rules.pipelines[0].when = "SeriesDescription > 3".into(),
        5 => rules.destinations.truncate(1),
        6 => (rules.sources[0].settle_millis, rules.sources[0].counts) = (1, true),
        7 => {
            let second = rules.pipelines[0].clone();
            rules.pipelines.push(PipelineRule { name: "second".into(), ..second });
        }
        8 => rules.destinations[1].roles = vec![Role::Segmentation, Role::StructuredReport, Role::RejectionNote],
        9 => {
            rules.destinations[0].roles = vec![Role::Segmentation, Role::Report, Role::Page, Role::KeyImages];
            rules.destinations[1].attempts = 1;
        }
        11..17 => of_several_series(&mut rules, of),
        _ => {}
    }
    rules
}

/// Pipelines of several series: some series may be several of them, some are of other patients, frames or acquisitions.
fn of_several_series(rules: &mut Rules, of: u8) {
    let input = |name: &str, when: &str| InputRule { name: name.into(), when: when.into() };
    let alone = |after_millis| AloneRule {
        model: Digest::of(b"alone"),
        model_path: "models/alone".into(),
        model_name: ["alone".into(), "1".into()],
        after_millis,
    };
    let pipeline = &mut rules.pipelines[0];
    pipeline.when = "SeriesNumber == 0.0 || SeriesNumber == 4.0".into();
    pipeline.inputs = vec![
        input("A", "SeriesNumber == 1.0 || SeriesNumber == 2.0"),
        input("B", "SeriesNumber >= 2.0 && Modality == \"MR\""),
    ];
    match of {
        12 => pipeline.alone = Some(alone(1_000)),
        13 => {
            pipeline.when = "Modality == \"MR\"".into();
            pipeline.alone = Some(alone(1_000));
            let again =
                |name: &str, millis| PipelineRule { name: name.into(), alone: Some(alone(millis)), ..pipeline.clone() };
            let others = [again("patient", 2_000), again("second", 1_000)];
            rules.pipelines.extend(others);
        }
        14 => {
            pipeline.inputs.truncate(1);
            pipeline.inputs[0].when = "SeriesNumber == 0.0 || ImageType > 3".into();
            pipeline.alone = Some(alone(500));
        }
        15 => pipeline.inputs[1].when = "Modality ==".into(),
        16 => pipeline.inputs.reverse(),
        _ => {}
    }
}
