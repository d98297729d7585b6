//! Stage `choice`: which series of a study a pipeline runs on. Of several that match, one is run; the others are
//! reported as not used, with the reason. Nothing is decided while a matching series still waits. A pipeline whose model
//! reads several series has its further inputs chosen beside the first (`choice/further.rs`); where they do not all come, it waits,
//! or goes on alone after the time that its rule states, by a timer on the first series.

mod further;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Fault, PatientKey, RunOrder, SeriesState, Verdict},
    series::usable_stack,
};

use self::further::{Found, Further};
use super::{
    completeness::Judged,
    group::{Key, Row, Rows},
    inputs::ReportKey,
    keyed::{all, distinct, gather},
    matches::{Alone, Applied, Plan},
    rows::{InputsAwaited, Output},
};
use crate::ledger::event::{Timer, TimerKind};

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

    fn series_uid(&self) -> &str {
        match self {
            Candidate::Waiting { series_uid, .. } => series_uid,
            Candidate::Closed(judged) => &judged.state.series_uid,
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

/// A matching series with what the pipeline takes it as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offer {
    candidate: Candidate,
    applied: Arc<Applied>,
}

impl Offer {
    /// What a judged series is to a pipeline that applies.
    pub(super) fn of(judged: &Arc<Judged>, applied: &Arc<Applied>) -> Self {
        Offer { candidate: Candidate::of(judged), applied: Arc::clone(applied) }
    }

    /// The report that it is offered for.
    pub(super) fn report(&self) -> ReportKey {
        (self.candidate.study_uid().to_owned(), self.applied.pipeline.clone())
    }

    fn closed(&self) -> Option<&Judged> {
        match &self.candidate {
            Candidate::Waiting { .. } => None,
            Candidate::Closed(judged) => Some(judged),
        }
    }

    /// A series that may be the first of a run and cannot be used is a fault.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.applied.first.as_ref().and_then(|_| self.candidate.fault())
    }
}

/// What a pipeline is to do with a study.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Choice {
    /// Nothing is decided: no run is wanted, and what was reported stays.
    Hold,
    /// One series is run, alone or with its further inputs.
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
        /// Why a series that is run may not be whole.
        doubts: Vec<String>,
        /// What it is run without, in words.
        without: Vec<String>,
    },
    /// No matching series can be used, or not without others that are missing.
    Gone {
        /// Why, in words.
        reason: String,
        /// The series, each with the reason.
        not_used: Vec<(String, String)>,
    },
}

/// The choice among the matching series of one study, and what else is told of it; none where none may be the first.
fn choose((study_uid, pipeline): &ReportKey, offers: &[&Offer], told: &mut Vec<Output>) -> Option<Choice> {
    let mut closed: Vec<(&Judged, &Plan)> = Vec::new();
    let firsts = || offers.iter().filter_map(|offer| Some((offer, offer.applied.first.as_deref()?)));
    firsts().next()?;
    told.extend(further::faults(offers).into_iter().map(Output::Fault));
    for (offer, plan) in firsts() {
        match offer.closed() {
            None => return Some(Choice::Hold),
            Some(judged) => closed.push((judged, plan)),
        }
    }
    let patients = PatientKey::count(closed.iter().map(|(judged, _)| &judged.state.patient));
    if patients > 1 {
        let reason = format!("the study holds series of {patients} patients, and none is chosen");
        let mut not_used: Vec<(String, String)> =
            closed.iter().map(|(judged, _)| (judged.state.series_uid.clone(), reason.clone())).collect();
        not_used.sort();
        return Some(Choice::Gone { reason, not_used });
    }
    let (mut complete, stalled): (Vec<_>, Vec<_>) =
        closed.into_iter().partition(|(judged, _)| judged.completeness.verdict == Verdict::Complete);
    complete.sort_by(|(a, _), (b, _)| preference(&a.state).cmp(&preference(&b.state)));
    let unusable = |(judged, _): &(&Judged, &Plan)| {
        let why = judged.completeness.reasons.last().cloned().unwrap_or_default();
        (judged.state.series_uid.clone(), format!("cannot be used: {why}"))
    };
    let mut not_used: BTreeMap<String, String> = stalled.iter().map(unusable).collect();
    let used = complete.first().and_then(|(judged, plan)| {
        let stack = usable_stack(&judged.state).ok()?;
        Some((*judged, *plan, stack.stack.clone()))
    });
    let Some((judged, plan, stack)) = used else {
        let reason = "no series of the study that the pipeline takes can be used".to_owned();
        return Some(Choice::Gone { reason, not_used: not_used.into_iter().collect() });
    };
    let state = &judged.state;
    not_used.extend(
        complete.iter().skip(1).map(|(other, _)| (other.state.series_uid.clone(), passed_over(&other.state, state))),
    );
    let (found, model, without) = match further::find(judged, plan, offers) {
        Further::Held => return Some(Choice::Hold),
        Further::Found(found) => (Some(found), plan.model, Vec::new()),
        Further::Lacking { words, passed } => {
            passed.into_iter().for_each(|(uid, why)| {
                not_used.entry(uid).or_insert(why);
            });
            let awaited = |reason: String| {
                let (study_uid, pipeline) = (study_uid.clone(), pipeline.clone());
                InputsAwaited { study_uid, pipeline, series_uid: state.series_uid.clone(), reason }
            };
            match &plan.alone {
                None => {
                    told.push(Output::Awaited(awaited(words.clone())));
                    let reason = format!("it is made of several series: {words}");
                    return Some(Choice::Gone { reason, not_used: not_used.into_iter().collect() });
                }
                Some(Alone { after_millis, .. }) if judged.waited < *after_millis => {
                    let (millis, seconds) = (*after_millis, seconds(*after_millis));
                    let then = format!("{words}; after {seconds} {} is run alone", state.series_uid);
                    told.push(Output::Awaited(awaited(then)));
                    let (series_uid, as_of) = (state.series_uid.clone(), state.first_member());
                    told.push(Output::Timer(Timer { series_uid, kind: TimerKind::Inputs { millis }, as_of, millis }));
                    return Some(Choice::Hold);
                }
                Some(Alone { model, after_millis }) => (None, *model, vec![alone(&words, *after_millis)]),
            }
        }
    };
    let Found { inputs, states, doubts, passed } = found.unwrap_or_default();
    passed.into_iter().for_each(|(uid, why)| {
        not_used.entry(uid).or_insert(why);
    });
    inputs.iter().for_each(|input| {
        not_used.remove(&input.series_uid);
    });
    let run_key = states.iter().zip(&inputs).fold(run_key(state, &stack, model), |run_key, (state, input)| {
        Digest::of_parts("run with input", [&run_key.0, &state.content_digest.0, input.stack.as_bytes()])
    });
    let order = Arc::new(RunOrder {
        run_key,
        study_uid: state.study_uid.clone(),
        series_uid: state.series_uid.clone(),
        stack,
        model,
        members: state.members.clone(),
        inputs,
    });
    Some(Choice::Use {
        order,
        patient: state.patient.clone(),
        study_date: state.keywords.get("StudyDate").cloned().unwrap_or_default(),
        demographics_digest: state.demographics_digest,
        not_used: not_used.into_iter().collect(),
        doubts: judged.doubts.iter().cloned().chain(doubts).collect(),
        without,
    })
}

/// What a reader is told of a run that went on alone.
fn alone(words: &str, after_millis: u64) -> String {
    let seconds = seconds(after_millis);
    format!(
        "Made from one series alone, by the model for that, since not all series came that the pipeline reads: {words}; \
         they were waited for {seconds}. When they come, the next revision is made from all."
    )
}

fn seconds(millis: u64) -> String {
    if millis.is_multiple_of(1000) { format!("{} s", millis / 1000) } else { format!("{millis} ms") }
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

/// What each pipeline is to do with each study; what is told: further inputs that are waited for, and those that cannot be used.
pub fn stage(offers: Rows<'_>) -> (Rows<'_>, Rows<'_>) {
    const CHOICES: usize = 0;
    const TIMERS: usize = 1;
    const TOLD: usize = 2;
    let [choices, timers, others] = gather([offers], "choice", |key, rows, out| {
        let Key::Report(report) = key else { return };
        let offers = rows.iter().filter_map(|row| if let Row::Offer(offer) = row { Some(offer) } else { None });
        let mut told = Vec::new();
        let choice = choose(report, &offers.collect::<Vec<_>>(), &mut told);
        out.extend(choice.map(|choice| (CHOICES, key.clone(), Row::Choice(Arc::new(choice)))));
        out.extend(told.into_iter().map(|output| match &output {
            Output::Timer(timer) => (TIMERS, Key::Series(timer.series_uid.as_str().into()), output.into()),
            _ => (TOLD, key.clone(), output.into()),
        }));
    });
    // Two pipelines may wait for one timer.
    (choices, all([others, distinct(timers, "timers of inputs")]))
}

/// The same from the whole log: choices, and what is told.
pub fn batch(
    judged: &BTreeMap<String, Judged>,
    applied: &[(String, Applied)],
) -> (BTreeMap<ReportKey, Choice>, Vec<Output>) {
    let mut offers: BTreeMap<ReportKey, Vec<Offer>> = BTreeMap::new();
    for (series_uid, applied) in applied {
        if let Some(judged) = judged.get(series_uid) {
            let offer = Offer::of(&Arc::new(judged.clone()), &Arc::new(applied.clone()));
            offers.entry(offer.report()).or_default().push(offer);
        }
    }
    let mut told: Vec<Output> = offers.values().flatten().filter_map(Offer::fault).map(Output::Fault).collect();
    let choices = offers.into_iter().filter_map(|(key, mut offers)| {
        offers.sort();
        let choice = choose(&key, &offers.iter().collect::<Vec<_>>(), &mut told)?;
        Some((key, choice))
    });
    (choices.collect(), told)
}
