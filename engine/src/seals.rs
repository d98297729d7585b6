//! Which open studies are at rest: nothing of them, or of another study of their patient, is to do, waited for or at
//! fault, and nothing touched them for as long as the site says. And which sealed ones changed rules concern.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sulcus_operators::{
    digest::Digest,
    rows::{LesionVerdict, Millis, PatientKey, Verdict},
};

use crate::{
    graph::{
        Lesion,
        completeness::is_candidate,
        deliveries::routes_of,
        matches::Taking,
        versions::{Rulings, Scan},
    },
    ledger::event::{Event, ReportSummary, Rules, SeriesSummary, StudySummary},
    open_work::{OpenWork, Study},
    standing::Standing,
};

/// Seals for the studies that nothing touched since `before`, at most `most` of them.
pub fn seals(work: &OpenWork, standing: &Standing, before: Millis, most: usize) -> Vec<Event> {
    let quiet: BTreeMap<&str, &Study> = work
        .studies()
        .iter()
        .filter(|(_, study)| study.at <= before && !study.shared && !study.sealed && study.places.is_here())
        .map(|(uid, study)| (uid.as_str(), study))
        .collect();
    let rulings = &standing.rulings;
    let Some(rules) = standing.rules.as_ref().filter(|_| !quiet.is_empty()) else { return Vec::new() };
    let mut taking = Taking::default();
    let busy = busy(work, standing);
    let rests = |uid: &str| work.together(uid).iter().all(|uid| !busy.contains(uid.as_str()));
    let mut resting: BTreeMap<&str, (&Study, StudySummary)> = quiet
        .into_iter()
        .filter(|(uid, _)| rests(uid))
        .take(most)
        .map(|(uid, study)| (uid, (study, empty(uid))))
        .collect();
    for state in standing.series.iter() {
        if let Some((_, summary)) = resting.get_mut(state.study_uid.as_str()) {
            summary.patient = state.patient.clone();
            summary.series.push(SeriesSummary {
                series_uid: state.series_uid.clone(),
                instances: state.instances,
                first_member: state.first_member(),
                received: state.received,
                keywords: state.keywords.clone(),
                taken: taken(&mut taking, Scan::from(state.as_ref()), rulings),
            });
        }
    }
    for row in standing.reports.iter() {
        if let Some((_, summary)) = resting.get_mut(row.study_uid.as_str()) {
            summary.reports.push(ReportSummary {
                pipeline: row.pipeline.clone(),
                series_uid: row.run.as_ref().map(|run| run.series_uid.clone()),
                model: row.run.as_ref().map(|run| run.model),
                lesions: 0,
                volume_nl: 0,
                routes: routes_of(rules, &row.pipeline),
                named: names(rules, &row.pipeline),
            });
        }
    }
    for (study, summary) in resting.values_mut() {
        for pipeline in study.reported.iter().filter(|pipeline| !names(rules, pipeline)) {
            let is_told = |report: &ReportSummary| report.pipeline == *pipeline;
            if !summary.reports.iter().any(is_told) {
                let (pipeline, routes) = (pipeline.clone(), Vec::new());
                let nothing = ReportSummary {
                    pipeline,
                    series_uid: None,
                    model: None,
                    lesions: 0,
                    volume_nl: 0,
                    routes,
                    named: false,
                };
                summary.reports.push(nothing);
            }
        }
    }
    let rejected =
        |lesion: &Lesion| lesion.finding.as_ref().is_some_and(|finding| finding.verdict == LesionVerdict::Rejected);
    for lesion in standing.lesions.iter().filter(|lesion| !rejected(lesion)) {
        let Some((_, summary)) = resting.get_mut(lesion.study_uid.as_str()) else { continue };
        let of_pipeline = |report: &&mut ReportSummary| report.pipeline == lesion.pipeline && report.model.is_some();
        if let Some(report) = summary.reports.iter_mut().find(of_pipeline) {
            report.lesions += 1;
            report.volume_nl += lesion.lesion.volume_nl;
        }
    }
    let seal = |(study, mut summary): (&Study, StudySummary)| {
        summary.series.sort();
        summary.reports.sort();
        Event::StudySealed { study_uid: summary.study_uid.clone(), as_of: study.touched, summary }
    };
    resting.into_values().map(seal).collect()
}

/// The pipelines that take a series.
fn taken(taking: &mut Taking, scan: Scan<'_>, rulings: &Rulings) -> Vec<(String, Digest)> {
    if is_candidate(scan.keywords) { taking.of(scan, rulings) } else { Vec::new() }
}

/// Tells whether rules change what follows from a sealed study: who takes its series, where its objects go, or whether a
/// pipeline that reported on it is there again.
pub fn concerned(summary: &StudySummary, rules: &Rules, rulings: &Rulings, taking: &mut Taking) -> bool {
    summary.series.iter().any(|series| taken(taking, Scan::from(series), rulings) != series.taken)
        || summary.reports.iter().any(|report| {
            routes_of(rules, &report.pipeline) != report.routes || !report.named && names(rules, &report.pipeline)
        })
}

fn names(rules: &Rules, pipeline: &str) -> bool {
    rules.pipelines.iter().any(|rule| rule.name == pipeline)
}

fn empty(study_uid: &str) -> StudySummary {
    let patient = PatientKey { issuer: String::new(), id: String::new() };
    StudySummary { study_uid: study_uid.to_owned(), patient, series: Vec::new(), reports: Vec::new() }
}

/// The studies of which something is to do, waited for or at fault.
fn busy<'a>(work: &'a OpenWork, standing: &'a Standing) -> BTreeSet<&'a str> {
    // Two studies with the same pixels have the same runs, and so lesions of one name.
    let mut named: HashMap<&str, Vec<&str>> = HashMap::new();
    for (uid, study) in work.studies() {
        study.names.iter().for_each(|name| named.entry(name).or_default().push(uid));
    }
    let by_name = |name: &str| named.get(name).into_iter().flatten().copied();
    let mut busy: BTreeSet<&str> = BTreeSet::new();
    busy.extend(standing.runs.iter().map(|row| row.order.study_uid.as_str()));
    busy.extend(standing.revisions.iter().map(|row| row.key.study_uid.as_str()));
    busy.extend(standing.objects.iter().map(|row| row.key.study_uid.as_str()));
    busy.extend(standing.deliveries.iter().map(|row| row.row.study_uid.as_str()));
    busy.extend(standing.awaited.iter().map(|row| row.study_uid.as_str()));
    busy.extend(standing.timers.iter().flat_map(|timer| by_name(&timer.series_uid)));
    let waiting = standing.completeness.iter().filter(|row| row.verdict == Verdict::Waiting);
    busy.extend(waiting.flat_map(|row| by_name(&row.series_uid)));
    // A fault's key begins with what it concerns.
    let concerned = |key: &str| by_name(key.split(' ').next().unwrap_or_default());
    busy.extend(standing.faults.iter().flat_map(|fault| concerned(&fault.key)));
    busy
}
