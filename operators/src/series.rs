//! A series as far as its instances tell: its volumes, gaps, counts, and which volume a model should see.
//!
//! Pure functions of rows: the result does not depend on the order of the rows. When a series is complete is for the
//! graph to say.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::geometry::{Evenness, line_up};
use crate::results::dicom::text::date_time;
use crate::rows::{FrameFacts, InstanceFacts, Keywords, Millis, PatientKey, Seq, SeriesState, StackState};

/// The part of one instance's facts that its series needs. Field by field as in [`InstanceFacts`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct InstanceRow {
    pub seq: Seq,
    pub received: Millis,
    pub source: String,
    pub sop_instance_uid: String,
    pub study_uid: String,
    pub series_uid: String,
    pub content_digest: Digest,
    pub demographics_digest: Digest,
    pub patient: PatientKey,
    pub instance_number: Option<i64>,
    pub frame_of_reference_uid: String,
    pub matrix: [u32; 2],
    pub enhanced: bool,
    pub mosaic: bool,
    pub expected_instances: Option<u32>,
    pub counted_by: String,
    pub concatenation: Option<[u32; 2]>,
    pub frames: Vec<FrameFacts>,
    pub acquisition: String,
    pub keywords: Keywords,
}

impl From<(Seq, Millis, &str, &InstanceFacts)> for InstanceRow {
    fn from((seq, received, source, facts): (Seq, Millis, &str, &InstanceFacts)) -> Self {
        InstanceRow {
            seq,
            received,
            source: source.to_owned(),
            sop_instance_uid: facts.sop_instance_uid.clone(),
            study_uid: facts.study_uid.clone(),
            series_uid: facts.series_uid.clone(),
            content_digest: facts.content_digest,
            demographics_digest: facts.demographics_digest,
            patient: facts.patient.clone(),
            instance_number: facts.instance_number,
            frame_of_reference_uid: facts.frame_of_reference_uid.clone(),
            matrix: facts.matrix,
            enhanced: facts.enhanced,
            mosaic: facts.mosaic,
            expected_instances: facts.expected_instances,
            counted_by: facts.counted_by.clone(),
            concatenation: facts.concatenation,
            frames: facts.frames.clone(),
            acquisition: facts.acquisition.clone(),
            keywords: Keywords::clone(&facts.keywords),
        }
    }
}

/// The state of the series that `rows` belong to (they are taken to be of one series); none without rows.
pub fn summarise<R: Borrow<InstanceRow>>(rows: &[R]) -> Option<SeriesState> {
    let rows: Vec<&InstanceRow> = rows.iter().map(Borrow::borrow).collect();
    let first = *rows.iter().min_by(|a, b| (&a.sop_instance_uid, a.seq, a).cmp(&(&b.sop_instance_uid, b.seq, b)))?;

    let mut members: Vec<Seq> = rows.iter().map(|row| row.seq).collect();
    members.sort_unstable();
    let mut contents: Vec<Digest> = rows.iter().map(|row| row.content_digest).collect();
    contents.sort_unstable();
    let patients: BTreeSet<&PatientKey> = rows.iter().map(|row| &row.patient).collect();
    let mut numbers: Vec<Option<i64>> = rows.iter().map(|row| row.instance_number).collect();
    numbers.sort_unstable();

    Some(SeriesState {
        series_uid: first.series_uid.clone(),
        study_uid: first.study_uid.clone(),
        patient: patients.first().map_or_else(|| first.patient.clone(), |patient| (*patient).clone()),
        source: rows.iter().map(|row| &row.source).min().cloned().unwrap_or_default(),
        patients: PatientKey::count(patients.iter().copied()) as u32,
        instances: rows.len() as u32,
        received: rows.iter().min_by_key(|row| row.seq).map_or(first.received, |row| row.received),
        members,
        content_digest: Digest::of_parts("sulcus series content", contents.iter().map(|digest| digest.0.as_slice())),
        demographics_digest: first.demographics_digest,
        stacks: stacks(&rows),
        expected: expected(&rows),
        enhanced_whole: enhanced_whole(&rows),
        numbered: numbers.iter().enumerate().all(|(index, number)| *number == Some(index as i64 + 1)),
        mosaic: rows.iter().any(|row| row.mosaic),
        frame_of_reference_uid: first.frame_of_reference_uid.clone(),
        acquisition: first.acquisition.clone(),
        keywords: Keywords::clone(&first.keywords),
    })
}

/// The day that a series was scanned, as the number YYYYMMDD: StudyDate, else the day (UTC) when its first member was
/// `received`. All series of a study share its date, so that a day never parts them.
pub fn scan_day(keywords: &BTreeMap<String, String>, received: Millis) -> u32 {
    let stated = keywords.get("StudyDate").map(|text| text.trim());
    // YYYY.MM.DD is how ACR-NEMA wrote it (PS3.5 section 6.2).
    let stated = stated.map(|text| text.replace('.', "")).filter(|text| text.len() == 8);
    let number = |text: String| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    stated.and_then(number).unwrap_or_else(|| date_time(received, 0).0.parse().unwrap_or(0))
}

/// The largest promised count and who promised it, even where more instances are here: the graph names the
/// contradiction.
fn expected(rows: &[&InstanceRow]) -> Option<(u32, String)> {
    let most = rows.iter().filter_map(|row| Some((row.expected_instances?, row.counted_by.as_str()))).max()?;
    Some((most.0, most.1.to_owned()))
}

/// Every instance is Enhanced, and if they are parts of a concatenation, each part is here.
fn enhanced_whole(rows: &[&InstanceRow]) -> bool {
    let mut parts: BTreeMap<u32, u32> = BTreeMap::new();
    let mut total = 0;
    for row in rows {
        match row.concatenation {
            Some([part, of]) => {
                *parts.entry(part).or_default() += 1;
                total = total.max(of);
            }
            None if row.enhanced => {}
            None => return false,
        }
    }
    let copies: BTreeSet<u32> = parts.values().copied().collect();
    rows.iter().all(|row| row.enhanced)
        && (parts.is_empty() || (parts.keys().copied().eq(1..=total) && copies.len() == 1))
}

fn stacks(rows: &[&InstanceRow]) -> Vec<StackState> {
    let mut by_stack: BTreeMap<&str, Vec<(&FrameFacts, [u32; 2])>> = BTreeMap::new();
    for row in rows {
        for frame in &row.frames {
            by_stack.entry(&frame.stack).or_default().push((frame, row.matrix));
        }
    }
    by_stack
        .into_iter()
        .map(|(stack, frames)| {
            let Evenness { step_um, missing, doubled, uniform, .. } = line_up(&frames);
            StackState { stack: stack.to_owned(), frames: frames.len() as u32, step_um, missing, doubled, uniform }
        })
        .collect()
}

/// Whether a stack holds phase, real, imaginary or otherwise no magnitude, by the image type in its name.
fn is_magnitude(stack: &str) -> bool {
    let not_magnitude = ["P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "B0", "FIELD MAP"];
    // The name's first part is the image type; a complex component or a Siemens image type may follow.
    !stack.split(" | ").flat_map(|part| part.split(['\\', '='])).any(|value| not_magnitude.contains(&value.trim()))
}

/// Which volume of a series a model should see: the largest magnitude stack, which must be whole and even.
///
/// # Errors
/// The reason and the hint of a fault, where no single volume can be named.
pub fn usable_stack(series: &SeriesState) -> Result<&StackState, (String, String)> {
    let fault = |reason: String, hint: &str| Err((reason, hint.to_owned()));
    if series.mosaic {
        return fault(
            "the series is a Siemens mosaic, which is not anatomical".into(),
            "send the anatomical series (MPRAGE or MP2RAGE)",
        );
    }
    let magnitude: Vec<&StackState> = series.stacks.iter().filter(|stack| is_magnitude(&stack.stack)).collect();
    let Some(most) = magnitude.iter().map(|stack| stack.frames).max() else {
        return fault(
            "the series holds phase, real or imaginary images only".into(),
            "send the magnitude images of the acquisition",
        );
    };
    let largest: Vec<&&StackState> = magnitude.iter().filter(|stack| stack.frames == most).collect();
    let [stack] = largest.as_slice() else {
        let names: Vec<&str> = largest.iter().map(|stack| stack.stack.as_str()).collect();
        return fault(
            format!("the series holds {} equally large volumes ({})", names.len(), names.join("; ")),
            "send the volume that the model needs as a series of its own",
        );
    };
    if stack.frames < 2 {
        return fault("the series holds a single slice".into(), "send all slices of the volume");
    }
    if !stack.uniform {
        return fault(
            "the slices differ in orientation, matrix or spacing, lack a position, are unevenly spaced, or their \
             orientation is not two unit vectors at right angles"
                .into(),
            "send one volume with parallel, evenly spaced slices; a scout or a reformat cannot be used",
        );
    }
    if stack.doubled > 0 {
        return fault(
            format!("{} slice positions hold more than one image", stack.doubled),
            "check for a repeated reconstruction or two acquisitions sent as one series",
        );
    }
    if stack.missing > 0 {
        return fault(format!("{} slices are missing between others", stack.missing), "send the missing slices");
    }
    Ok(stack)
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
