//! `sulcus model embed`: where the training scans lie in what the network sees, written into its package.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use sulcus_models::{
    device::{Device, Provider},
    embedding::Embedding,
    package::Package,
    predict::{Options, predict_image},
    runtime::Runtime,
    session::Session,
};

use super::{
    CommandError,
    cases::{cases, read, turned},
    chain, model,
    progress::Progress,
};

#[derive(Args)]
pub(super) struct Embed {
    /// The model package; its digest changes, so that reports made with it are made anew where a rule says so.
    package: PathBuf,
    /// The images that the network learned from, named as nnU-Net does: its raw data set's imagesTr.
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// What computes.
    #[arg(long, default_value_t = Provider::OpenVino, value_name = "cpu|openvino|cuda:N|tensorrt:N")]
    device: Provider,
}

impl Embed {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let package = Arc::new(model::open(&self.package)?);
        let cases = cases(&self.images, package.manifest().channels.len())?;
        let runtime = Runtime::load(None).map_err(CommandError::plain)?;
        let mut session =
            Session::open(runtime, package.clone(), &Device::new(self.device)).map_err(CommandError::plain)?;
        if !session.has_features() {
            return Err(CommandError::usage(
                format!("the network of {} does not tell of its features", package.manifest().name),
                "import the model anew from nnU-Net's results; other networks have no distance",
            ));
        }
        let mut vectors = Vec::with_capacity(cases.len());
        let mut progress = Progress::new("training scans");
        let of = cases.len();
        for (case, files) in cases {
            let vector = features(&mut session, &files)
                .map_err(|reason| CommandError::work(format!("case {case}: {reason}"), "correct or remove it"))?;
            vectors.push(vector);
            progress.at(vectors.len(), of);
        }
        let embedding = Embedding::of(&vectors).map_err(CommandError::plain)?;
        let package = Package::embed(&self.package, &embedding).map_err(CommandError::plain)?;
        outln!("{} training scans, {} features each", embedding.scans(), embedding.features());
        outln!("digest of the package: {}", package.digest());
        Ok(())
    }
}

/// The features of one case.
fn features(session: &mut Session, files: &[PathBuf]) -> Result<Vec<f64>, String> {
    let turned = turned(session.package(), read(files)?)?;
    let predicted = predict_image(session, turned.channels, turned.spacing, &Options::default(), &mut |_, _| {})
        .map_err(|error| chain(&error))?;
    predicted.features.ok_or_else(|| "the image is blank".to_owned())
}
