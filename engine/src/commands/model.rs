//! `sulcus model`: packages made of nnU-Net's trainings, looked at, and tried.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand, ValueEnum};
use sulcus_models::{
    brain::BrainPackage,
    device::{Device, Provider},
    embedding::Embedding,
    golden::{self, Agreement},
    import::{self, Order, Which, architecture::Architecture, synthstrip, unet},
    need::Need,
    package::Package,
    plans::Plans,
    runtime::Runtime,
    session::Session,
};

use super::{CommandError, embed::Embed};

#[derive(Subcommand)]
pub(super) enum Model {
    /// Make a package of what nnU-Net v2 trained.
    Import(Import),
    /// Say what a package holds and costs.
    Inspect(Inspect),
    /// Run a package's self-test on a device.
    Check(Check),
    /// Tell a package what its network learned from, so that reports say how far a scan is from that.
    Embed(Embed),
}

#[derive(Args)]
pub(super) struct Import {
    /// nnU-Net's results folder of one training: it holds plans.json, dataset.json and fold_0. Or SynthStrip's
    /// checkpoint (synthstrip.1.pt), for a package that finds the brain.
    results: PathBuf,
    /// The package's folder, which must not exist.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// Folds, such as 0,1,2 or all; without it, every fold that there is.
    #[arg(long, value_delimiter = ',')]
    folds: Vec<String>,
    /// Which checkpoint of each fold.
    #[arg(long, value_enum, default_value = "final")]
    checkpoint: Checkpoint,
    /// Keep weights in fp16: half the size, for GPUs.
    #[arg(long)]
    half: bool,
    /// Name of the model in reports; without it, that of the dataset.
    #[arg(long)]
    name: Option<String>,
    /// Where the model comes from, as reports and `model inspect` are to say it: of which data, by whom.
    #[arg(long, value_name = "TEXT")]
    provenance: Option<String>,
    /// The label that counts as a lesion; needed where there are several.
    #[arg(long, value_name = "LABEL")]
    lesion: Option<String>,
    /// Directions in which x, y and z grow in the training images; DICOM volumes are turned to it.
    #[arg(long, value_name = "CODES", default_value = "LPS")]
    orientation: String,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Checkpoint {
    Final,
    Best,
}

#[derive(Args)]
pub(super) struct Inspect {
    /// The model package.
    package: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Check {
    /// The model package.
    package: PathBuf,
    /// What computes.
    #[arg(long, default_value_t = Provider::Cpu, value_name = "cpu|openvino|cuda:N|tensorrt:N")]
    device: Provider,
}

impl Model {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        match self {
            Model::Import(command) => command.execute(),
            Model::Inspect(command) => command.execute(),
            Model::Check(command) => command.execute(),
            Model::Embed(command) => command.execute(),
        }
    }
}

impl Import {
    fn execute(self) -> Result<(), CommandError> {
        if self.results.is_file() {
            return self.synthstrip();
        }
        let order = Order {
            results: self.results,
            output: self.output.clone(),
            folds: self.folds,
            checkpoint: match self.checkpoint {
                Checkpoint::Final => Which::Final,
                Checkpoint::Best => Which::Best,
            },
            half: self.half,
            name: self.name,
            provenance: self.provenance,
            lesion: self.lesion,
            orientation: self.orientation,
        };
        let runtime = Runtime::load(None).map_err(CommandError::plain)?;
        let tried = |package: Package| {
            let mut session = Session::open(runtime, Arc::new(package), &Device::new(Provider::Cpu))
                .map_err(|error| error.to_string())?;
            golden::golden(&mut session).map_err(|error| error.to_string())
        };
        import::import(&order, tried).map_err(CommandError::plain)?;
        Inspect { package: self.output, json: self.json }.execute()
    }

    fn synthstrip(self) -> Result<(), CommandError> {
        if !self.folds.is_empty() || self.half || self.lesion.is_some() {
            return Err(CommandError::usage(
                "a file is taken for SynthStrip's checkpoint, which has no folds, fp16 or lesions",
                "name nnU-Net's results folder, or leave these options out",
            ));
        }
        let runtime = Runtime::load(None).map_err(CommandError::plain)?;
        let tried = |package: BrainPackage| {
            let session = package.session(runtime, &Device::new(Provider::Cpu));
            session.and_then(|mut session| session.golden()).map_err(|error| error.to_string())
        };
        synthstrip::import(&self.results, &self.output, self.name.as_deref(), tried).map_err(CommandError::plain)?;
        Inspect { package: self.output, json: self.json }.execute()
    }
}

/// The package, where it is one that finds the brain.
fn brain(folder: &Path) -> Result<Option<BrainPackage>, CommandError> {
    BrainPackage::open(folder)
        .map_err(|error| CommandError::usage(super::chain(&error), "name a model package's folder"))
}

pub(super) fn open(folder: &Path) -> Result<Package, CommandError> {
    Package::open(folder).map_err(|error| CommandError::usage(super::chain(&error), "name a model package's folder"))
}

impl Inspect {
    fn execute(self) -> Result<(), CommandError> {
        if let Some(package) = brain(&self.package)? {
            return self.brain(&package);
        }
        let package = open(&self.package)?;
        let (manifest, plans) = (package.manifest(), package.plans());
        let bytes: usize = package.networks().iter().map(Vec::len).sum();
        // Only a package made of nnU-Net's plans says what its network is.
        let architecture = std::fs::read(package.folder().join("plans.json"))
            .ok()
            .and_then(|bytes| Plans::configuration(&bytes, &manifest.configuration).ok())
            .and_then(|configuration| Architecture::parse(&configuration).ok());
        let cost = architecture.as_ref().map(|architecture| {
            let patch = plans.patch_size[usize::from(plans.planar)..].to_vec();
            let ports = unet::Ports { channels: manifest.channels.len(), classes: manifest.outputs(), patch };
            unet::cost(architecture, &ports)
        });
        let need = Need::read(&self.package).map_err(CommandError::plain)?;
        if self.json {
            let cost = cost.map(|cost| {
                serde_json::json!({"parameters": cost.parameters, "operations": cost.operations, "activation_bytes": cost.activations})
            });
            outln!(
                "{:#}",
                serde_json::json!({
                    "manifest": manifest,
                    "digest": package.digest(),
                    "network_bytes": bytes,
                    "memory_bytes": {"cpu": need.on(Provider::Cpu), "gpu": need.on(Provider::Cuda(0))},
                    "cost": cost,
                    "training_scans": package.embedding().map(Embedding::scans),
                })
            );
            return Ok(());
        }
        outln!("{} version {}: {}", manifest.name, manifest.version, manifest.description);
        outln!("{}", manifest.provenance);
        outln!("{}", manifest.research_use);
        outln!();
        outln!("  reads         {} in {} orientation", manifest.channels.join(", "), manifest.orientation);
        outln!("  labels        {}; value {} is a lesion", manifest.labels.join(", "), manifest.lesion_label);
        outln!(
            "  configuration {}, patch {:?}, spacing {:?} mm",
            manifest.configuration,
            plans.patch_size,
            plans.spacing
        );
        outln!("  mirroring     axes {:?}", manifest.mirror_axes);
        if let Some(network) = &architecture {
            outln!("  network       {:?} encoder, {}D, features {:?}", network.encoder, network.axes, network.features);
        }
        if let Some(cost) = cost {
            outln!("  parameters    {:.2} million a fold", cost.parameters as f64 / 1e6);
            outln!(
                "  a tile        {:.1} GFLOP, {:.0} MB of activations in all",
                cost.operations as f64 / 1e9,
                cost.activations as f64 / 1e6
            );
        }
        outln!("  networks      {} of {:.1} MB in all", package.networks().len(), bytes as f64 / 1e6);
        let mib = |provider| need.on(provider).div_ceil(1 << 20);
        let (cpu, gpu) = (mib(Provider::Cpu), mib(Provider::Cuda(0)));
        outln!("  memory        at least {cpu} MiB on a CPU, {gpu} MiB on a GPU, which takes several tiles at once");
        match package.embedding() {
            Some(embedding) => outln!("  distances     from {} training scans", embedding.scans()),
            None => outln!("  distances     unknown: it does not hold its training scans' features"),
        }
        outln!("  digest        {}", package.digest());
        Ok(())
    }
}

impl Inspect {
    fn brain(&self, package: &BrainPackage) -> Result<(), CommandError> {
        let manifest = package.manifest();
        if self.json {
            outln!("{:#}", serde_json::json!({"manifest": manifest, "network_bytes": package.network_bytes()}));
            return Ok(());
        }
        outln!("{} version {}: {}", manifest.name, manifest.version, manifest.description);
        outln!("{}", manifest.provenance);
        outln!("{}", manifest.research_use);
        outln!();
        outln!("  reads         heads at 1 mm, sides multiples of {}", manifest.reduction);
        outln!("  network       {:.1} MB", package.network_bytes() as f64 / 1e6);
        Ok(())
    }
}

impl Check {
    fn execute(self) -> Result<(), CommandError> {
        let runtime = Runtime::load(None).map_err(CommandError::plain)?;
        if let Some(package) = brain(&self.package)? {
            let device = Device::new(self.device);
            let mut session = package.session(runtime, &device).map_err(CommandError::plain)?;
            report(self.device, session.check().map_err(CommandError::plain)?);
            return Ok(());
        }
        let package = Arc::new(open(&self.package)?);
        let mut session = Session::open(runtime, package, &Device::new(self.device)).map_err(CommandError::plain)?;
        let agreement = golden::check(&mut session).map_err(CommandError::plain)?;
        report(session.provider(), agreement);
        Ok(())
    }
}

fn report(provider: Provider, agreement: Agreement) {
    let Agreement { difference, largest } = agreement;
    outln!("passed on {provider}: outputs differ by at most {difference:.2e}, the largest is {largest:.2}");
}
