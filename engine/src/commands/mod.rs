//! The command line: what each command takes, and where it is carried out.
//!
//! Exit codes: 0 done, 1 the work failed, 2 wrong usage or configuration.

#[macro_use]
mod out;

mod cases;
mod cohort;
mod config;
mod convert;
mod demo;
mod direct;
mod embed;
mod hosts;
mod ledger;
mod merge;
mod model;
mod network;
mod outbox;
mod outcome;
mod predict;
mod probabilities;
mod progress;
mod replay;
mod run;
mod serve;
mod status;
mod table;
mod verdict;
mod withdraw;
mod words;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use miette::Diagnostic;
use sulcus_models::device::Provider;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::failure::Hinted;

/// A streaming dataflow engine for MRI scanners: DICOM series in; lesion reports and DICOM-SEG out, corrected for as
/// long as their inputs change. Research use only, not for diagnosis.
#[derive(Parser)]
#[command(name = "sulcus", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A simulated scanner sends, Sulcus receives, results appear.
    Demo(demo::Demo),
    /// Receive, infer and deliver, as the configuration says, until stopped.
    Serve(serve::Serve),
    /// A folder or zip of DICOM in, results out.
    Run(run::Run),
    /// DICOM to NIfTI, with a sidecar.
    Convert(convert::Convert),
    /// NIfTI images in, label maps out, as nnUNetv2_predict does.
    Predict(predict::Predict),
    /// Model packages: import, inspect, check.
    #[command(subcommand)]
    Model(model::Model),
    /// Ask a DICOM node whether it is there (C-ECHO).
    Echo(network::Echo),
    /// Send a folder or zip of DICOM to a node (C-STORE).
    Send(network::Send),
    /// What a site has received, what it waits for, what failed, what is delivered.
    Status(status::Status),
    /// Where each object of the results stands, at each destination.
    Outbox(outbox::Outbox),
    /// Send results once more: those that were given up, or all of a study.
    Resend(outbox::Resend),
    /// Lesions over all patients, by trial, scanner, visit and more; and the changes as a stream.
    Cohort(cohort::Cohort),
    /// Take instances back: whatever was made from them is corrected.
    Withdraw(withdraw::Withdraw),
    /// Two patient ids are one person's, or are not after all: visits, and runs that are compared with them, follow.
    Merge(merge::Merge),
    /// What a reader says of a lesion: the reports that hold it are corrected.
    Verdict(verdict::Verdict),
    /// Work on a series as it stands: what it lacks is not waited for. A slice that comes later voids it.
    Close(direct::Directing),
    /// Let a series wait, whatever the evidence says, until it is released or closed.
    Hold(direct::Directing),
    /// Undo a hold.
    Release(direct::Directing),
    /// The events of a site.
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// What a site's configuration says.
    #[command(subcommand)]
    Config(config::Config),
    /// Internal: the process that receives and owns the ledger.
    #[command(hide = true)]
    Receiver(serve::Part),
    /// Internal: the process of the graph and its lanes.
    #[command(hide = true)]
    Engine(serve::Part),
    /// Internal: the process that touches pixels.
    #[command(hide = true)]
    Worker(serve::WorkerPart),
}

/// How a command ends when it does not end well.
#[derive(Debug, Error, Diagnostic)]
pub enum CommandError {
    /// Wrong usage or configuration.
    #[error("{reason}")]
    Usage {
        /// What is wrong.
        reason: String,
        /// What to do.
        #[help]
        hint: Option<String>,
    },
    /// The work failed.
    #[error("{reason}")]
    Work {
        /// What failed.
        reason: String,
        /// What to do.
        #[help]
        hint: Option<String>,
    },
}

impl CommandError {
    fn usage(reason: impl ToString, hint: impl ToString) -> Self {
        CommandError::Usage { reason: reason.to_string(), hint: Some(hint.to_string()) }
    }

    fn work(reason: impl ToString, hint: impl ToString) -> Self {
        CommandError::Work { reason: reason.to_string(), hint: Some(hint.to_string()) }
    }

    /// An error that already says what to do, or is plain.
    fn plain(error: impl std::error::Error) -> Self {
        CommandError::Work { reason: chain(&error), hint: None }
    }
}

impl From<Hinted> for CommandError {
    fn from(error: Hinted) -> Self {
        if error.usage {
            CommandError::usage(error.reason, error.hint)
        } else {
            CommandError::work(error.reason, error.hint)
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// nnU-Net's options of several letters have one dash.
fn long(argument: OsString) -> OsString {
    match argument.to_str() {
        Some("-step_size") => "--step_size".into(),
        Some("-device") => "--device".into(),
        _ => argument,
    }
}

/// The device of a site that computes with a provider.
fn site_device(provider: Provider) -> sulcus_config::Device {
    let (kind, gpu) = match provider {
        Provider::OpenVino => (sulcus_config::Provider::Openvino, 0),
        Provider::Cpu => (sulcus_config::Provider::Cpu, 0),
        Provider::Cuda(gpu) => (sulcus_config::Provider::Cuda, gpu),
        Provider::TensorRt(gpu) => (sulcus_config::Provider::Tensorrt, gpu),
    };
    sulcus_config::Device { gpu, ..sulcus_config::Device::new("device", kind) }
}

/// The configuration file of a site.
#[derive(clap::Args, Clone)]
struct SiteFile {
    /// The site's configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl SiteFile {
    fn load(&self) -> Result<sulcus_config::Site, CommandError> {
        sulcus_config::Site::load(&self.config)
            .map_err(|error| CommandError::Usage { reason: chain(&error), hint: None })
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let command = Arguments::parse_from(std::env::args_os().map(long)).command;
    log(&command);
    let outcome = match command {
        Command::Demo(command) => command.execute(),
        Command::Serve(command) => command.execute(),
        Command::Run(command) => command.execute(),
        Command::Convert(command) => command.execute(),
        Command::Predict(command) => command.execute(),
        Command::Model(command) => command.execute(),
        Command::Echo(command) => command.execute(),
        Command::Send(command) => command.execute(),
        Command::Status(command) => command.execute(),
        Command::Cohort(command) => command.execute(),
        Command::Outbox(command) => command.execute(),
        Command::Resend(command) => command.execute(),
        Command::Withdraw(command) => command.execute(),
        Command::Merge(command) => command.execute(),
        Command::Verdict(command) => command.execute(),
        Command::Close(command) => command.close(),
        Command::Hold(command) => command.hold(),
        Command::Release(command) => command.release(),
        Command::Ledger(command) => command.execute(),
        Command::Config(command) => command.execute(),
        Command::Receiver(part) => part.receiver(),
        Command::Engine(part) => part.engine(),
        Command::Worker(part) => part.execute(),
    };
    match outcome.and_then(|()| out::end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if matches!(error, CommandError::Usage { .. }) { 2 } else { 1 };
            complain(error);
            ExitCode::from(code)
        }
    }
}

/// Prints an error with its hint. Paths stay whole, and lines as well where no person reads them.
fn complain(error: CommandError) {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let handler = miette::MietteHandlerOpts::new().break_words(false).wrap_lines(terminal);
    // It fails only where another handler was set before; then that one prints.
    let _ = miette::set_hook(Box::new(move |_| Box::new(handler.clone().build())));
    eprintln!("{:?}", miette::Report::new(error));
}

/// Logs to standard error: what a site's processes do, and of other commands only what is wrong. `SULCUS_LOG` says
/// otherwise.
fn log(command: &Command) {
    let serving = matches!(command, Command::Serve(_) | Command::Receiver(_) | Command::Engine(_) | Command::Worker(_));
    let usual =
        if serving { "warn,sulcus=info,sulcus_engine=info,sulcus_models=info,sulcus_connectors=info" } else { "warn" };
    let filter = EnvFilter::try_from_env("SULCUS_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(terminal)
        .init();
}
