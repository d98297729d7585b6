//! Stage `choice`: which series of a study a pipeline runs on. Of several that match, one is run; the others are
//! reported as not used, with the reason. Nothing is decided while a matching series still waits.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Fault, PatientKey, RunOrder, SeriesState, Verdict},
    series::usable_stack,
};

use super::{
    completeness::Judged,
    group::{Key, Row, Rows, each, gather, join},
    inputs::ReportKey,
    matches::Applied,
    rows::Output,
};

/// Version of everything between the stored instances and a run's outcome. Raised where equal inputs would give
/// other results, so that they run again.
pub const ALGORITHM_VERSION: u32 = 1;

/// A matching series as the choice sees it. While it waits its slices change nothing here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Candidate {
    /// More may come.
    Waiting {
        /// SeriesInstanceUID.
        series_uid: String,
        /// StudyInstanceUID.
        study_uid: String,
    },
    /// Complete or stalled.
    Closed(Arc<Judged>),
}

impl Candidate {
    /// The candidate that a judged series is.
    pub fn of(judged: &Arc<Judged>) -> Self {
        let SeriesState { series_uid, study_uid, .. } = judged.state.as_ref();
        match judged.completeness.verdict {
            Verdict::Waiting => Candidate::Waiting { series_uid: series_uid.clone(), study_uid: study_uid.clone() },
            Verdict::Complete | Verdict::Stalled => Candidate::Closed(Arc::clone(judged)),
        }
    }

    fn study_uid(&self) -> &str {
        match self {
            Candidate::Waiting { study_uid, .. } => study_uid,
            Candidate::Closed(judged) => &judged.state.study_uid,
        }
    }

    /// A matching series that cannot be used is a fault.
    fn fault(&self) -> Option<Fault> {
        let Candidate::Closed(judged) = self else { return None };
        if judged.completeness.verdict != Verdict::Stalled {
            return None;
        }
        let last = judged.completeness.reasons.last().cloned().unwrap_or_default();
        let again = || (last, "send the missing instances, or withdraw the series".to_owned());
        let (reason, hint) = judged.refusal.clone().unwrap_or_else(again);
        Some(Fault { stage: "matches".to_owned(), key: judged.state.series_uid.clone(), reason, hint })
    }
}

/// A matching series with the model that the rule names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offer {
    candidate: Candidate,
    model: Digest,
}

/// What a pipeline is to do with a study.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Choice {
    /// Nothing is decided: no run is wanted, and what was reported stays.
    Hold,
    /// One series is run.
    Use {
        /// The run.
        order: Arc<RunOrder>,
        /// Whose study.
        patient: PatientKey,
        /// StudyDate, `YYYYMMDD`; empty where missing.
        study_date: String,
        /// Demographics of the series.
        demographics_digest: Digest,
        /// The others, each with the reason.
        not_used: Vec<(String, String)>,
        /// Why the series that is run may not be whole.
        doubts: Vec<String>,
    },
    /// No matching series can be used.
    Gone {
        /// Why, in words.
        reason: String,
        /// The series, each with the reason.
        not_used: Vec<(String, String)>,
    },
}

/// The choice among the matching series of one study.
fn choose(offers: &[&Offer]) -> Choice {
    let mut closed: Vec<(&Judged, Digest)> = Vec::new();
    for offer in offers {
        match &offer.candidate {
            Candidate::Waiting { .. } => return Choice::Hold,
            Candidate::Closed(judged) => closed.push((judged, offer.model)),
        }
    }
    let patients = PatientKey::count(closed.iter().map(|(judged, _)| &judged.state.patient));
    if patients > 1 {
        let reason = format!("the study holds series of {patients} patients, and none is chosen");
        let mut not_used: Vec<(String, String)> =
            closed.iter().map(|(judged, _)| (judged.state.series_uid.clone(), reason.clone())).collect();
        not_used.sort();
        return Choice::Gone { reason, not_used };
    }
    let (mut complete, stalled): (Vec<_>, Vec<_>) =
        closed.into_iter().partition(|(judged, _)| judged.completeness.verdict == Verdict::Complete);
    complete.sort_by(|(a, _), (b, _)| preference(&a.state).cmp(&preference(&b.state)));
    let unusable = |(judged, _): &(&Judged, Digest)| {
        let why = judged.completeness.reasons.last().cloned().unwrap_or_default();
        (judged.state.series_uid.clone(), format!("cannot be used: {why}"))
    };
    let mut not_used: Vec<(String, String)> = stalled.iter().map(unusable).collect();
    let used = complete.first().and_then(|(judged, model)| {
        let stack = usable_stack(&judged.state).ok()?;
        Some((judged, *model, stack.stack.clone()))
    });
    let Some((judged, model, stack)) = used else {
        not_used.sort();
        let reason = "no series of the study that the pipeline takes can be used".to_owned();
        return Choice::Gone { reason, not_used };
    };
    let state = &judged.state;
    not_used.extend(
        complete.iter().skip(1).map(|(other, _)| (other.state.series_uid.clone(), passed_over(&other.state, state))),
    );
    not_used.sort();
    not_used.dedup();
    let order = Arc::new(RunOrder {
        run_key: run_key(state, &stack, model),
        study_uid: state.study_uid.clone(),
        series_uid: state.series_uid.clone(),
        stack,
        model,
        members: state.members.clone(),
    });
    Choice::Use {
        order,
        patient: state.patient.clone(),
        study_date: state.keywords.get("StudyDate").cloned().unwrap_or_default(),
        demographics_digest: state.demographics_digest,
        not_used,
        doubts: judged.doubts.clone(),
    }
}

/// RunKey: equal pixels, geometry, model and algorithm give equal runs of one patient. A corrected name runs nothing again; a
/// corrected id does, since lesions have the identities that they had at the patient's other visits.
fn run_key(state: &SeriesState, stack: &str, model: Digest) -> Digest {
    let version = ALGORITHM_VERSION.to_le_bytes();
    let parts = [state.content_digest.0.as_slice(), stack.as_bytes(), &model.0, &version];
    // Without an id there are no other visits.
    let patient = state.patient.named().into_iter().flatten().map(str::as_bytes);
    Digest::of_parts("run", parts.into_iter().chain(patient))
}

/// Smaller is preferred: the larger series, then prescan-normalised, then corrected for distortion, then the smaller
/// UID. Reconstructions of one acquisition have equal sizes; a localizer is never preferred to what it was made for.
fn preference(state: &SeriesState) -> (Reverse<u32>, bool, u8, &str) {
    (Reverse(state.instances), !has(state, "NORM"), distortion(state), &state.series_uid)
}

/// True where ImageType, or the type that a volume's name carries, has this value.
fn has(state: &SeriesState, value: &str) -> bool {
    let image_type = state.keywords.get("ImageType").map(String::as_str).unwrap_or_default();
    let stacks = state.stacks.iter().map(|stack| stack.stack.as_str());
    stacks.chain([image_type]).any(|text| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == value))
}

fn distortion(state: &SeriesState) -> u8 {
    ["DIS3D", "DIS2D"].iter().position(|value| has(state, value)).unwrap_or(2) as u8
}

fn passed_over(other: &SeriesState, used: &SeriesState) -> String {
    let same = !used.acquisition.is_empty()
        && used.acquisition == other.acquisition
        && used.frame_of_reference_uid == other.frame_of_reference_uid;
    let why = if used.instances > other.instances {
        "which has more instances"
    } else if has(used, "NORM") && !has(other, "NORM") {
        "which is prescan-normalised"
    } else if distortion(used) < distortion(other) {
        "which is better corrected for distortion"
    } else {
        "which comes first by UID"
    };
    let what = if same { "the same acquisition as" } else { "one report a study; used instead:" };
    format!("{what} {}, {why}", used.series_uid)
}

/// What each pipeline is to do with each study; matching series that cannot be used are faults.
pub fn stage<'scope>(judged: Rows<'scope>, applied: Rows<'scope>) -> (Rows<'scope>, Rows<'scope>) {
    let candidates = each(judged, |key, row, out| {
        if let Row::Judged(judged) = row {
            out.push((key, Row::Candidate(Candidate::of(&judged))));
        }
    });
    let offers = join(candidates, applied, |_, candidate, applied| match (candidate, applied) {
        (Row::Candidate(candidate), Row::Applied(Applied { pipeline, model })) => {
            let key = (candidate.study_uid().to_owned(), pipeline.clone());
            Some((Key::Report(key), Row::Offer(Offer { candidate: candidate.clone(), model: *model })))
        }
        _ => None,
    });
    let faults = each(offers.clone(), |key, row, out| {
        if let Row::Offer(offer) = row {
            out.extend(offer.candidate.fault().map(|fault| (key, Output::Fault(fault).into())));
        }
    });
    let choices = gather(offers, "choice", |_, rows, out| {
        let offers = rows.iter().filter_map(|row| if let Row::Offer(offer) = row { Some(offer) } else { None });
        out.push(Row::Choice(Arc::new(choose(&offers.collect::<Vec<_>>()))));
    });
    (choices, faults)
}

/// The same from the whole log.
pub fn batch(
    judged: &BTreeMap<String, Judged>,
    applied: &[(String, Applied)],
) -> (BTreeMap<ReportKey, Choice>, Vec<Fault>) {
    let mut offers: BTreeMap<ReportKey, Vec<Offer>> = BTreeMap::new();
    for (series_uid, Applied { pipeline, model }) in applied {
        if let Some(judged) = judged.get(series_uid) {
            let offer = Offer { candidate: Candidate::of(&Arc::new(judged.clone())), model: *model };
            offers.entry((judged.state.study_uid.clone(), pipeline.clone())).or_default().push(offer);
        }
    }
    let faults = offers.values().flatten().filter_map(|offer| offer.candidate.fault()).collect();
    let choices = offers.into_iter().map(|(key, mut offers)| {
        offers.sort();
        (key, choose(&offers.iter().collect::<Vec<_>>()))
    });
    (choices.collect(), faults)
}
