//! Stage `completeness`: whether a series may be worked on, by evidence, with the reasons in words.
//!
//! Strongest first. Evidence that lists or counts closes a series at once (`evidence.rs`): what its sender asked us to
//! keep, what its scanner says that it made, how many instances its headers promise; or Enhanced objects that are whole in
//! themselves. Evidence that only looks complete (even steps, no gap, numbered 1 to N, released by its sender; or as many
//! instances at its archive) needs the source's settle window, since every prefix of a series looks complete to a sender
//! that opens one association a slice. An operator may close a series as it stands, or let it wait whatever else is known.
//! The idle timer is the last resort. A late slice makes other timers and so another verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    rows::{Completeness, Fault, Seq, SeriesState, Verdict},
    series::usable_stack,
};

use super::{
    choice::Offer,
    evidence::{Weighed, weigh},
    group::{Key, Row, Rows, in_force},
    keyed::gather_by,
    listings::Listed,
    rows::Output,
};
use crate::ledger::event::{Directive, Rules, SourcePolicy, Timer, TimerKind};

/// A series with its verdict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Judged {
    /// The series.
    pub state: Arc<SeriesState>,
    /// The verdict.
    pub completeness: Completeness,
    /// Timers that it waits for.
    pub waits: Vec<TimerKind>,
    /// Why its geometry or its patients forbid to use it, and what to do; none where it is usable.
    pub refusal: Option<(String, String)>,
    /// Evidence that contradicts.
    pub faults: Vec<Fault>,
    /// Why a complete series may not be whole after all, for whoever reads its result.
    pub doubts: Vec<String>,
    /// How long further series of its study were waited for, in milliseconds: the longest timer that ran out.
    pub waited: u64,
}

/// What an operator last said of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Directed {
    /// What is to be done.
    pub directive: Directive,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// MR Image, Enhanced MR Image, Enhanced MR Color Image, Legacy Converted Enhanced MR Image (PS3.4 B.5).
const MR_IMAGES: [&str; 4] = [
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.3",
    "1.2.840.10008.5.1.4.1.1.4.4",
];

/// True for a series that a pipeline may take: MR images. Spectra, raw data, secondary captures and other modalities
/// are kept and never wait.
pub fn is_candidate(keywords: &BTreeMap<String, String>) -> bool {
    let keyword = |name: &str| keywords.get(name).map(String::as_str);
    keyword("Modality") == Some("MR") && keyword("SOPClassUID").is_some_and(|class| MR_IMAGES.contains(&class))
}

/// The verdict. `released` is the series' last orderly release; `fired` says whether a timer set at the series' last
/// member ran out; `directed` is what an operator last said of it, `listed` how it stands to what is listed and counted.
pub fn judge(
    state: &Arc<SeriesState>,
    released: Option<Seq>,
    fired: impl Fn(TimerKind) -> bool,
    directed: Option<&Directed>,
    listed: Listed,
) -> Judged {
    let refusal = refusal(state);
    let count = state.instances;
    let Weighed { closes: counted, level, short, mut reasons, mut faults, mut doubts } = weigh(state, listed);
    if state.patients > 1 {
        faults
            .push((format!("series names {} patients", state.patients), "withdraw the instances of the wrong patient"));
    }
    if state.enhanced_whole {
        reasons.push("every Enhanced object is whole in itself".to_owned());
    }
    let whole = state.numbered && state.stacks.iter().all(|s| s.uniform && s.missing == 0 && s.doubled == 0);
    let released = released.is_some_and(|seq| seq > state.last_member());
    let looks_whole = whole && released && !short && refusal.is_none();
    let level = level && !short;
    let (settled, idle) = (fired(TimerKind::Settle), fired(TimerKind::Idle));
    let told = |directive| directed.filter(|directed| directed.directive == directive);
    let (held, closed) = (told(Directive::Hold), told(Directive::Close { as_of: state.last_member() }));
    let mut as_it_stands = false;
    let closes = if let Some(Directed { reason, by, .. }) = held {
        reasons.push(format!("held by {by}: {reason}; waits until it is released or closed"));
        false
    } else if (counted && !short) || state.enhanced_whole {
        true
    } else if level && settled {
        reasons.push("nothing came within the settle window".to_owned());
        true
    } else if looks_whole && settled {
        reasons.push(format!(
            "{count} instances numbered 1 to {count}, even steps, no gap, released by the sender, and nothing came \
             within the settle window"
        ));
        true
    } else if let Some(Directed { reason, by, .. }) = closed {
        as_it_stands = true;
        reasons.push(format!("closed as it stands by {by}: {reason}"));
        doubts.push(doubt_of_closed(state, reason));
        true
    } else if idle {
        reasons.push("only the idle timer says so: nothing came for as long as the source may rest".to_owned());
        doubts.push(doubt(state, released));
        true
    } else {
        false
    };
    let mut waits = Vec::new();
    let verdict = if held.is_some() {
        Verdict::Waiting
    } else if !closes {
        if directed.is_some() {
            reasons.push("was closed by an operator, and other instances came or went since".to_owned());
        }
        waits.extend([TimerKind::Idle, TimerKind::Count]);
        if looks_whole || level {
            waits.push(TimerKind::Settle);
            let why = if level { "its archive may be given more just now" } else { "looks complete and was released" };
            reasons.push(format!("{why}; waits for the settle window"));
        } else {
            reasons.push("waits for more instances, or for the idle timer".to_owned());
        }
        Verdict::Waiting
    } else if let Some((reason, _)) = &refusal {
        reasons.push(reason.clone());
        Verdict::Stalled
    } else if short && !as_it_stands {
        reasons.push("the promised count was not reached".to_owned());
        Verdict::Stalled
    } else {
        Verdict::Complete
    };
    waits.sort();
    let fault = |(reason, hint): (String, &str)| {
        let (stage, key) = ("completeness".to_owned(), state.series_uid.clone());
        Fault { stage, key, reason, hint: hint.to_owned() }
    };
    let faults = faults.into_iter().map(fault).collect();
    let completeness = Completeness { series_uid: state.series_uid.clone(), verdict, reasons };
    Judged { state: Arc::clone(state), completeness, waits, refusal, faults, doubts, waited: 0 }
}

/// What a reader is told of a series that only the idle timer closed.
fn doubt(state: &SeriesState, released: bool) -> String {
    let mut because = Vec::new();
    if !released {
        because.push("its sender never said that it was done");
    }
    if !state.numbered {
        because.push("its instance numbers do not run from 1 to their count");
    }
    let because = if because.is_empty() { "no header promises a count".to_owned() } else { because.join(", and ") };
    format!(
        "The series may be incomplete: {} instances came, {because}. Lesions in slices that are missing are not in \
         this report.",
        state.instances
    )
}

/// What a reader is told of a series that an operator closed.
fn doubt_of_closed(state: &SeriesState, reason: &str) -> String {
    let promised = match &state.expected {
        Some((expected, by)) if *expected > state.instances => format!(" of {expected} that {by} promises"),
        _ => String::new(),
    };
    format!(
        "An operator closed the series as it stood ({reason}), and it may be incomplete: {} instances came{promised}. \
         Lesions in slices that are missing are not in this report.",
        state.instances
    )
}

fn refusal(state: &SeriesState) -> Option<(String, String)> {
    if state.patients > 1 {
        let hint = "withdraw the instances of the wrong patient";
        return Some((format!("series names {} patients", state.patients), hint.to_owned()));
    }
    match usable_stack(state) {
        Err(refusal) => Some(refusal),
        Ok(stack) => skipped(state, stack.step_um),
    }
}

/// Refuses even steps that are a multiple of SpacingBetweenSlices where instance numbers have holes as well: every
/// second slice, or every third, is missing.
fn skipped(state: &SeriesState, step_um: i64) -> Option<(String, String)> {
    let nominal: f64 = state.keywords.get("SpacingBetweenSlices")?.parse().ok()?;
    let times = step_um as f64 / 1000.0 / nominal;
    let multiple = times.is_finite() && times > 1.5 && (times - times.round()).abs() < 0.05;
    (multiple && !state.numbered).then(|| {
        let step = step_um as f64 / 1000.0;
        let reason =
            format!("slices lie {step} mm apart where SpacingBetweenSlices says {nominal} mm: some are missing");
        (reason, "send the missing slices".to_owned())
    })
}

/// Verdicts on all series that a pipeline may take, by `evidence` (releases, timers that fired, operators, lists): what each
/// is to the pipelines that apply; the verdicts, the timers that they wait for, and evidence that contradicts.
pub fn stage<'scope>(
    states: Rows<'scope>,
    [released, fired, directed, listed]: [Rows<'scope>; 4],
    applied: Rows<'scope>,
    rules: Rows<'scope>,
) -> (Rows<'scope>, Rows<'scope>) {
    const OFFERS: usize = 0;
    const TOLD: usize = 1;
    let from = [states, released, fired, directed, listed, applied];
    let [offers, told] = gather_by(rules, from, "completeness", |by, key, rows, out| {
        let state = rows.iter().find_map(|row| if let Row::State(state) = row { Some(state) } else { None });
        let Some(state) = state else { return };
        let released = rows.iter().filter_map(|row| if let Row::Released(seq) = row { Some(*seq) } else { None }).max();
        let directed =
            rows.iter().find_map(|row| if let Row::Directed(directed) = row { Some(directed) } else { None });
        let as_of = state.last_member();
        let fired = |kind| rows.contains(&&Row::Fired(kind, as_of));
        let listed = rows.iter().find_map(|row| if let Row::Listed(listed) = row { Some(*listed) } else { None });
        let mut judged = judge(state, released, fired, directed.map(AsRef::as_ref), listed.unwrap_or_default());
        let all =
            rows.iter().filter_map(|row| if let Row::Fired(kind, seq) = row { Some((*kind, *seq)) } else { None });
        judged.waited = waited(state, all);
        let mut tell = |output: Output| out.push((TOLD, key.clone(), output.into()));
        tell(Output::Completeness(judged.completeness.clone()));
        judged.faults.iter().for_each(|fault| tell(Output::Fault(fault.clone())));
        let timers = judged.waits.iter().filter_map(|kind| timer(state, *kind, in_force(by)?));
        timers.for_each(|timer| tell(Output::Timer(timer)));
        let judged = Arc::new(judged);
        for row in rows {
            if let Row::Applied(applied) = row {
                let offer = Offer::of(&judged, applied);
                out.extend(offer.fault().map(|fault| (TOLD, key.clone(), Output::Fault(fault).into())));
                out.push((OFFERS, Key::Report(offer.report()), Row::Offer(offer)));
            }
        }
    });
    (offers, told)
}

/// The same from the whole log. `released` holds the last orderly release by series.
pub fn batch(
    series: &BTreeMap<String, Arc<SeriesState>>,
    released: &BTreeMap<String, Seq>,
    fired: &BTreeSet<(String, TimerKind, Seq)>,
    directed: &BTreeMap<String, Directed>,
    listed: &BTreeMap<String, Listed>,
    rules: Option<&Rules>,
) -> (BTreeMap<String, Judged>, Vec<Timer>, Vec<Fault>) {
    let (mut all, mut timers, mut faults) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (uid, state) in series.iter().filter(|(_, state)| is_candidate(&state.keywords)) {
        let ran_out = |kind| fired.contains(&(uid.clone(), kind, state.last_member()));
        let listed = listed.get(uid).copied().unwrap_or_default();
        let mut judged = judge(state, released.get(uid).copied(), ran_out, directed.get(uid), listed);
        let own = fired.iter().filter(|(of, ..)| of == uid);
        judged.waited = waited(state, own.map(|(_, kind, seq)| (*kind, *seq)));
        timers.extend(judged.waits.iter().filter_map(|kind| timer(state, *kind, rules?)));
        faults.extend(judged.faults.iter().cloned());
        all.insert(uid.clone(), judged);
    }
    (all, timers, faults)
}

/// How long further series were waited for beside this one, by the timers of it that ran out.
fn waited(state: &SeriesState, fired: impl Iterator<Item = (TimerKind, Seq)>) -> u64 {
    let millis = fired.filter_map(|(kind, as_of)| match kind {
        TimerKind::Inputs { millis } if as_of == state.first_member() => Some(millis),
        _ => None,
    });
    millis.max().unwrap_or(0)
}

/// The timer that a waiting series wants; none while no policy is known.
fn timer(state: &SeriesState, kind: TimerKind, rules: &Rules) -> Option<Timer> {
    let named = rules.sources.iter().find(|policy| policy.name == state.source);
    let SourcePolicy { settle_millis, idle_millis, counts, .. } = named.or(rules.sources.first())?;
    let millis = match kind {
        // Before the settle window closes: what its archive holds more keeps the series open.
        TimerKind::Count if *counts => settle_millis / 2,
        TimerKind::Count => return None,
        TimerKind::Settle => *settle_millis,
        TimerKind::Idle => *idle_millis,
        TimerKind::Inputs { millis } => millis,
    };
    Some(Timer { series_uid: state.series_uid.clone(), kind, as_of: state.last_member(), millis })
}
