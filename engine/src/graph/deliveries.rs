//! Stage `deliveries`: the outbox. What is ready goes to each destination of its pipeline that takes its role, until
//! the destination has it. A destination that is removed, or a newer revision, takes back what has not been sent. What
//! was sent of a report that is withdrawn is a fault at destinations that no report tells of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sulcus_operators::rows::{DeliveryRow, Fault, Role};

use super::{
    group::{Key, Row, Rows, each, gather, join},
    inputs::{DeliveryKey, ReportKey, Tried},
    objects::{Batch, Ready},
    rows::{DeliveryToDo, Output},
};
use crate::ledger::event::Rules;

/// Which pipeline's objects of which role go where.
type Route = ((String, Role), String);

fn routes(rules: &Rules) -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for pipeline in &rules.pipelines {
        for destination in rules.destinations.iter().filter(|to| pipeline.destinations.contains(&to.name)) {
            let route = |role: &Role| ((pipeline.name.clone(), *role), destination.name.clone());
            routes.extend(destination.roles.iter().map(route));
        }
    }
    routes
}

/// Where the objects of a pipeline go, by role, in order.
pub fn routes_of(rules: &Rules, pipeline: &str) -> Vec<(Role, String)> {
    let of_pipeline = routes(rules).into_iter().filter(|((name, _), _)| name == pipeline);
    of_pipeline.map(|((_, role), destination)| (role, destination)).collect()
}

/// Destinations that take segmentations and no report, by pipeline.
fn deaf(rules: &Rules) -> BTreeSet<(String, String)> {
    let routes = routes(rules);
    let takes = |pipeline: &String, role, to: &String| routes.contains(&((pipeline.clone(), role), to.clone()));
    let only = |((pipeline, role), to): &Route| {
        let deaf = *role == Role::Segmentation && !takes(pipeline, Role::Report, to);
        deaf.then(|| (pipeline.clone(), to.clone()))
    };
    routes.iter().filter_map(only).collect()
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

fn standing(rows: &[&Row], out: &mut Vec<Output>) {
    if rows.contains(&&Row::Settled) {
        out.extend(
            rows.iter().filter_map(|row| if let Row::LeftAt(left) = row { Some(still_there(left)) } else { None }),
        );
        return;
    }
    let wanted = rows.iter().find_map(|row| if let Row::Delivery(wanted) = row { Some(wanted) } else { None });
    let Some(wanted) = wanted else { return };
    let tried = rows.iter().find_map(|row| if let Row::Tried(tried) = row { Some(tried.as_ref()) } else { None });
    let Tried { attempt, not_before, reason } = tried.cloned().unwrap_or_default();
    if !reason.is_empty() {
        out.push(Output::Fault(Fault {
            stage: "deliveries".to_owned(),
            key: format!("{} to {}", wanted.uid, wanted.destination),
            reason,
            hint: format!("check that {} is reachable and takes the object; it is tried again", wanted.destination),
        }));
    }
    let (row, attempt) = (wanted.as_ref().clone(), attempt.saturating_add(1));
    out.push(Output::Delivery(DeliveryToDo { row, attempt, not_before }));
}

fn still_there(left: &DeliveryRow) -> Output {
    let DeliveryRow { uid, destination, revision, .. } = left;
    Output::Fault(Fault {
        stage: "deliveries".to_owned(),
        key: format!("{uid} to {destination}"),
        reason: format!("{destination} holds the segmentation of revision {revision}, whose report was withdrawn"),
        hint: format!("delete the object in {destination}: nothing tells it by itself yet"),
    })
}

/// Deliveries to do, and faults of those that fail so far.
pub fn stage<'scope>(
    ready: Rows<'scope>,
    rules: Rows<'scope>,
    tried: Rows<'scope>,
    settled: Rows<'scope>,
) -> Rows<'scope> {
    let routes = each(rules, |_, row, out| {
        if let Row::Rules(rules) = row {
            let route = |((pipeline, role), to): Route| (Key::Route(pipeline, role), Row::Destination(to));
            out.extend(routes(&rules).into_iter().map(route));
            let deaf = deaf(&rules).into_iter();
            out.extend(deaf.map(|(pipeline, to)| (Key::Route(pipeline, Role::Segmentation), Row::Deaf(to))));
        }
    });
    let wanted = join(ready, routes, |_, ready, destination| match (ready, destination) {
        (Row::Ready(key, ready), Row::Destination(destination)) => {
            let ((object, destination), row) = row(key, ready, destination);
            Some((Key::Delivery(object, destination), Row::Delivery(Arc::new(row))))
        }
        (Row::Left(key, left), Row::Deaf(destination)) => {
            let ((object, destination), row) = row(key, left, destination);
            Some((Key::Delivery(object, destination), Row::LeftAt(Arc::new(row))))
        }
        _ => None,
    });
    gather(wanted.concatenate([tried, settled]), "deliveries", |_, rows, out| {
        let mut told = Vec::new();
        standing(rows, &mut told);
        out.extend(told.into_iter().map(Row::from));
    })
}

/// The same from the whole log.
pub fn batch(
    objects: &Batch,
    rules: Option<&Rules>,
    tried: &BTreeMap<DeliveryKey, Tried>,
    settled: &BTreeSet<DeliveryKey>,
) -> Vec<Output> {
    let routes = rules.map(routes).unwrap_or_default();
    let mut wanted: BTreeMap<DeliveryKey, BTreeSet<Row>> = BTreeMap::new();
    for (key, ready) in &objects.ready {
        for ((_, _), destination) in routes.iter().filter(|(from, _)| (&from.0, from.1) == (&key.1, ready.role)) {
            let (delivery, row) = row(key, ready, destination);
            wanted.entry(delivery).or_default().insert(Row::Delivery(Arc::new(row)));
        }
    }
    let deaf = rules.map(deaf).unwrap_or_default();
    for (key, left) in &objects.left {
        for (_, destination) in deaf.iter().filter(|(pipeline, _)| *pipeline == key.1) {
            let (delivery, row) = row(key, left, destination);
            wanted.entry(delivery).or_default().insert(Row::LeftAt(Arc::new(row)));
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
