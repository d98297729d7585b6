//! `sulcus convert`: DICOM to NIfTI with a sidecar, one file a volume.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Mutex,
};

use clap::Args;
use rayon::prelude::*;
use sulcus_connectors::{
    folder::{self, FolderLimits},
    inbox::{Inbox, Incoming, Stored},
};
use sulcus_operators::{convert, header, nifti_file, rows::InstanceFacts, volume::Encoded};

use super::{CommandError, chain};

/// The most bytes of DICOM that are held at once. More is asked for in parts.
const MOST_BYTES: usize = 8 << 30;

#[derive(Args)]
pub(super) struct Convert {
    /// A folder or a zip of DICOM files.
    input: PathBuf,
    /// The folder that takes the NIfTI files; made if it is missing.
    output: PathBuf,
    /// Compress: `.nii.gz` instead of `.nii`.
    #[arg(long)]
    gzip: bool,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// One series' instances as they came in.
type Series = Vec<(InstanceFacts, Incoming)>;

#[derive(Default)]
struct Collected {
    instances: Vec<Incoming>,
    bytes: usize,
}

/// Holds what comes in.
#[derive(Default)]
struct Collector(Mutex<Collected>);

impl Inbox for Collector {
    fn store(&self, incoming: Incoming) -> Stored {
        let Ok(mut collected) = self.0.lock() else {
            return Stored::Failed { reason: "another file broke the collection".to_owned() };
        };
        if collected.bytes + incoming.data_set.len() > MOST_BYTES {
            return Stored::OutOfResources { reason: format!("more than {} GiB of DICOM at once", MOST_BYTES >> 30) };
        }
        collected.bytes += incoming.data_set.len();
        collected.instances.push(incoming);
        // What series it is of is found out later, for many at once.
        Stored::Kept { series_uid: String::new() }
    }

    fn released(&self, _: &str, _: Vec<String>, _: bool) {}
}

/// Reads all headers and sorts the instances into series; also why some are of none.
fn by_series(instances: Vec<Incoming>) -> (Vec<Series>, Vec<String>) {
    let read = |incoming: Incoming| {
        let encoded = Encoded { transfer_syntax: &incoming.transfer_syntax, data_set: &incoming.data_set };
        match header::facts(encoded, &incoming.source) {
            Ok(facts) => Ok((facts, incoming)),
            Err(error) => Err(format!("{}: {}", incoming.sop_instance_uid, chain(&error))),
        }
    };
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    let mut refused = Vec::new();
    for instance in instances.into_par_iter().map(read).collect::<Vec<_>>() {
        match instance {
            Ok((facts, incoming)) => series.entry(facts.series_uid.clone()).or_default().push((facts, incoming)),
            Err(reason) => refused.push(reason),
        }
    }
    (series.into_values().collect(), refused)
}

/// What became of one series.
struct Outcome {
    series_uid: String,
    description: String,
    written: Vec<PathBuf>,
    error: Option<String>,
}

impl Convert {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        if !self.input.exists() {
            return Err(CommandError::usage(
                format!("{} does not exist", self.input.display()),
                "name a folder or a zip",
            ));
        }
        let collector = Collector::default();
        let pass = folder::deliver(&self.input, "input", &collector, &FolderLimits::default())
            .map_err(|error| CommandError::work(chain(&error), "name a folder or a zip that can be read"))?;
        if let Some(reason) = pass.first_failure {
            return Err(CommandError::work(reason, "convert in parts: one folder or zip a study"));
        }
        let collected = collector.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (series, refused) = by_series(collected.instances);
        if series.is_empty() {
            let reason = format!("{} holds no DICOM image that can be read", self.input.display());
            let hint = refused.first().map_or("name a folder of DICOM files", String::as_str);
            return Err(CommandError::work(reason, hint));
        }
        std::fs::create_dir_all(&self.output).map_err(|error| {
            CommandError::work(format!("{} cannot be made: {error}", self.output.display()), "choose another folder")
        })?;
        let mut taken = BTreeSet::new();
        let named: Vec<(Vec<String>, Series)> =
            series.into_iter().map(|series| (names(&series, &mut taken), series)).collect();
        let outcomes: Vec<Outcome> = named.into_par_iter().map(|(names, series)| self.series(&names, series)).collect();
        self.report(&outcomes, &refused)
    }

    fn series(&self, names: &[String], mut series: Series) -> Outcome {
        // The first by UID names the series, whatever the order of files.
        series.sort_by(|(a, _), (b, _)| a.sop_instance_uid.cmp(&b.sop_instance_uid));
        series.dedup_by(|(a, _), (b, _)| {
            a.sop_instance_uid == b.sop_instance_uid && a.data_set_digest == b.data_set_digest
        });
        let encoded: Vec<Encoded<'_>> = series
            .iter()
            .map(|(_, incoming)| Encoded { transfer_syntax: &incoming.transfer_syntax, data_set: &incoming.data_set })
            .collect();
        let facts = &series[0].0;
        let description = keyword(facts, "SeriesDescription").to_owned();
        let mut outcome =
            Outcome { series_uid: facts.series_uid.clone(), description, written: Vec::new(), error: None };
        if let Err(error) = of_one_patient(&series) {
            outcome.error = Some(error);
            return outcome;
        }
        match convert::volumes(&encoded) {
            Err(error) => outcome.error = Some(chain(&error)),
            Ok(volumes) => {
                for (volume, name) in volumes.iter().zip(names) {
                    let path = self.output.join(format!("{name}.nii{}", if self.gzip { ".gz" } else { "" }));
                    let sidecar = nifti_file::sidecar(&facts.keywords, volume);
                    let written = nifti_file::write(volume, &path)
                        .and_then(|()| nifti_file::write_sidecar(&sidecar, &self.output.join(format!("{name}.json"))));
                    match written {
                        Ok(()) => outcome.written.push(path),
                        Err(error) => outcome.error = Some(format!("{}: {}", path.display(), chain(&error))),
                    }
                }
            }
        }
        outcome
    }

    fn report(&self, outcomes: &[Outcome], refused: &[String]) -> Result<(), CommandError> {
        if self.json {
            let rows: Vec<_> = outcomes
                .iter()
                .map(|outcome| {
                    serde_json::json!({
                        "series_uid": outcome.series_uid, "description": outcome.description,
                        "written": outcome.written, "error": outcome.error,
                    })
                })
                .collect();
            outln!("{:#}", serde_json::json!({"series": rows, "refused": refused}));
        } else {
            for outcome in outcomes {
                outcome.written.iter().for_each(|path: &PathBuf| outln!("{}", path.display()));
            }
        }
        let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.error.is_some()).collect();
        for outcome in &failed {
            eprintln!(
                "series {} was not converted: {}",
                outcome.series_uid,
                outcome.error.as_deref().unwrap_or_default()
            );
        }
        refused.iter().for_each(|reason| eprintln!("not read: {reason}"));
        if failed.is_empty() && refused.is_empty() {
            return Ok(());
        }
        Err(CommandError::work(
            format!("{} series and {} files were not converted", failed.len(), refused.len()),
            "the reasons stand above; everything else was written",
        ))
    }
}

fn keyword<'a>(facts: &'a InstanceFacts, name: &str) -> &'a str {
    facts.keywords.get(name).map_or("", String::as_str)
}

/// Tells whether all instances of a series name the same patient.
fn of_one_patient(series: &Series) -> Result<(), String> {
    let patients: BTreeSet<_> = series.iter().map(|(facts, _)| &facts.patient).collect();
    if patients.len() < 2 {
        return Ok(());
    }
    let ids: Vec<String> = patients.iter().map(|patient| format!("\"{}\"", patient.id)).collect();
    Err(format!("its images name {} patients (PatientID {}); convert each patient alone", ids.len(), ids.join(", ")))
}

/// File names, without extension, that no other series has taken: one for each volume that the series may have.
fn names(series: &Series, taken: &mut BTreeSet<String>) -> Vec<String> {
    let stem = series.first().map_or_else(String::new, |(facts, _)| {
        stem(keyword(facts, "SeriesNumber"), keyword(facts, "SeriesDescription"))
    });
    let stacks: BTreeSet<&str> =
        series.iter().flat_map(|(facts, _)| &facts.frames).map(|frame| frame.stack.as_str()).collect();
    free_names(&stem, stacks.len(), taken)
}

/// `count` names that begin with `stem` and of which none is taken; takes them. Some file systems hold `a` and `A` to
/// be one name.
fn free_names(stem: &str, count: usize, taken: &mut BTreeSet<String>) -> Vec<String> {
    let with = |stem: &str| match count {
        0 | 1 => vec![stem.to_owned()],
        _ => (1..=count).map(|part| format!("{stem}_{part}")).collect(),
    };
    let mut names = with(stem);
    let mut number = 1;
    while names.iter().any(|name| taken.contains(&name.to_ascii_lowercase())) {
        number += 1;
        names = with(&format!("{stem}_{number}"));
    }
    taken.extend(names.iter().map(|name| name.to_ascii_lowercase()));
    names
}

/// A file name without anything that names a patient: series number and description, in letters, digits, dashes.
fn stem(series_number: &str, description: &str) -> String {
    let clean: String = description.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
    let series_number = if series_number.chars().all(|c| c.is_ascii_digit()) { series_number } else { "" };
    let named: Vec<&str> =
        [series_number, clean.trim_matches('-')].into_iter().filter(|part| !part.is_empty()).collect();
    if named.is_empty() { "series".to_owned() } else { named.join("_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_volumes_have_one_name() {
        let mut taken = BTreeSet::new();
        let mut names = |stem: &str, count: usize| free_names(stem, count, &mut taken);
        assert_eq!(names("5_foo", 2), ["5_foo_1", "5_foo_2"]);
        assert_eq!(names("5_foo", 1), ["5_foo"]);
        assert_eq!(names("5_foo", 1), ["5_foo_3"]);
        assert_eq!(names("5_Foo", 1), ["5_Foo_4"]);
        assert_eq!(names("5_foo", 3), ["5_foo_2_1", "5_foo_2_2", "5_foo_2_3"]);
        assert_eq!(names("5_foo_2", 2), ["5_foo_2_2_1", "5_foo_2_2_2"]);
        assert_eq!(names("5_foo", 0), ["5_foo_5"]);
    }

    #[test]
    fn a_hostile_description_cannot_leave_the_folder() {
        assert_eq!(stem("../..", "/etc/passwd"), "etc-passwd");
        assert_eq!(stem("", "../../x"), "x");
        assert_eq!(stem("", "///"), "series");
    }
}
