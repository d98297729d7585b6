//! The lesions of a run that are lesions of a run before keep their tracking UIDs, and so what readers said of them:
//! first those of the same study, then those of other visits of the patient, whose scans are aligned for it.

use ndarray::ArrayView3;
use sulcus_operators::{
    lesions::{
        tracking::{Followed, Found, affine_nm, follow},
        visits::follow_moved,
    },
    registration::{NotAligned, align},
    rows::{Alignment, LesionRow, RunOutcome},
    volume::Volume,
};

use super::run::load_labels;
use crate::{
    lanes::order::{EarlierRun, EarlierVisit, Failure},
    results_store::ResultsStore,
};

/// What a run is compared with.
pub(super) struct Before<'a> {
    /// Runs on the same study, newest first.
    pub runs: &'a [EarlierRun],
    /// Other visits, nearest first.
    pub visits: &'a [EarlierVisit],
    /// Makes the volume that a visit's run was made on.
    pub volume: &'a mut dyn FnMut(&EarlierVisit) -> Result<Volume, Failure>,
}

/// Lesions that have their identities.
pub(super) struct Kept {
    /// The lesions, by label.
    pub lesions: Vec<LesionRow>,
    /// With what they could not be compared, in words.
    pub notes: Vec<String>,
    /// Visits that they were compared with.
    pub alignments: Vec<Alignment>,
    /// True where an earlier run lent an identity that it may have had from another visit.
    pub of_visits: bool,
}

/// Gives the lesions of a volume the tracking UIDs that they had in earlier runs on the same series or in the same
/// frame of reference, then those that they had at other visits.
pub(super) fn keep_identities(
    results: &ResultsStore,
    volume: &Volume,
    labels: ArrayView3<'_, u16>,
    mut lesions: Vec<LesionRow>,
    before: Before<'_>,
) -> Kept {
    let new = Found { labels, affine_nm: affine_nm(&volume.grid), lesions: &lesions };
    let mut followed = Followed::new();
    let mut of_visits = false;
    let (mut notes, mut alignments) = within_study(results, volume, &new, before.runs, (&mut followed, &mut of_visits));
    if followed.len() < lesions.len() {
        // What is new is compared with the visits anew.
        alignments.clear();
    }
    for visit in before.visits {
        if followed.len() == lesions.len() {
            break;
        }
        match of_visit(results, volume, &new, visit, before.volume, &mut followed) {
            Ok(alignment) => alignments.push(alignment),
            Err(why) => {
                tracing::warn!(run = visit.outcome.run_key.short(), why, "lesions not compared with an earlier visit");
                notes.push(format!("lesions were not compared with {}: {why}", words(visit)));
            }
        }
    }
    for lesion in &mut lesions {
        if let Some(uid) = followed.remove(&lesion.label) {
            lesion.tracking_uid = uid;
        }
    }
    Kept { lesions, notes, alignments, of_visits }
}

/// Follows the runs of the same study. Says with which the lesions could not be compared, and with which visits those
/// were that they are: they lay in this patient space. Sets the second of `followed` where one of the runs knew visits.
fn within_study(
    results: &ResultsStore,
    volume: &Volume,
    new: &Found<'_>,
    runs: &[EarlierRun],
    (followed, of_visits): (&mut Followed, &mut bool),
) -> (Vec<String>, Vec<Alignment>) {
    let (mut lost, mut alignments) = (Vec::new(), Vec::<Alignment>::new());
    for EarlierRun { outcome, same_series } in runs {
        if followed.len() == new.lesions.len() {
            break;
        }
        let same_space = !volume.frame_of_reference_uid.is_empty()
            && outcome.frame_of_reference_uid == volume.frame_of_reference_uid;
        if outcome.lesions.is_empty() || !(*same_series || same_space) {
            continue;
        }
        match load_labels(results, outcome) {
            Ok(labels) => {
                let before = followed.len();
                follow(new, &found(outcome, labels.view()), followed);
                *of_visits |= followed.len() > before && outcome.knows_visits();
                let known = |alignment: &&Alignment| alignments.iter().all(|known| known.run_key != alignment.run_key);
                let others: Vec<Alignment> = outcome.alignments.iter().filter(known).cloned().collect();
                alignments.extend(others.into_iter().filter(|_| followed.len() > before));
            }
            Err(failure) => {
                tracing::warn!(run = outcome.run_key.short(), reason = failure.reason, "lesions not compared");
                lost.push(format!(
                    "lesions were not compared with those of run {}, whose label map cannot be read: what readers \
                     said of these may be lost",
                    outcome.run_key.short()
                ));
            }
        }
    }
    (lost, alignments)
}

fn found<'a>(outcome: &'a RunOutcome, labels: ArrayView3<'a, u16>) -> Found<'a> {
    Found { labels, affine_nm: outcome.affine_nm, lesions: &outcome.lesions }
}

/// Follows a visit, or says in words why not.
fn of_visit(
    results: &ResultsStore,
    volume: &Volume,
    new: &Found<'_>,
    visit: &EarlierVisit,
    volume_of: &mut dyn FnMut(&EarlierVisit) -> Result<Volume, Failure>,
    followed: &mut Followed,
) -> Result<Alignment, String> {
    let outcome = &visit.outcome;
    if let Some(why) = &visit.away {
        return Err(why.clone());
    }
    let labels = load_labels(results, outcome).map_err(|_| "its label map cannot be read".to_owned())?;
    let earlier = volume_of(visit).map_err(|failure| failure.reason)?;
    let aligned = align(volume, &earlier).map_err(|error| match error {
        NotAligned::Empty => "a scan shows too little to be aligned".to_owned(),
        NotAligned::Unlike { .. } => "the scans could not be aligned".to_owned(),
    })?;
    follow_moved(new, &found(outcome, labels.view()), &aligned.motion, followed);
    Ok(Alignment::new(&visit.study_uid, outcome.run_key, &aligned))
}

/// A visit by its day.
fn words(visit: &EarlierVisit) -> String {
    match visit.study_date.as_str() {
        date if date.len() == 8 && date.is_ascii() => {
            format!("the visit of {}-{}-{}", &date[..4], &date[4..6], &date[6..])
        }
        _ => "a visit without a date".to_owned(),
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
