//! `sulcus echo` and `sulcus send`: a DICOM node asked, and sent to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Mutex,
    time::Duration,
};

use clap::Args;
use sulcus_connectors::{
    dimse::scu::{self, StoreOptions, Storer},
    folder::{self, FolderLimits},
    inbox::{Inbox, Incoming, Stored},
};

use super::{CommandError, chain, progress::Progress, words::counted};

/// How long a node may take to open an association, and to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
struct Node {
    /// Address of the node.
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// AE title of the node.
    #[arg(long, default_value = "ANY-SCP")]
    called: String,
    /// AE title to call from.
    #[arg(long, default_value = "SULCUS")]
    calling: String,
}

/// Asks a DICOM node whether it is there.
#[derive(Args)]
pub(super) struct Echo {
    #[command(flatten)]
    node: Node,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Echo {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let Node { address, called, calling } = &self.node;
        let time = scu::echo(address, calling, called, TIMEOUT).map_err(|error| {
            CommandError::work(chain(&error), "check address and port, and that the node knows both AE titles")
        })?;
        let millis = time.as_secs_f64() * 1000.0;
        if self.json {
            outln!("{}", serde_json::json!({"address": address, "called": called, "milliseconds": millis}));
        } else {
            outln!("{called} at {address} answered in {millis:.1} ms");
        }
        Ok(())
    }
}

/// Sends a folder or zip of DICOM to a node.
#[derive(Args)]
pub(super) struct Send {
    /// A folder or a zip of DICOM files, or one file.
    input: PathBuf,
    #[command(flatten)]
    node: Node,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// First pass over the input: which presentation contexts its objects need, and how many objects there are.
#[derive(Default)]
struct Survey(Mutex<(BTreeMap<String, BTreeSet<String>>, usize)>);

impl Inbox for Survey {
    fn store(&self, incoming: Incoming) -> Stored {
        let Ok(mut survey) = self.0.lock() else { return Stored::Failed { reason: "the survey broke".to_owned() } };
        survey.0.entry(incoming.sop_class_uid).or_default().insert(incoming.transfer_syntax);
        survey.1 += 1;
        Stored::Kept { series_uid: String::new() }
    }

    fn released(&self, _: &str, _: Vec<String>, _: bool) {}
}

/// Second pass: sends each object, and keeps what was refused.
struct Sending {
    storer: Mutex<(Storer, usize, Vec<String>)>,
    of: usize,
    progress: Mutex<Progress>,
}

impl Inbox for Sending {
    fn store(&self, incoming: Incoming) -> Stored {
        let Ok(mut sending) = self.storer.lock() else {
            return Stored::Failed { reason: "the sender broke".to_owned() };
        };
        let Incoming { sop_class_uid, sop_instance_uid, transfer_syntax, data_set, .. } = incoming;
        let refused = match sending.0.store(&sop_class_uid, &sop_instance_uid, &transfer_syntax, &data_set) {
            Ok(0x0000 | 0xB000..=0xBFFF) => None,
            Ok(status) => Some(format!("the node answered 0x{status:04X}")),
            Err(error) => Some(chain(&error)),
        };
        sending.1 += 1;
        if let Ok(mut progress) = self.progress.lock() {
            progress.at(sending.1, self.of);
        }
        match refused {
            None => Stored::Kept { series_uid: String::new() },
            Some(reason) => {
                sending.2.push(format!("{sop_instance_uid}: {reason}"));
                Stored::Failed { reason }
            }
        }
    }

    fn released(&self, _: &str, _: Vec<String>, _: bool) {}
}

impl Send {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        if !self.input.exists() {
            return Err(CommandError::usage(
                format!("{} does not exist", self.input.display()),
                "name a folder or a zip",
            ));
        }
        let survey = Survey::default();
        self.pass(&survey)?;
        let (contexts, of) = survey.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if of == 0 {
            return Err(CommandError::work(
                format!("{} holds no DICOM", self.input.display()),
                "name a folder of DICOM files",
            ));
        }
        let storer = Storer::connect(&StoreOptions {
            address: self.node.address.clone(),
            calling_ae_title: self.node.calling.clone(),
            called_ae_title: self.node.called.clone(),
            contexts: contexts.into_iter().map(|(class, syntaxes)| (class, syntaxes.into_iter().collect())).collect(),
            connect_timeout: TIMEOUT,
            io_timeout: TIMEOUT,
            max_pdu: 131_072,
        })
        .map_err(|error| {
            CommandError::work(chain(&error), "check address and port, and that the node knows both AE titles")
        })?;
        let sending =
            Sending { storer: Mutex::new((storer, 0, Vec::new())), of, progress: Mutex::new(Progress::new("sending")) };
        self.pass(&sending)?;
        let (storer, tried, refused) = sending.storer.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let released = storer.release();
        if self.json {
            outln!("{}", serde_json::json!({"sent": tried - refused.len(), "refused": refused}));
        } else {
            outln!("{} of {of} objects sent to {}", tried - refused.len(), self.node.address);
        }
        if !refused.is_empty() {
            refused.iter().take(10).for_each(|reason| eprintln!("not sent: {reason}"));
            return Err(CommandError::work(
                format!("{} not sent", counted(refused.len(), "object")),
                "send again: what is there already changes nothing",
            ));
        }
        released
            .map_err(|error| CommandError::work(chain(&error), "the objects were answered; only the farewell failed"))
    }

    fn pass(&self, inbox: &dyn Inbox) -> Result<(), CommandError> {
        folder::deliver(&self.input, "input", inbox, &FolderLimits::default())
            .map(|_| ())
            .map_err(|error| CommandError::work(chain(&error), "name a folder or a zip that can be read"))
    }
}
