//! The worker process: the only one that touches pixels. It reads orders from standard input, one JSON line each,
//! and answers on standard output; it ends when its standard input does.
//!
//! It only reads the spool and only adds to the results store, so it may die at any moment.

mod encode;
mod identity;
mod run;

pub use run::load_labels;

use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use sulcus_config::Site;
use sulcus_models::session::Session;
use sulcus_operators::{digest::Digest, results::typeface::MoreFont, volume::Encoded};

use crate::{
    dispatch::open_results,
    failure::Hinted,
    lanes::order::{Failure, Lies, Order, Reply, SourceInstance},
    receiver::spool_path,
    results_store::ResultsStore,
    spool::read::{ReadError, SpoolReader},
};

/// What a worker holds between orders.
pub struct Worker {
    spool: SpoolReader,
    results: ResultsStore,
    site: String,
    /// The images of the run that an object was made of last.
    scene: Option<encode::Scene>,
    /// Fonts for pages beyond the built-in one, once they were looked for.
    fonts: Option<Vec<MoreFont>>,
    device: Option<run::Compute>,
    sessions: BTreeMap<PathBuf, Session>,
    /// Packages of the configuration, whose sessions stay; of others, the last one used does.
    configured: Vec<PathBuf>,
}

impl Worker {
    /// A worker of a site. With a device it runs models, which are loaded now so that the first scan need not wait;
    /// without one it only encodes.
    pub fn open(site: &Site, device: Option<&str>) -> Result<Self, Hinted> {
        let mut worker = Worker {
            spool: SpoolReader::new(&spool_path(&site.site.data)),
            results: open_results(&site.site.data)?,
            site: site.site.name.clone(),
            scene: None,
            fonts: None,
            device: device.map(|name| run::Compute::of(site, name)).transpose()?,
            sessions: BTreeMap::new(),
            configured: Vec::new(),
        };
        for pipeline in &site.pipelines {
            worker.configured.push(pipeline.model.clone());
            worker.configured.extend(pipeline.alone.iter().map(|alone| alone.model.clone()));
        }
        if worker.device.is_some() {
            for model in worker.configured.clone() {
                if let Err(failure) = worker.session(&model, None) {
                    // The order that needs it fails with the same words; until then there may be none.
                    tracing::error!(model = %model.display(), reason = failure.reason, hint = failure.hint, "model not loaded");
                }
            }
        }
        Ok(worker)
    }

    /// Works until its orders end.
    pub fn work(&mut self, orders: impl BufRead, mut replies: impl Write) -> std::io::Result<()> {
        for line in orders.lines() {
            let reply = match serde_json::from_str::<Order>(&line?) {
                Ok(order) => self.carry_out(&order, &mut |reply| say(&mut replies, &reply)),
                Err(error) => {
                    Reply::Failed(Failure::input(format!("the order cannot be read: {error}"), "restart sulcus"))
                }
            };
            say(&mut replies, &reply)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, order: &Order, progress: &mut dyn FnMut(Reply) -> std::io::Result<()>) -> Reply {
        let outcome = catch_unwind(AssertUnwindSafe(|| match order {
            Order::Run { order, package, instances, inputs, earlier, visits } => {
                self.run(order, package, (instances, inputs), (earlier, visits), progress)
            }
            Order::Encode(order) => self.encode(order),
        }));
        match outcome {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => Reply::Failed(failure),
            Err(panic) => Reply::Failed(Failure::crash(
                format!("a computation broke an assumption of its own: {}", panic_text(panic.as_ref())),
                "report this with the log; the input is kept",
            )),
        }
    }

    /// Reads the data sets of some instances from the spool.
    fn data_sets(&mut self, instances: &[SourceInstance]) -> Result<Vec<Vec<u8>>, Failure> {
        data_sets(&mut self.spool, instances)
    }

    /// The session of a package, which must hold `model` where one is named.
    fn session(&mut self, package: &Path, model: Option<&Digest>) -> Result<&mut Session, Failure> {
        let holds = |session: &Session| model.is_none_or(|model| session.package().digest() == *model);
        let session = match self.sessions.remove(package).filter(holds) {
            Some(session) => session,
            None => {
                let Some(device) = &self.device else {
                    return Err(Failure::input("this worker has no device", "restart sulcus"));
                };
                // Earlier models are rarely run: one at a time is kept beside those of the configuration.
                self.sessions.retain(|path, _| self.configured.contains(path));
                device.open(package)?
            }
        };
        if !holds(&session) {
            return Err(Failure::surroundings(
                format!("{} holds another model than the rule names", package.display()),
                "put the model package back as it was, or start sulcus again to use what is there",
            ));
        }
        Ok(self.sessions.entry(package.to_owned()).or_insert(session))
    }
}

/// Checks that ONNX Runtime is there for the devices of a site, by loading it.
pub fn check_devices(site: &Site) -> Result<(), Hinted> {
    site.devices.iter().try_for_each(|device| run::Compute::of(site, &device.name)?.runtime().map(|_| ()))
}

/// Reads the data sets of some instances from a spool.
fn data_sets(spool: &mut SpoolReader, instances: &[SourceInstance]) -> Result<Vec<Vec<u8>>, Failure> {
    instances
        .iter()
        .map(|instance| {
            let unreadable = |error: &dyn std::fmt::Display| {
                format!("the bytes of instance {} cannot be read: {error}", instance.sop_instance_uid)
            };
            let place = match &instance.lies {
                Lies::Spool(place) => place,
                Lies::File(path) => {
                    let failed = |error| Failure::surroundings(unreadable(&error), "check the disk of the data folder");
                    return std::fs::read(path).map_err(failed);
                }
            };
            spool.data_set(place).map(|(_, data_set)| data_set).map_err(|error| {
                let reason = unreadable(&error);
                match error {
                    ReadError::Io { .. } => Failure::surroundings(reason, "check the disk of the data folder"),
                    ReadError::Damaged { .. } => Failure::input(reason, "run `sulcus ledger verify`"),
                }
            })
        })
        .collect()
}

/// Data sets and their transfer syntaxes side by side.
fn encoded<'a>(instances: &'a [SourceInstance], data_sets: &'a [Vec<u8>]) -> Vec<Encoded<'a>> {
    instances
        .iter()
        .zip(data_sets)
        .map(|(instance, data_set)| Encoded { transfer_syntax: &instance.transfer_syntax, data_set })
        .collect()
}

fn say(replies: &mut impl Write, reply: &Reply) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    replies.write_all(&line)?;
    replies.flush()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no words")
}
