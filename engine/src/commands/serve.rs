//! `sulcus serve`, and the processes that it is made of.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{CommandError, SiteFile};
use crate::{
    devices::check_models,
    dispatch::{Engine, WorkerProgram, woken},
    failure::Hinted,
    intake,
    lanes::port::StopFlag,
    receiver::client::Client,
    rules::rules,
    supervisor::{Supervisor, stop_with_input, stop_with_signals},
    worker::{Worker, check_devices},
};

/// How long the engine rests before it asks for the receiver again.
const RECEIVER_PAUSE: Duration = Duration::from_millis(20);

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    site: SiteFile,
}

/// One process of a site.
#[derive(Args)]
pub(super) struct Part {
    #[command(flatten)]
    site: SiteFile,
}

/// A worker process of a site.
#[derive(Args)]
pub(super) struct WorkerPart {
    #[command(flatten)]
    site: SiteFile,
    /// The device that it infers with; without one it encodes.
    #[arg(long)]
    device: Option<String>,
}

fn program() -> Result<PathBuf, Hinted> {
    std::env::current_exe().map_err(|error| {
        Hinted::work(format!("the path of this program cannot be found: {error}"), "start it by its path")
    })
}

fn no_thread(error: std::io::Error) -> CommandError {
    CommandError::work(format!("a thread cannot be started: {error}"), "raise the limit on threads")
}

impl Serve {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        // What can be known to be wrong is said now, while somebody looks.
        let site = self.site.load()?;
        rules(&site)?;
        check_devices(&site)?;
        check_models(&site)?;
        let stop = StopFlag::default();
        stop_with_signals(&stop).map_err(no_thread)?;
        tracing::info!(address = %site.receiver.address, ae_title = site.receiver.ae_title, "serving; stop with Ctrl-C");
        Ok(Supervisor { program: program()?, config: self.site.config }.run(&stop)?)
    }
}

impl Part {
    pub(super) fn receiver(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        let stop = StopFlag::default();
        stop_with_input(&stop).map_err(no_thread)?;
        Ok(intake::receive(&site, &stop)?)
    }

    pub(super) fn engine(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        let stop = StopFlag::default();
        stop_with_input(&stop).map_err(no_thread)?;
        let program = WorkerProgram { program: program()?, config: self.site.config };
        // The receiver makes and reconciles the ledger before it answers.
        let mut receiver = Client::new(&site.site.data);
        while receiver.status().is_err() {
            if stop.nap(RECEIVER_PAUSE).is_err() {
                return Ok(());
            }
        }
        let woken = woken(&site.site.data, &stop)?;
        Ok(Engine::start(&site, &rules(&site)?, &program, stop)?.run(&woken, None)?)
    }
}

impl WorkerPart {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        let mut worker = Worker::open(&site, self.device.as_deref())?;
        worker.work(std::io::BufReader::new(std::io::stdin()), std::io::stdout().lock()).map_err(|error| {
            CommandError::work(
                format!("the engine's orders can no longer be read or answered: {error}"),
                "it starts another worker",
            )
        })
    }
}
