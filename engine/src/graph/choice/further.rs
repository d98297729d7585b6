//! Which series of a study are the further inputs of a run whose first series is chosen (UNI with INV1 and INV2).
//!
//! An input is a complete series of the same study, patient and frame of reference; of several, one of the same
//! acquisition first, then as for the first series. Nothing is decided while one that it may be still waits. What was
//! acquired with another first series of the study is that one's. Whether the volumes lie on one grid is seen where
//! voxels are, in the worker.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sulcus_operators::{
    rows::{Fault, PatientKey, RunInput, SeriesState, Verdict},
    series::usable_stack,
};

use super::{Candidate, Offer, preference};
use crate::graph::{completeness::Judged, matches::Plan};

/// The further inputs of a run.
pub enum Further {
    /// A series that may be one of them still waits.
    Held,
    /// All are there.
    Found(Found),
    /// At least one is missing.
    Lacking {
        /// Which, and why, in words.
        words: String,
        /// The series that might have been one, each with the reason.
        passed: BTreeMap<String, String>,
    },
}

/// Further inputs that are there; of a model that reads one series none.
#[derive(Default)]
pub struct Found {
    /// In the order of the plan.
    pub inputs: Vec<RunInput>,
    /// Their states.
    pub states: Vec<Arc<SeriesState>>,
    /// Why one may not be whole.
    pub doubts: Vec<String>,
    /// The series that might have been one, each with the reason.
    pub passed: BTreeMap<String, String>,
}

/// What of an offer may be an input of a plan: its places, and whether the rule of each can be evaluated.
fn places<'o>(offer: &'o Offer, plan: &Plan) -> impl Iterator<Item = (usize, Option<&'o Fault>)> {
    let of_plan = offer.applied.places.iter().filter(move |place| place.plan.as_ref() == plan);
    of_plan.map(|place| (place.input, place.fault.as_ref()))
}

/// Faults of what may be an input beside a first series that is there: a series that cannot be used, and a rule that
/// fails on one.
pub fn faults(offers: &[&Offer]) -> BTreeSet<Fault> {
    let plans: BTreeSet<&Arc<Plan>> = offers.iter().filter_map(|offer| offer.applied.first.as_ref()).collect();
    let mut faults = BTreeSet::new();
    for offer in offers {
        for (_, fault) in plans.iter().flat_map(|plan| places(offer, plan)) {
            faults.extend(fault.cloned().or_else(|| offer.candidate.fault()));
        }
    }
    faults
}

/// The further inputs beside `first`, which `plan` governs.
pub fn find(first: &Judged, plan: &Plan, offers: &[&Offer]) -> Further {
    let others: Vec<&Offer> =
        offers.iter().copied().filter(|offer| offer.candidate.series_uid() != first.state.series_uid).collect();
    // Acquisitions of other first series, whose inputs are theirs.
    let theirs = others.iter().filter(|offer| offer.applied.first.is_some());
    let theirs: BTreeSet<&str> = theirs.filter_map(|offer| Some(offer.closed()?.state.acquisition.as_str())).collect();
    let mut passed: BTreeMap<String, String> = BTreeMap::new();
    let mut may_be: Vec<Vec<&Judged>> = vec![Vec::new(); plan.inputs.len()];
    let mut cannot_be: BTreeMap<usize, String> = BTreeMap::new();
    for offer in others {
        for (input, fault) in places(offer, plan) {
            let Some((name, may_be)) = plan.inputs.get(input).map(|rule| &rule.name).zip(may_be.get_mut(input)) else {
                continue;
            };
            match &offer.candidate {
                _ if fault.is_some() => {}
                Candidate::Waiting { .. } => return Further::Held,
                Candidate::Closed(judged) => match unfit(judged, &first.state, &theirs) {
                    None => may_be.push(judged),
                    Some(why) => {
                        cannot_be.insert(input, format!("{} cannot be: {why}", judged.state.series_uid));
                        passed.insert(judged.state.series_uid.clone(), format!("cannot be used as {name}: {why}"));
                    }
                },
            }
        }
    }
    may_be.iter_mut().for_each(|may_be| may_be.sort_by(|a, b| nearest(&a.state, &b.state, &first.state)));
    let chosen = assign(&may_be);
    let mut found = Found::default();
    let mut missing = Vec::new();
    for (input, rule) in plan.inputs.iter().enumerate() {
        let name = &rule.name;
        let judged = chosen.iter().find(|(_, (of, _))| *of == input).map(|(_, (_, judged))| *judged);
        let stack = judged.and_then(|judged| Some((judged, usable_stack(&judged.state).ok()?)));
        let Some((judged, stack)) = stack else {
            let taken = may_be.get(input).is_some_and(|may_be| !may_be.is_empty());
            let why = match cannot_be.get(&input) {
                Some(why) => why,
                None if taken => "the series that it may be is used as another input",
                None => "no series of the study is taken as it",
            };
            missing.push(format!("{name} is missing ({why})"));
            continue;
        };
        let SeriesState { series_uid, members, .. } = judged.state.as_ref();
        found.inputs.push(RunInput {
            name: name.clone(),
            series_uid: series_uid.clone(),
            stack: stack.stack.clone(),
            members: members.clone(),
        });
        found.states.push(Arc::clone(&judged.state));
        found.doubts.extend(judged.doubts.iter().map(|doubt| format!("{name}: {doubt}")));
        let beside = may_be.get(input).into_iter().flatten().filter(|other| other.state.series_uid != *series_uid);
        for other in beside {
            passed.entry(other.state.series_uid.clone()).or_insert_with(|| format!("as {name} is used: {series_uid}"));
        }
    }
    found.inputs.iter().for_each(|input| {
        passed.remove(&input.series_uid);
    });
    if missing.is_empty() {
        found.passed = passed;
        Further::Found(found)
    } else {
        for RunInput { name, series_uid, .. } in found.inputs {
            passed.insert(series_uid, format!("not used as {name} while others are missing"));
        }
        Further::Lacking { words: missing.join("; "), passed }
    }
}

/// Why a closed series cannot be an input beside the first; none where it can.
fn unfit(judged: &Judged, first: &SeriesState, theirs: &BTreeSet<&str>) -> Option<String> {
    let state = &judged.state;
    if judged.completeness.verdict == Verdict::Stalled {
        return Some(judged.completeness.reasons.last().cloned().unwrap_or_default());
    }
    if PatientKey::count([&state.patient, &first.patient]) > 1 {
        return Some(format!("it is of another patient than {}", first.series_uid));
    }
    if state.frame_of_reference_uid != first.frame_of_reference_uid {
        return Some(format!("it lies in another frame of reference than {}", first.series_uid));
    }
    let acquisition = state.acquisition.as_str();
    if !acquisition.is_empty() && acquisition != first.acquisition && theirs.contains(acquisition) {
        return Some(format!("it was acquired with another series than {}", first.series_uid));
    }
    None
}

fn nearest(a: &SeriesState, b: &SeriesState, first: &SeriesState) -> Ordering {
    let same = |state: &SeriesState| state.acquisition == first.acquisition;
    same(b).cmp(&same(a)).then_with(|| preference(a).cmp(&preference(b)))
}

/// Gives each input a series of its own, in the order of inputs and of preference: by series its input and itself. Where two
/// inputs want one series, the one that may be another gives way.
fn assign<'j>(may_be: &[Vec<&'j Judged>]) -> BTreeMap<&'j str, (usize, &'j Judged)> {
    let mut chosen = BTreeMap::new();
    for input in 0..may_be.len() {
        place(input, may_be, &mut chosen, &mut BTreeSet::new());
    }
    chosen
}

/// Finds a series for one input, moving others where needed; false where there is none. It goes no deeper than there are
/// inputs.
fn place<'j>(
    input: usize,
    may_be: &[Vec<&'j Judged>],
    chosen: &mut BTreeMap<&'j str, (usize, &'j Judged)>,
    tried: &mut BTreeSet<&'j str>,
) -> bool {
    for judged in may_be.get(input).into_iter().flatten() {
        let uid = judged.state.series_uid.as_str();
        if !tried.insert(uid) {
            continue;
        }
        let held_by = chosen.get(uid).map(|(holder, _)| *holder);
        if held_by.is_none_or(|holder| place(holder, may_be, chosen, tried)) {
            chosen.insert(uid, (input, judged));
            return true;
        }
    }
    false
}
