//! Stage `objects`: what of the newest revision is to be encoded, and what of it is ready to be delivered. Only what
//! should stand is encoded; only the newest revision is delivered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Fault, ReportRow, ReportStatus, Role},
};

use super::{
    group::{Key, Row, Rows, each, gather},
    inputs::{Issued, ObjectFact, ReportKey},
    rows::{MOST_ATTEMPTS, ObjectToEncode, Output},
};
use crate::ledger::event::RevisionKey;

/// An object of the newest revision that is in the results store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ready {
    /// Revision of the report.
    pub revision: u32,
    /// What it is.
    pub role: Role,
    /// ObjectKey.
    pub object: Digest,
    /// SOPInstanceUID.
    pub uid: String,
    /// Its bytes.
    pub bytes: Digest,
}

/// What an object is.
enum Standing {
    ToEncode(Box<ObjectToEncode>),
    Ready(Ready),
    Failed(Fault),
}

fn standings(key: &ReportKey, rows: &[&Row], out: &mut Vec<Standing>) {
    let issued = rows.iter().filter_map(|row| if let Row::Issued(issued) = row { Some(issued) } else { None });
    let Some(newest) = issued.max_by_key(|issued| issued.revision) else { return };
    let facts = || rows.iter().filter_map(|row| if let Row::Object(fact) = row { Some(fact.as_ref()) } else { None });
    let mut encoded: BTreeMap<Role, u32> = BTreeMap::new();
    let mut earlier: BTreeMap<Role, u32> = BTreeMap::new();
    for fact in facts() {
        if let ObjectFact::Encoded { revision, role, object, uid, bytes } = fact {
            if *revision == newest.revision && encoded.insert(*role, *revision).is_none() {
                let (revision, role, uid) = (*revision, *role, uid.clone());
                out.push(Standing::Ready(Ready { revision, role, object: *object, uid, bytes: *bytes }));
            } else if *revision < newest.revision {
                let last = earlier.entry(*role).or_default();
                *last = (*last).max(*revision);
            }
        }
    }
    let report = rows.iter().find_map(|row| if let Row::Report(report) = row { Some(report) } else { None });
    let Some(report) = report.filter(|report| report.content == newest.content) else { return };
    let roles: &[Role] = match report.status {
        ReportStatus::Final => &[Role::Segmentation, Role::Report],
        ReportStatus::Withdrawn(_) => &[Role::Report],
    };
    for role in roles.iter().filter(|role| !encoded.contains_key(role)) {
        let failed = facts().filter_map(|fact| match fact {
            ObjectFact::Failed { revision, role: of, attempt, permanent, reason, hint }
                if *revision == newest.revision && of == role =>
            {
                Some((*permanent, *attempt, reason, hint))
            }
            _ => None,
        });
        let attempt = match failed.max() {
            Some((permanent, attempt, reason, hint)) if permanent || attempt >= MOST_ATTEMPTS => {
                let what = match role {
                    Role::Segmentation => "segmentation",
                    Role::Report => "report",
                };
                let revision = newest.revision;
                out.push(Standing::Failed(Fault {
                    stage: "objects".to_owned(),
                    key: key.0.clone(),
                    reason: format!("{what} of revision {revision} by {} cannot be made: {reason}", key.1),
                    hint: hint.clone(),
                }));
                continue;
            }
            failed => failed.map_or(0, |(_, attempt, ..)| attempt).saturating_add(1),
        };
        out.push(Standing::ToEncode(Box::new(ObjectToEncode {
            key: RevisionKey { study_uid: key.0.clone(), pipeline: key.1.clone(), revision: newest.revision },
            role: *role,
            row: report.as_ref().clone(),
            at: newest.at,
            supersedes: earlier.get(role).copied(),
            attempt,
        })));
    }
}

/// The newest revisions against what happened to their objects: those that are ready, and what is told of all.
pub fn stage<'scope>(reports: Rows<'scope>, issued: Rows<'scope>, facts: Rows<'scope>) -> (Rows<'scope>, Rows<'scope>) {
    let standing = gather(reports.concatenate([issued, facts]), "objects", |key, rows, out| {
        let Key::Report(key) = key else { return };
        let mut standing = Vec::new();
        standings(key, rows, &mut standing);
        out.extend(standing.into_iter().map(|standing| match standing {
            Standing::ToEncode(object) => Output::Object(*object).into(),
            Standing::Ready(ready) => Row::Ready(key.clone(), Arc::new(ready)),
            Standing::Failed(fault) => Output::Fault(fault).into(),
        }));
    });
    let ready = each(standing.clone(), |_, row, out| {
        if let Row::Ready((_, pipeline), ready) = &row {
            out.push((Key::Route(pipeline.clone(), ready.role), row));
        }
    });
    (ready, standing)
}

/// The same from the whole log: objects to encode, objects ready, faults.
pub fn batch(
    reports: &BTreeMap<ReportKey, Arc<ReportRow>>,
    issued: &BTreeMap<ReportKey, BTreeSet<Issued>>,
    facts: &BTreeMap<ReportKey, BTreeSet<ObjectFact>>,
) -> (Vec<ObjectToEncode>, Vec<(ReportKey, Ready)>, Vec<Fault>) {
    let (mut to_encode, mut all_ready, mut faults, mut standing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (key, issued) in issued {
        let mut rows: BTreeSet<Row> = issued.iter().cloned().map(Row::Issued).collect();
        rows.extend(reports.get(key).cloned().map(Row::Report));
        rows.extend(facts.get(key).into_iter().flatten().cloned().map(|fact| Row::Object(Arc::new(fact))));
        standings(key, &rows.iter().collect::<Vec<_>>(), &mut standing);
        for standing in standing.drain(..) {
            match standing {
                Standing::ToEncode(object) => to_encode.push(*object),
                Standing::Ready(ready) => all_ready.push((key.clone(), ready)),
                Standing::Failed(fault) => faults.push(fault),
            }
        }
    }
    (to_encode, all_ready, faults)
}
