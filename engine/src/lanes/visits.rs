//! The visits of a patient that a run's lesions are compared with: studies of the same patient with a report by the
//! same pipeline, nearest in StudyDate first.
//!
//! Whichever visit is run second takes over the first one's identities, whatever their dates. A patient without an id
//! has no other visits, nor has a study that is one too many to be one (`ledger::patients`). A report that was taken back,
//! a study whose id was corrected since, and one that is to be run again since it was compared with such a study, give
//! none.

use std::collections::BTreeSet;

use sulcus_operators::rows::{InstanceFacts, PatientKey, RunOutcome};

use super::{
    infer::{Counts, first, source_at, unreadable},
    order::{EarlierVisit, Failure, Lies, SourceInstance},
};
use crate::{
    graph::RunToDo,
    hosts::fetch::{Fetcher, Link},
    ledger::{
        patients::PatientStudy,
        read::{Anywhere, Reader},
    },
};

/// How many visits a run's lesions are compared with.
const MOST_VISITS: usize = 4;
/// How many studies of a patient are looked at for them: a test object is scanned every day.
const MOST_LOOKED_AT: usize = 32;

/// The visits that the lesions of a run are compared with.
pub(super) fn visits(
    reader: &Reader,
    job: &RunToDo,
    counts: &Counts,
    fetcher: &Fetcher,
) -> Result<Vec<EarlierVisit>, Failure> {
    let Some(facts) = first(reader, job)? else { return Ok(Vec::new()) };
    let own: BTreeSet<&str> = job.wanted_by.iter().map(|(study_uid, _)| study_uid.as_str()).collect();
    let mut studies = reader.studies_of(&facts.patient).map_err(unreadable)?;
    if !studies.iter().any(|study| study.study_uid == facts.study_uid) {
        // It is one too many to be a visit.
        return Ok(Vec::new());
    }
    studies.retain(|study| study.study_uid != facts.study_uid && !own.contains(study.study_uid.as_str()));
    let date = date_of(&facts);
    studies.sort_by_cached_key(|study| (days_between(&study.study_date, date), study.study_uid.clone()));
    let mut visits = Vec::new();
    for study in studies.into_iter().take(MOST_LOOKED_AT) {
        if visits.len() == MOST_VISITS {
            break;
        }
        visits.extend(visit(reader, job, &facts.patient, study, counts, fetcher)?);
    }
    Ok(visits)
}

/// What stands of a study, as far as a run can be compared with it.
fn visit(
    reader: &Reader,
    job: &RunToDo,
    patient: &PatientKey,
    study: PatientStudy,
    counts: &Counts,
    fetcher: &Fetcher,
) -> Result<Option<EarlierVisit>, Failure> {
    let PatientStudy { study_uid, study_date } = study;
    let same_pipeline = |pipeline: &String| job.wanted_by.iter().any(|(_, wanted)| wanted == pipeline);
    let reported = reader.reported_on(&study_uid).map_err(unreadable)?;
    let newest = reported.into_iter().rfind(|reported| same_pipeline(&reported.key.pipeline));
    let Some(run) = newest.and_then(|newest| newest.run).filter(|run| run.run_key != job.order.run_key) else {
        return Ok(None);
    };
    let members = reader.standing_in(&run.series_uid).map_err(unreadable)?;
    let instances = reader.instances_anywhere(&members).map_err(unreadable)?;
    let merges = reader.merges().map_err(unreadable)?;
    let is_his = |facts: &InstanceFacts| merges.of(&facts.patient) == merges.of(patient);
    let stands = |facts: &InstanceFacts| is_his(facts) && facts.study_uid == study_uid;
    if instances.is_empty() || !instances.iter().all(|(facts, _)| stands(facts)) {
        return Ok(None);
    }
    let Some(outcome) = counts.outcome(reader, &run.run_key)?.filter(|outcome| !outcome.lesions.is_empty()) else {
        return Ok(None);
    };
    let (instances, away) = match brought(fetcher, instances, &outcome) {
        Ok(instances) => (instances, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    Ok(Some(EarlierVisit { study_uid, study_date, outcome, instances, away }))
}

/// The instances of a visit, and its label map, brought from the host that has them where they are not here; or why they
/// cannot be had.
fn brought(fetcher: &Fetcher, instances: Vec<Anywhere>, outcome: &RunOutcome) -> Result<Vec<SourceInstance>, String> {
    fetcher.bring(&outcome.mask).map_err(|why| format!("its label map is not here; {why}"))?;
    let mut link: Option<(String, Link)> = None;
    let mut brought = Vec::with_capacity(instances.len());
    for (facts, lies) in instances {
        let lies = match lies {
            Ok(place) => Lies::Spool(place),
            Err(host) => {
                let failed = |why: String| format!("it is on host {host}: {why}");
                let mut to = match link.take().filter(|(of, _)| *of == host) {
                    Some((_, link)) => link,
                    None => fetcher.link(&host).map_err(failed)?,
                };
                let path = fetcher.instance(&mut to, &facts).map_err(failed)?;
                link = Some((host, to));
                Lies::File(path)
            }
        };
        brought.push(source_at(facts, lies));
    }
    Ok(brought)
}

fn date_of(facts: &InstanceFacts) -> &str {
    facts.keywords.get("StudyDate").map_or("", String::as_str)
}

/// Days between two values of StudyDate; most where one tells no day.
fn days_between(a: &str, b: &str) -> u64 {
    days(a).zip(days(b)).map_or(u64::MAX, |(a, b)| a.abs_diff(b))
}

/// The number of a day, `YYYYMMDD`, in the Gregorian calendar; years begin in March, so that a leap day ends one.
fn days(date: &str) -> Option<i64> {
    let number: i64 =
        (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then(|| date.parse().ok())??;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month > 2 { year } else { year - 1 };
    let before = (153 * ((month + 9) % 12) + 2) / 5;
    Some(365 * year + year / 4 - year / 100 + year / 400 + before + day)
}

#[cfg(test)]
#[path = "visits_tests.rs"]
mod tests;
