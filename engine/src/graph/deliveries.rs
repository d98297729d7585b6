//! Stage `deliveries`: the outbox. What is ready goes to each destination of its pipeline that takes its role, until
//! the destination has it or was tried as often as it says: then it is a fault until somebody asks for it again. A
//! destination that is removed, or a newer revision, takes back what has not been sent. What was sent of a report that
//! is withdrawn is a fault at destinations that nothing tells of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sulcus_operators::rows::{DeliveryRow, Fault, Role};

use super::{
    group::{Row, Rows},
    inputs::{DeliveryKey, ReportKey, Tried},
    keyed::gather,
    objects::{Batch, Ready},
    rows::{DeliveryToDo, Output},
};
use crate::ledger::event::{DestinationRule, PipelineRule, Rules};

/// A destination as a route names it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    name: String,
    /// Attempts before a delivery is given up.
    attempts: u32,
}

/// An object on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Due {
    row: DeliveryRow,
    attempts: u32,
}

/// Which pipeline's objects of which role go where.
type Route = ((String, Role), Target);

/// The destinations of each pipeline.
fn destinations(rules: &Rules) -> impl Iterator<Item = (&PipelineRule, &DestinationRule)> {
    rules.pipelines.iter().flat_map(|pipeline| {
        let taken = |to: &&DestinationRule| pipeline.destinations.contains(&to.name);
        rules.destinations.iter().filter(taken).map(move |to| (pipeline, to))
    })
}

fn routes(rules: &Rules) -> BTreeSet<Route> {
    let target = |to: &DestinationRule| Target { name: to.name.clone(), attempts: to.attempts };
    destinations(rules)
        .flat_map(|(pipeline, to)| to.roles.iter().map(move |role| ((pipeline.name.clone(), *role), target(to))))
        .collect()
}

/// Where the objects of a pipeline go, by role, in order.
pub fn routes_of(rules: &Rules, pipeline: &str) -> Vec<(Role, String)> {
    let of_pipeline = routes(rules).into_iter().filter(|((name, _), _)| name == pipeline);
    of_pipeline.map(|((_, role), target)| (role, target.name)).collect()
}

/// What the destinations of each pipeline take.
pub fn roles_of(rules: &Rules) -> BTreeMap<String, BTreeSet<Role>> {
    let mut roles: BTreeMap<String, BTreeSet<Role>> = BTreeMap::new();
    for (pipeline, to) in destinations(rules) {
        roles.entry(pipeline.name.clone()).or_default().extend(&to.roles);
    }
    roles
}

/// Destinations that take DICOM objects, and nothing that a program could tell a withdrawal by.
fn deaf(rules: &Rules) -> BTreeSet<((String, Role), String)> {
    let hears = |to: &DestinationRule| to.roles.iter().any(|role| matches!(role, Role::Report | Role::RejectionNote));
    destinations(rules)
        .filter(|(_, to)| !hears(to))
        .flat_map(|(pipeline, to)| {
            let objects = to.roles.iter().filter(|role| role.is_dicom());
            objects.map(|role| ((pipeline.name.clone(), *role), to.name.clone()))
        })
        .collect()
}

fn row((study_uid, pipeline): &ReportKey, ready: &Ready, destination: &str) -> (DeliveryKey, DeliveryRow) {
    let row = DeliveryRow {
        object: ready.object,
        destination: destination.to_owned(),
        study_uid: study_uid.clone(),
        pipeline: pipeline.clone(),
        revision: ready.revision,
        role: ready.role,
        uid: ready.uid.clone(),
        bytes: ready.bytes,
    };
    ((ready.object, destination.to_owned()), row)
}

/// Where an object that is ready goes.
pub fn due(rules: &Rules, key: &ReportKey, ready: &Ready) -> impl Iterator<Item = (DeliveryKey, Row)> {
    let of_object = routes(rules).into_iter().filter(|(from, _)| (&from.0, from.1) == (&key.1, ready.role));
    of_object.map(|(_, Target { name, attempts })| {
        let (delivery, row) = row(key, ready, &name);
        (delivery, Row::Delivery(Arc::new(Due { row, attempts })))
    })
}

/// Which destinations may hold an object of a report that is withdrawn, and are not told.
pub fn left_at(rules: &Rules, key: &ReportKey, left: &Ready) -> impl Iterator<Item = (DeliveryKey, Row)> {
    let of_object = deaf(rules).into_iter().filter(|(from, _)| (&from.0, from.1) == (&key.1, left.role));
    of_object.map(|(_, destination)| {
        let (delivery, row) = row(key, left, &destination);
        (delivery, Row::LeftAt(Arc::new(row)))
    })
}

fn standing(rows: &[&Row], out: &mut Vec<Output>) {
    if rows.contains(&&Row::Settled) {
        out.extend(
            rows.iter().filter_map(|row| if let Row::LeftAt(left) = row { Some(still_there(left)) } else { None }),
        );
        return;
    }
    let wanted = rows.iter().find_map(|row| if let Row::Delivery(wanted) = row { Some(wanted) } else { None });
    let Some(Due { row: wanted, attempts }) = wanted.map(Arc::as_ref) else { return };
    let tried = rows.iter().find_map(|row| if let Row::Tried(tried) = row { Some(tried.as_ref()) } else { None });
    let Tried { attempt, not_before, reason } = tried.cloned().unwrap_or_default();
    let (key, to) = (format!("{} to {}", wanted.uid, wanted.destination), &wanted.destination);
    let fault = |reason, hint| Output::Fault(Fault { stage: "deliveries".to_owned(), key, reason, hint });
    // An attempt that a crash cut off gave no reason, and does not count as the last.
    if attempt >= *attempts && !reason.is_empty() {
        out.push(fault(
            format!("given up after {attempt} attempts: {reason}"),
            format!("cure what is wrong at {to}, then `sulcus resend --destination {to}`"),
        ));
        return;
    }
    if !reason.is_empty() {
        out.push(fault(reason, format!("check that {to} is reachable and takes the object; it is tried again")));
    }
    let (row, attempt) = (wanted.clone(), attempt.saturating_add(1));
    out.push(Output::Delivery(DeliveryToDo { row, attempt, not_before }));
}

fn still_there(left: &DeliveryRow) -> Output {
    let DeliveryRow { uid, destination, revision, role, .. } = left;
    Output::Fault(Fault {
        stage: "deliveries".to_owned(),
        key: format!("{uid} to {destination}"),
        reason: format!("{destination} holds the {} of revision {revision}, whose report was withdrawn", role.name()),
        hint: format!("delete the object in {destination}, or let it take \"rejection-note\""),
    })
}

/// Deliveries to do, and faults of those that fail so far. `wanted` is what is due, and what is left of withdrawn reports.
pub fn stage<'scope>(wanted: Rows<'scope>, tried: Rows<'scope>, settled: Rows<'scope>) -> Rows<'scope> {
    let [deliveries] = gather([wanted, tried, settled], "deliveries", |key, rows, out| {
        let mut told = Vec::new();
        standing(rows, &mut told);
        out.extend(told.into_iter().map(|output| (0, key.clone(), output.into())));
    });
    deliveries
}

/// The same from the whole log.
pub fn batch(
    objects: &Batch,
    rules: Option<&Rules>,
    tried: &BTreeMap<DeliveryKey, Tried>,
    settled: &BTreeSet<DeliveryKey>,
) -> Vec<Output> {
    let mut wanted: BTreeMap<DeliveryKey, BTreeSet<Row>> = BTreeMap::new();
    if let Some(rules) = rules {
        let due = objects.ready.iter().flat_map(|(key, ready)| due(rules, key, ready));
        let left = objects.left.iter().flat_map(|(key, left)| left_at(rules, key, left));
        for (delivery, row) in due.chain(left) {
            wanted.entry(delivery).or_default().insert(row);
        }
    }
    let mut told = Vec::new();
    for (key, wanted) in wanted {
        let mut rows: Vec<Row> = wanted.into_iter().collect();
        rows.extend(tried.get(&key).cloned().map(|tried| Row::Tried(Arc::new(tried))));
        rows.extend(settled.contains(&key).then_some(Row::Settled));
        standing(&rows.iter().collect::<Vec<_>>(), &mut told);
    }
    told
}
