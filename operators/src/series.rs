//! A series as far as its instances tell: its volumes, gaps, counts, and which volume a model should see.
//!
//! Pure functions of rows: the result does not depend on the order of the rows. When a series is complete is for the
//! graph to say.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::geometry::{Evenness, line_up};
use crate::results::dicom::text::date_time;
use crate::rows::{FrameFacts, InstanceFacts, Millis, PatientKey, Seq, SeriesState, StackState};

/// One instance as its series sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceRow {
    /// The event that brought it.
    pub seq: Seq,
    /// When that was.
    pub received: Millis,
    /// Name of the source.
    pub source: Arc<str>,
    /// The id by which its patient is known, where that is another than its header gives.
    pub known_as: Option<PatientKey>,
    /// What its header says.
    pub facts: Arc<InstanceFacts>,
}

impl InstanceRow {
    /// Whose scan, by the id by which he is known.
    pub fn patient(&self) -> &PatientKey {
        self.known_as.as_ref().unwrap_or(&self.facts.patient)
    }
}

/// The state of the series that `rows` belong to (they are taken to be of one series); none without rows.
pub fn summarise<R: Borrow<InstanceRow>>(rows: &[R]) -> Option<SeriesState> {
    let rows: Vec<&InstanceRow> = rows.iter().map(Borrow::borrow).collect();
    let by_uid = |row: &InstanceRow, other: &InstanceRow| {
        (&row.facts.sop_instance_uid, row.seq, row).cmp(&(&other.facts.sop_instance_uid, other.seq, other))
    };
    let earliest = *rows.iter().min_by(|row, other| by_uid(row, other))?;
    let (first, all) = (earliest.facts.as_ref(), || rows.iter().map(|row| row.facts.as_ref()));

    let mut members: Vec<Seq> = rows.iter().map(|row| row.seq).collect();
    members.sort_unstable();
    let mut contents: Vec<Digest> = all().map(|facts| facts.content_digest).collect();
    contents.sort_unstable();
    let patients: BTreeSet<&PatientKey> = rows.iter().map(|row| row.patient()).collect();
    let mut numbers: Vec<Option<i64>> = all().map(|facts| facts.instance_number).collect();
    numbers.sort_unstable();

    Some(SeriesState {
        series_uid: first.series_uid.clone(),
        study_uid: first.study_uid.clone(),
        patient: patients.first().map_or_else(|| first.patient.clone(), |patient| (*patient).clone()),
        source: rows.iter().map(|row| row.source.as_ref()).min().unwrap_or_default().to_owned(),
        patients: PatientKey::count(patients.iter().copied()) as u32,
        instances: rows.len() as u32,
        received: rows.iter().min_by_key(|row| row.seq).map_or(earliest.received, |row| row.received),
        members,
        content_digest: Digest::of_parts("sulcus series content", contents.iter().map(|digest| digest.0.as_slice())),
        demographics_digest: first.demographics_digest,
        stacks: stacks(all()),
        expected: expected(all()),
        enhanced_whole: enhanced_whole(all()),
        numbered: numbers.iter().enumerate().all(|(index, number)| *number == Some(index as i64 + 1)),
        mosaic: all().any(|facts| facts.mosaic),
        frame_of_reference_uid: first.frame_of_reference_uid.clone(),
        acquisition: first.acquisition.clone(),
        keywords: first.keywords.clone(),
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
fn expected<'a>(all: impl Iterator<Item = &'a InstanceFacts>) -> Option<(u32, String)> {
    let most = all.filter_map(|facts| Some((facts.expected_instances?, facts.counted_by.as_str()))).max()?;
    Some((most.0, most.1.to_owned()))
}

/// Every instance is Enhanced, and if they are parts of a concatenation, each part is here.
fn enhanced_whole<'a>(all: impl Iterator<Item = &'a InstanceFacts> + Clone) -> bool {
    let mut parts: BTreeMap<u32, u32> = BTreeMap::new();
    let mut total = 0;
    for facts in all.clone() {
        match facts.concatenation {
            Some([part, of]) => {
                *parts.entry(part).or_default() += 1;
                total = total.max(of);
            }
            None if facts.enhanced => {}
            None => return false,
        }
    }
    let copies: BTreeSet<u32> = parts.values().copied().collect();
    all.clone().all(|facts| facts.enhanced)
        && (parts.is_empty() || (parts.keys().copied().eq(1..=total) && copies.len() == 1))
}

fn stacks<'a>(all: impl Iterator<Item = &'a InstanceFacts>) -> Vec<StackState> {
    let mut by_stack: BTreeMap<&str, Vec<(&FrameFacts, [u32; 2])>> = BTreeMap::new();
    for facts in all {
        for frame in &facts.frames {
            by_stack.entry(&frame.stack).or_default().push((frame, facts.matrix));
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
