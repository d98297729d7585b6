//! `sulcus run`: a folder or zip of DICOM in, results out. The same receiver, graph and lanes as `serve`, on a data
//! folder of its own that goes with the command.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use crossbeam::channel::{Receiver, bounded};
use sulcus_config::{
    AppliesTo, Destination, DicomSource, FolderDestination, Identity, Pipeline, Retry, Seconds, Site, Source, Urgency,
};
use sulcus_connectors::folder::{self, FolderLimits, FolderPass};
use sulcus_models::device::Provider;
use sulcus_operators::rows::{Fault, Seq};

use super::{
    CommandError, chain,
    outcome::{newest_reports, print_faults, print_report},
    words::counted,
};
use crate::{
    dispatch::{Engine, WorkerProgram, woken},
    failure::Hinted,
    intake,
    lanes::port::StopFlag,
    rules::rules,
    worker::check_devices,
};

/// What is in the folder is all there is: a series that looks whole waits no longer than this, in seconds,
const AT_ONCE: f64 = 0.01;
/// and one that does not, a little longer, so that it is never the one that is called whole by the idle timer alone.
const SOON: f64 = 0.2;
/// Whatever is no single inversion and no T1 map of an MP2RAGE; of that, the largest series is preferred.
const ANATOMICAL: &str =
    r#"Modality == "MR" && !SeriesDescription.matches("(?i)(inv[-_ ]?[0-9]|t1[-_ ]?(map|images))")"#;
/// Where a disk is full or a folder cannot be written, the command waits this long for a cure, then ends with the reason.
const PATIENCE: Duration = Duration::from_secs(30);
const SOURCE: &str = "input";
const PIPELINE: &str = "run";

#[derive(Args)]
pub(super) struct Run {
    /// A folder or a zip of DICOM files.
    input: PathBuf,
    /// The folder that takes the results; made if it is missing.
    output: PathBuf,
    /// The model package.
    #[arg(long, value_name = "FOLDER", default_value = "models/demo")]
    model: PathBuf,
    /// Which series it is for: a CEL expression over DICOM keywords. The default leaves out the inversion images and
    /// maps of an MP2RAGE; the largest series of the rest is run.
    #[arg(long, value_name = "CEL", default_value = ANATOMICAL)]
    when: String,
    /// What computes.
    #[arg(long, default_value_t = Provider::OpenVino, value_name = "cpu|openvino|cuda:N|tensorrt:N")]
    device: Provider,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let begun = Instant::now();
        if !self.input.exists() {
            return Err(CommandError::usage(
                format!("{} does not exist", self.input.display()),
                "name a folder or a zip",
            ));
        }
        let scratch = tempfile::tempdir().map_err(CommandError::plain)?;
        let output = absolute(&self.output)?;
        std::fs::create_dir_all(&output).map_err(|error| {
            CommandError::usage(format!("{} cannot be made: {error}", output.display()), "choose another folder")
        })?;
        if std::fs::read_dir(&output).map_err(CommandError::plain)?.next().is_some() {
            return Err(CommandError::usage(
                format!("{} is not empty", output.display()),
                "name a new folder, so that no earlier result is taken for one of these images",
            ));
        }
        let site = self.site(scratch.path(), &output)?;
        let config = scratch.path().join("site.toml");
        let toml = site.to_toml().map_err(CommandError::plain)?;
        std::fs::write(&config, toml).map_err(CommandError::plain)?;
        let rules = rules(&site)?;
        check_devices(&site)?;

        let receiver = intake::open(&site)?;
        let pass = folder::deliver(&self.input, SOURCE, &receiver, &FolderLimits::default())
            .map_err(|error| CommandError::work(chain(&error), "name a folder or a zip that can be read"))?;
        if let Some(reason) = &pass.first_failure {
            return Err(CommandError::work(
                format!("{} files could not be taken in: {reason}", pass.failed),
                "make room in the folder for temporary files (`TMPDIR` names another)",
            ));
        }
        if pass.stored == 0 {
            return Err(CommandError::work(
                format!("{} holds no DICOM image that can be read: {}", self.input.display(), describe(&pass)),
                "name a folder or a zip of DICOM files",
            ));
        }
        let stop = StopFlag::with_patience(PATIENCE);
        let program = WorkerProgram { program: std::env::current_exe().map_err(CommandError::plain)?, config };
        let (rested, at_rest) = bounded(1);
        let sign = woken(&site.site.data, &stop)?;
        let flag = stop.clone();
        // The graph stays on the thread that makes it.
        let thread = std::thread::spawn(move || {
            Engine::start(&site, &rules, &program, flag).and_then(|engine| engine.run(&sign, Some(&rested)))
        });
        let faults = wait(&at_rest, receiver.last_seq());
        drop(at_rest);
        stop.stop();
        let ended =
            thread.join().map_err(|_| Hinted::work("the engine ended by a panic", "report this with the log"))?;
        if let Some(reason) = stop.given_up() {
            return Err(CommandError::work(
                format!("gave up: {reason}"),
                "make room or name another folder, then run it again",
            ));
        }
        ended?;
        let faults = faults.ok_or_else(|| Hinted::work("the engine ended early", "see the log"))?;
        self.report(&output, &faults, &pass, begun)
    }

    fn report(&self, output: &Path, faults: &[Fault], pass: &FolderPass, begun: Instant) -> Result<(), CommandError> {
        let reports = newest_reports(output);
        if self.json {
            let reports: Vec<_> = reports.iter().map(|found| &found.report).collect();
            outln!("{:#}", serde_json::json!({"reports": reports, "faults": faults}));
        } else {
            outln!("{} in {:.1} s", describe(pass), begun.elapsed().as_secs_f64());
            reports.iter().for_each(print_report);
        }
        print_faults(faults);
        if reports.is_empty() {
            return Err(CommandError::work(
                "no result was made",
                "the faults above say why; where there is none, no series fits `--when`",
            ));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(CommandError::work(counted(faults.len(), "fault"), "what they are stands above"))
        }
    }
}

/// Waits until the engine has nothing left to do beyond `seq`; none where it ended before.
fn wait(at_rest: &Receiver<(Seq, Vec<Fault>)>, seq: Seq) -> Option<Vec<Fault>> {
    at_rest.iter().find(|(cursor, _)| *cursor >= seq).map(|(_, faults)| faults)
}

fn describe(pass: &FolderPass) -> String {
    let skipped: u64 = pass.skipped.values().sum();
    format!(
        "{} of {} series; {} not understood, {} in conflict, {} passed over",
        counted(pass.stored, "instance"),
        pass.series.len(),
        pass.quarantined,
        pass.conflicts,
        counted(skipped, "file")
    )
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(CommandError::plain)
}

impl Run {
    /// The site that this command is: everything at once, nothing waited for.
    fn site(&self, data: &Path, output: &Path) -> Result<Site, CommandError> {
        let name = || "results".to_owned();
        Ok(Site {
            site: Identity { name: "run".to_owned(), data: data.join("data"), ..Identity::default() },
            // Nothing is listened to or watched: the entry says how long to wait.
            sources: vec![Source::Dicom(DicomSource {
                name: SOURCE.to_owned(),
                ae_titles: Vec::new(),
                addresses: Vec::new(),
                settle_seconds: Seconds(AT_ONCE),
                idle_seconds: Seconds(SOON),
                archive: None,
            })],
            pipelines: vec![Pipeline {
                name: PIPELINE.to_owned(),
                when: self.when.clone(),
                model: absolute(&self.model)?,
                destinations: vec![name()],
                applies_to: AppliesTo::All,
                urgency: Urgency::Normal,
                inputs: Vec::new(),
                alone: None,
            }],
            destinations: vec![Destination::Folder(FolderDestination {
                name: name(),
                path: output.to_owned(),
                outputs: FolderDestination::default_outputs(),
                retry: Retry::default(),
            })],
            devices: vec![super::site_device(self.device)],
            ..Site::default()
        })
    }
}
