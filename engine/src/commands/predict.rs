//! `sulcus predict`: NIfTI images in, label maps out, with the files and options of `nnUNetv2_predict`.
//!
//! Owns naming and order: one case is read, one is inferred and one is written at a time, side by side.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use clap::Args;
use crossbeam::channel::bounded;
use ndarray::Axis;
use sulcus_models::{
    device::{Device, Provider},
    package::{DATASET, Described, PLANS, Package},
    predict::{Options, Predicted, predict_image},
    reorient::Reorientation,
    runtime::Runtime,
    session::Session,
};
use sulcus_operators::{
    nifti_image::{self, Image},
    nnunet::tiles::Precision,
};

use super::{
    CommandError,
    cases::{Cases, Turned, cases, read, turned},
    chain, model, probabilities,
    progress::Progress,
};

#[derive(Args)]
pub(super) struct Predict {
    /// Folder of images: CASE_0000.nii.gz, CASE_0001.nii.gz and so on, one file a channel.
    #[arg(short, long, value_name = "FOLDER")]
    input: PathBuf,
    /// Folder that takes a label map of each case: CASE.nii.gz.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// The model package.
    #[arg(short, long, value_name = "FOLDER")]
    model: PathBuf,
    /// What computes.
    #[arg(long, default_value_t = Provider::OpenVino, value_name = "cpu|openvino|cuda:N|tensorrt:N")]
    device: Provider,
    /// Folds to use, by their place in the package; without it, all.
    #[arg(short, long, num_args = 1.., value_name = "FOLD")]
    folds: Vec<usize>,
    /// Step between tiles, as a share of the patch.
    #[arg(long = "step_size", visible_alias = "step-size", default_value_t = 0.5)]
    step_size: f64,
    /// No mirroring: up to eight times as fast, and less accurate.
    #[arg(long = "disable_tta", visible_alias = "disable-tta")]
    disable_tta: bool,
    /// Also write CASE.npz with the probabilities of all labels, and CASE.pkl with the image's properties.
    #[arg(long = "save_probabilities", visible_alias = "save-probabilities")]
    save_probabilities: bool,
    /// Leave out cases whose results are there.
    #[arg(long = "continue_prediction", visible_alias = "continue-prediction")]
    continue_prediction: bool,
    /// Keep logits in fp16 as nnU-Net does: for comparison with it, not better.
    #[arg(long)]
    parity: bool,
    /// Where compiled networks are kept between calls (OpenVINO).
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Print the time of each case as JSON.
    #[arg(long)]
    json: bool,
}

/// Smaller steps make more tiles than anyone waits for.
const SMALLEST_STEP: f64 = 0.05;

/// A case that was read, or why not.
struct Read {
    case: String,
    images: Result<Vec<Image>, String>,
}

/// A case that was inferred.
struct Inferred {
    case: String,
    first: Image,
    predicted: Predicted,
    way: Option<Reorientation>,
    begun: Instant,
}

impl Predict {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        if !(SMALLEST_STEP..=1.0).contains(&self.step_size) {
            return Err(CommandError::usage(
                format!("--step_size {} is not from {SMALLEST_STEP} to 1", self.step_size),
                "use 0.5",
            ));
        }
        let package = model::open(&self.model)?.with_folds(&self.folds);
        let package =
            Arc::new(package.map_err(|reason| CommandError::usage(reason, "choose folds that the package has"))?);
        let mut cases = cases(&self.input, package.manifest().channels.len())?;
        let done = |case: &str| {
            let there = |ending: &str| self.output.join(format!("{case}{ending}")).is_file();
            self.continue_prediction && there(".nii.gz") && (!self.save_probabilities || there(".npz"))
        };
        cases.retain(|case, _| !done(case));
        std::fs::create_dir_all(&self.output).map_err(|error| {
            CommandError::usage(format!("{} cannot be made: {error}", self.output.display()), "choose another folder")
        })?;
        let runtime = Runtime::load(None).map_err(CommandError::plain)?;
        let device = Device { cache: self.cache.clone(), ..Device::new(self.device) };
        let mut session = Session::open(runtime, package, &device).map_err(CommandError::plain)?;
        self.describe(session.package())?;
        let (done, failed) = self.work(&mut session, cases);
        if self.json {
            outln!("{:#}", serde_json::json!({"cases": done, "failed": failed}));
        }
        failed.iter().for_each(|(case, reason)| eprintln!("case {case} was not predicted: {reason}"));
        if failed.is_empty() {
            return Ok(());
        }
        Err(CommandError::work(
            format!("{} of {} cases were not predicted", failed.len(), failed.len() + done.len()),
            "the reasons stand above; everything else was written",
        ))
    }

    /// Writes the files that nnU-Net's other programs, `nnUNetv2_ensemble` for one, want beside predictions.
    fn describe(&self, package: &Package) -> Result<(), CommandError> {
        let Described { plans, dataset } = package.described();
        for (name, bytes) in std::iter::once((PLANS, plans)).chain(dataset.iter().map(|bytes| (DATASET, bytes))) {
            let path = self.output.join(name);
            std::fs::write(&path, bytes).map_err(|error| {
                CommandError::work(format!("{} cannot be written: {error}", path.display()), "check the free space")
            })?;
        }
        Ok(())
    }

    /// Reads, infers and writes all cases; gives seconds by case, and why others failed.
    fn work(&self, session: &mut Session, cases: Cases) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
        // One case waits on each side, so that memory holds three at most.
        let (to_infer, to_be_inferred) = bounded::<Read>(0);
        let (to_write, inferred) = bounded::<Inferred>(0);
        let mut failed = BTreeMap::new();
        let done = std::thread::scope(|scope| {
            scope.spawn(move || {
                for (case, files) in cases {
                    if to_infer.send(Read { case, images: read(&files) }).is_err() {
                        break;
                    }
                }
            });
            let writer = scope.spawn(|| {
                inferred.iter().map(|inferred| (inferred.case.clone(), self.write(inferred))).collect::<Vec<_>>()
            });
            for Read { case, images } in to_be_inferred {
                match images.and_then(|images| self.infer(session, &case, images)) {
                    Ok(inferred) => drop(to_write.send(inferred)),
                    Err(reason) => drop(failed.insert(case, reason)),
                }
            }
            drop(to_write);
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let mut seconds = BTreeMap::new();
        for (case, written) in done {
            match written {
                Ok(took) => drop(seconds.insert(case, took)),
                Err(reason) => drop(failed.insert(case, reason)),
            }
        }
        (seconds, failed)
    }

    fn infer(&self, session: &mut Session, case: &str, images: Vec<Image>) -> Result<Inferred, String> {
        let begun = Instant::now();
        let Turned { channels, spacing, first, way } = turned(session.package(), images)?;
        let precision = if self.parity { Precision::Half } else { Precision::Single };
        let options = Options { step: self.step_size, mirror: !self.disable_tta, precision };
        let mut progress = Progress::new(case);
        let predicted = predict_image(session, channels, spacing, &options, &mut |done, of| progress.at(done, of))
            .map_err(|error| chain(&error))?;
        Ok(Inferred { case: case.to_owned(), first, predicted, way, begun })
    }

    /// Writes a case's results; the label map last, since it says that the case is done. Gives the seconds since its
    /// images were read.
    fn write(&self, inferred: Inferred) -> Result<f64, String> {
        let Inferred { case, first, predicted, way, begun } = inferred;
        let path = |ending: &str| self.output.join(format!("{case}{ending}"));
        if self.save_probabilities {
            let all = predicted.probabilities();
            let all = match way {
                None => all,
                Some(way) => {
                    let turned: Vec<_> = all.outer_iter().map(|output| way.backward(output)).collect();
                    let views: Vec<_> = turned.iter().map(|output| output.view()).collect();
                    ndarray::stack(Axis(0), &views).map_err(|error| error.to_string())?
                }
            };
            probabilities::write(&path(".npz"), all.view()).map_err(|error| error.to_string())?;
            probabilities::write_properties(&path(".pkl"), &first, &predicted).map_err(|error| error.to_string())?;
        }
        let labels = predicted.labels().map_err(|error| chain(&error))?.labels;
        let labels = match way {
            None => labels,
            Some(way) => way.backward(labels.view()),
        };
        nifti_image::write_labels(labels.view(), &first, &path(".nii.gz")).map_err(|error| chain(&error))?;
        Ok(begun.elapsed().as_secs_f64())
    }
}
