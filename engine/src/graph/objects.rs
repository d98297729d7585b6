//! Stage `objects`: what of the newest revision is to be encoded, and what of it is ready to be delivered. Only what
//! should stand is encoded; only the newest revision is delivered. A segmentation and a `report.json` are made of each
//! report, whatever else its pipeline's destinations take. All of a final report waits for its segmentation, whose
//! geometry is checked as it is made, so that nothing goes out beside one that was refused. Of a withdrawn report, the
//! earlier DICOM objects are told to `deliveries` as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sulcus_operators::{
    digest::Digest,
    rows::{Fault, ReportRow, ReportStatus, Role},
};

use super::{
    deliveries::{due, left_at, roles_of},
    group::{Key, Row, Rows, in_force},
    inputs::{DeliveryKey, Issued, ObjectFact, ReportKey},
    keyed::gather_by,
    rows::{MOST_ATTEMPTS, ObjectToEncode, Output},
};
use crate::ledger::event::{RevisionKey, Rules};

/// What is made of every report.
const ALWAYS: [Role; 2] = [Role::Segmentation, Role::Report];

/// An object of the newest revision that is in the results store.
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
    /// Of an earlier revision, where the newest is withdrawn.
    Left(Ready),
    Failed(Fault),
}

/// Why the object of this role and revision was given up, if the fact says so.
pub fn given_up(fact: &ObjectFact, of_revision: u32, of_role: Role) -> Option<String> {
    match fact {
        ObjectFact::Failed { revision, role, attempt, permanent, reason, .. }
            if (*revision, *role) == (of_revision, of_role) && (*permanent || *attempt >= MOST_ATTEMPTS) =>
        {
            Some(reason.clone())
        }
        _ => None,
    }
}

fn standings(key: &ReportKey, rows: &[&Row], rules: Option<&Rules>, out: &mut Vec<Standing>) {
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
    let Some(report) = report else { return };
    let withdrawn = matches!(report.status, ReportStatus::Withdrawn(_));
    let asked = rules.and_then(|rules| roles_of(rules).remove(&key.1)).unwrap_or_default();
    let roles: BTreeSet<Role> = asked.into_iter().chain(ALWAYS).collect();
    // A revision that could not be made is withdrawn by the next one, and stays a fault.
    let told = newest.revision.saturating_sub(u32::from(withdrawn))..=newest.revision;
    for fact in facts() {
        if let ObjectFact::Failed { revision, role, hint, .. } = fact
            && told.contains(revision)
            && roles.contains(role)
            && let Some(reason) = given_up(fact, *revision, *role)
        {
            out.push(Standing::Failed(Fault {
                stage: "objects".to_owned(),
                key: key.0.clone(),
                reason: format!("{} of revision {revision} by {} cannot be made: {reason}", role.name(), key.1),
                hint: hint.clone(),
            }));
        }
    }
    if report.content != newest.content {
        return;
    }
    if withdrawn {
        out.extend(facts().filter_map(|fact| match fact {
            ObjectFact::Encoded { revision, role, object, uid, bytes }
                if role.is_dicom() && *revision < newest.revision =>
            {
                let (revision, role, uid) = (*revision, *role, uid.clone());
                Some(Standing::Left(Ready { revision, role, object: *object, uid, bytes: *bytes }))
            }
            _ => None,
        }));
    }
    let checked = withdrawn || encoded.contains_key(&Role::Segmentation);
    let rejects = earlier.keys().any(|role| role.is_dicom() && *role != Role::RejectionNote);
    let due = |role: &Role| {
        !encoded.contains_key(role)
            && (checked || *role == Role::Segmentation)
            && (!withdrawn || role.tells_withdrawal())
            && (rejects || *role != Role::RejectionNote)
    };
    for role in roles.into_iter().filter(due) {
        let of_role = facts().filter_map(|fact| match fact {
            ObjectFact::Failed { revision, role: of, attempt, .. } if (*revision, *of) == (newest.revision, role) => {
                Some((*attempt, given_up(fact, *revision, role).is_some()))
            }
            _ => None,
        });
        let (attempts, given_up) = of_role.fold((0, false), |(most, any), (attempt, up)| (most.max(attempt), any | up));
        if given_up {
            continue;
        }
        out.push(Standing::ToEncode(Box::new(ObjectToEncode {
            key: RevisionKey { study_uid: key.0.clone(), pipeline: key.1.clone(), revision: newest.revision },
            role,
            row: report.as_ref().clone(),
            at: newest.at,
            supersedes: earlier.get(&role).copied(),
            attempt: attempts.saturating_add(1),
        })));
    }
}

/// The newest revisions against what happened to their objects: where those go that are ready, or were left of a revision
/// that was withdrawn, and what is told of all.
pub fn stage<'scope>(
    reports: Rows<'scope>,
    issued: Rows<'scope>,
    facts: Rows<'scope>,
    rules: Rows<'scope>,
) -> (Rows<'scope>, Rows<'scope>) {
    const DUE: usize = 0;
    const TOLD: usize = 1;
    let [due, told] = gather_by(rules, [reports, issued, facts], "objects", |by, key, rows, out| {
        let Key::Report(report) = key else { return };
        let rules = in_force(by);
        let mut standing = Vec::new();
        standings(report, rows, rules, &mut standing);
        for standing in standing {
            let goes = |(delivery, row): (DeliveryKey, Row)| (DUE, Key::Delivery(delivery.0, delivery.1), row);
            match (standing, rules) {
                (Standing::ToEncode(object), _) => out.push((TOLD, key.clone(), Output::Object(*object).into())),
                (Standing::Failed(fault), _) => out.push((TOLD, key.clone(), Output::Fault(fault).into())),
                (Standing::Ready(ready), Some(rules)) => out.extend(due(rules, report, &ready).map(goes)),
                (Standing::Left(left), Some(rules)) => out.extend(left_at(rules, report, &left).map(goes)),
                (Standing::Ready(_) | Standing::Left(_), None) => {}
            }
        }
    });
    (due, told)
}

/// Objects as `deliveries` takes them.
#[derive(Default)]
pub struct Batch {
    /// Of the newest revisions.
    pub ready: Vec<(ReportKey, Ready)>,
    /// Of earlier revisions, where the newest is withdrawn.
    pub left: Vec<(ReportKey, Ready)>,
}

/// The same from the whole log: objects to encode, objects that are there, faults.
pub fn batch(
    reports: &BTreeMap<ReportKey, Arc<ReportRow>>,
    issued: &BTreeMap<ReportKey, BTreeSet<Issued>>,
    facts: &BTreeMap<ReportKey, BTreeSet<ObjectFact>>,
    rules: Option<&Rules>,
) -> (Vec<ObjectToEncode>, Batch, Vec<Fault>) {
    let (mut to_encode, mut batch, mut faults, mut standing) = (Vec::new(), Batch::default(), Vec::new(), Vec::new());
    for (key, issued) in issued {
        let mut rows: BTreeSet<Row> = issued.iter().cloned().map(Row::Issued).collect();
        rows.extend(reports.get(key).cloned().map(Row::Report));
        rows.extend(facts.get(key).into_iter().flatten().cloned().map(|fact| Row::Object(Arc::new(fact))));
        standings(key, &rows.iter().collect::<Vec<_>>(), rules, &mut standing);
        for standing in standing.drain(..) {
            match standing {
                Standing::ToEncode(object) => to_encode.push(*object),
                Standing::Ready(ready) => batch.ready.push((key.clone(), ready)),
                Standing::Left(left) => batch.left.push((key.clone(), left)),
                Standing::Failed(fault) => faults.push(fault),
            }
        }
    }
    (to_encode, batch, faults)
}
