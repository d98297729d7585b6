//! The rules that a site's configuration states, as the ledger records them.

use std::{collections::BTreeSet, path::Path};

use sulcus_config::{Input, Pipeline, Site};
use sulcus_models::package::Package;

use crate::{
    failure::Hinted,
    graph::matches,
    ledger::event::{AloneRule, DestinationRule, InputRule, PipelineRule, Rules, SourcePolicy},
};

/// Reads the model packages (their digests are verified) and checks the expressions.
pub fn rules(site: &Site) -> Result<Rules, Hinted> {
    let mut pipelines = Vec::new();
    for pipeline in &site.pipelines {
        readable(pipeline, "`when`", &pipeline.when)?;
        for input in &pipeline.inputs {
            readable(pipeline, &format!("`when` of input {}", input.name), &input.when)?;
        }
        let package = package(pipeline, &pipeline.model, 1 + pipeline.inputs.len())?;
        let alone = pipeline.alone.as_ref().map(|alone| {
            let package = self::package(pipeline, &alone.model, 1)?;
            Ok(AloneRule {
                model: package.digest(),
                model_path: alone.model.display().to_string(),
                model_name: named(&package),
                after_millis: alone.after_seconds.duration().as_millis() as u64,
            })
        });
        let input = |input: &Input| InputRule { name: input.name.clone(), when: input.when.clone() };
        pipelines.push(PipelineRule {
            name: pipeline.name.clone(),
            when: pipeline.when.clone(),
            model: package.digest(),
            model_path: pipeline.model.display().to_string(),
            model_name: named(&package),
            destinations: pipeline.destinations.clone(),
            applies_to: pipeline.applies_to,
            inputs: pipeline.inputs.iter().map(input).collect(),
            alone: alone.transpose()?,
        });
    }
    let sources = site.sources.iter().map(|source| SourcePolicy {
        name: source.name().to_owned(),
        settle_millis: source.settle_seconds().duration().as_millis() as u64,
        idle_millis: source.idle_seconds().duration().as_millis() as u64,
        counts: source.archive().is_some(),
    });
    let destinations = site.destinations.iter().map(|destination| DestinationRule {
        name: destination.name().to_owned(),
        roles: destination.outputs().iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        attempts: destination.retry().attempts,
    });
    let mut rules = Rules { pipelines, sources: sources.collect(), destinations: destinations.collect() };
    rules.pipelines.sort();
    rules.sources.sort();
    rules.destinations.sort();
    Ok(rules)
}

/// Checks an expression of a pipeline.
fn readable(pipeline: &Pipeline, what: &str, when: &str) -> Result<(), Hinted> {
    matches::check(when).map_err(|error| {
        Hinted::usage(
            format!("pipeline {}: the expression in {what} cannot be used: {error}", pipeline.name),
            "write a CEL expression over DICOM keywords, such as `Modality == \"MR\" && SeriesDescription.contains(\"MPRAGE\")`",
        )
    })
}

/// A package of a pipeline, which must read so many series.
fn package(pipeline: &Pipeline, folder: &Path, series: usize) -> Result<Package, Hinted> {
    let (name, shown) = (&pipeline.name, folder.display());
    let package = Package::open(folder).map_err(|error| {
        Hinted::usage(
            format!("pipeline {name}: the model package {shown} cannot be used: {error}"),
            "name the folder of a model package, whole and unchanged since it was made",
        )
    })?;
    let channels = &package.manifest().channels;
    if channels.len() == series {
        return match misplaced(pipeline, channels) {
            Some((input, channel)) => Err(Hinted::usage(
                format!(
                    "pipeline {name}: the input {input} would be read as channel {channel} of the model package {shown}, \
                     which reads {} in this order",
                    channels.join(", "),
                ),
                "write the `[[pipeline.input]]` tables in the order of the channels after the first",
            )),
            None => Ok(package),
        };
    }
    Err(Hinted::usage(
        format!(
            "pipeline {name}: the model package {shown} reads the channels {}, and the pipeline gives it {series} series",
            channels.join(", "),
        ),
        "give the first series by `when` and each further one by a `[[pipeline.input]]`, in the order of the channels; the \
         model of `[pipeline.alone]` reads one",
    ))
}

/// An input whose name is that of another channel than the one that it would be read as, and that one.
fn misplaced<'a>(pipeline: &'a Pipeline, channels: &'a [String]) -> Option<(&'a str, &'a str)> {
    let of_input = pipeline.inputs.iter().zip(channels.iter().skip(1));
    let is_misplaced = |(name, channel): &(&String, &String)| {
        !name.eq_ignore_ascii_case(channel) && channels.iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    let named = of_input.map(|(input, channel)| (&input.name, channel));
    named.filter(|_| channels.len() > 1).find(is_misplaced).map(|(name, channel)| (name.as_str(), channel.as_str()))
}

fn named(package: &Package) -> [String; 2] {
    [package.manifest().name.clone(), package.manifest().version.clone()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is said of a pipeline whose package reads one series, with these further lines.
    fn said(more: &str) -> Result<Rules, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/blob-filter");
        let pipeline = "[[pipeline]]\nname = \"p\"\nwhen = \"true\"\n";
        let text = format!(
            "{pipeline}model = \"{}\"\n{}",
            folder.display(),
            more.replace("FILTER", &folder.display().to_string())
        );
        rules(&Site::parse(&text, Path::new("/nowhere/site.toml")).unwrap()).map_err(|error| error.reason)
    }

    #[test]
    fn an_input_that_has_the_name_of_another_channel_is_refused() {
        let pipeline = |inputs: &[&str]| {
            let inputs = inputs.iter().map(|name| format!("[[pipeline.input]]\nname = \"{name}\"\nwhen = \"true\"\n"));
            let text =
                format!("[[pipeline]]\nname = \"p\"\nwhen = \"true\"\nmodel = \"m\"\n{}", inputs.collect::<String>());
            Site::parse(&text, Path::new("/site.toml")).unwrap().pipelines.remove(0)
        };
        let channels = ["UNI", "INV1", "INV2"].map(str::to_owned);
        let swapped = pipeline(&["inv2", "inv1"]);
        assert_eq!(misplaced(&swapped, &channels), Some(("inv2", "INV1")));
        assert_eq!(misplaced(&pipeline(&["inv1", "INV2"]), &channels), None);
        assert_eq!(misplaced(&pipeline(&["first", "second"]), &channels), None);
        assert_eq!(misplaced(&pipeline(&["UNI", "INV2"]), &channels), Some(("UNI", "INV1")));
    }

    #[test]
    fn a_package_must_read_as_many_series_as_the_pipeline_gives_it() {
        let rule = said("").unwrap().pipelines.remove(0);
        assert_eq!((rule.inputs, rule.alone), (vec![], None));
        let few = said("[[pipeline.input]]\nname = \"INV1\"\nwhen = \"true\"\n").unwrap_err();
        assert!(few.ends_with("reads the channels T1w, and the pipeline gives it 2 series"), "{few}");
    }

    #[test]
    fn the_rule_of_an_input_is_checked_as_that_of_the_first() {
        let unknown = said("[[pipeline.input]]\nname = \"INV1\"\nwhen = 'SeriesDescripton == \"\"'\n").unwrap_err();
        assert!(unknown.starts_with("pipeline p: the expression in `when` of input INV1 cannot be used"), "{unknown}");
        assert!(unknown.contains("did you mean SeriesDescription?"), "{unknown}");
    }
}
