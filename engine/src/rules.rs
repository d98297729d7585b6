//! The rules that a site's configuration states, as the ledger records them.

use sulcus_config::{Destination, Site};
use sulcus_models::package::Package;
use sulcus_operators::rows::Role;

use crate::{
    failure::Hinted,
    graph::matches,
    ledger::event::{DestinationRule, PipelineRule, Rules, SourcePolicy},
};

/// Reads the model packages (their digests are verified) and checks the expressions.
pub fn rules(site: &Site) -> Result<Rules, Hinted> {
    let mut pipelines = Vec::new();
    for pipeline in &site.pipelines {
        matches::check(&pipeline.when).map_err(|error| {
            Hinted::usage(
                format!("pipeline {}: the expression in `when` cannot be used: {error}", pipeline.name),
                "write a CEL expression over DICOM keywords, such as `Modality == \"MR\" && SeriesDescription.contains(\"MPRAGE\")`",
            )
        })?;
        let package = Package::open(&pipeline.model).map_err(|error| {
            Hinted::usage(
                format!(
                    "pipeline {}: the model package {} cannot be used: {error}",
                    pipeline.name,
                    pipeline.model.display()
                ),
                "name the folder of a model package, whole and unchanged since it was made",
            )
        })?;
        pipelines.push(PipelineRule {
            name: pipeline.name.clone(),
            when: pipeline.when.clone(),
            model: package.digest(),
            model_path: pipeline.model.display().to_string(),
            model_name: [package.manifest().name.clone(), package.manifest().version.clone()],
            destinations: pipeline.destinations.clone(),
            applies_to: pipeline.applies_to,
        });
    }
    let sources = site.sources.iter().map(|source| SourcePolicy {
        name: source.name().to_owned(),
        settle_millis: source.settle_seconds().duration().as_millis() as u64,
        idle_millis: source.idle_seconds().duration().as_millis() as u64,
    });
    let destinations = site.destinations.iter().map(|destination| DestinationRule {
        name: destination.name().to_owned(),
        roles: match destination {
            Destination::Dicom(_) => vec![Role::Segmentation],
            Destination::Folder(_) => vec![Role::Segmentation, Role::Report],
            Destination::Fhir(_) | Destination::Bids(_) => Vec::new(),
        },
    });
    let mut rules = Rules { pipelines, sources: sources.collect(), destinations: destinations.collect() };
    rules.pipelines.sort();
    rules.sources.sort();
    rules.destinations.sort();
    Ok(rules)
}
