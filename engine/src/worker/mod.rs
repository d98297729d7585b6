//! The worker process: the only one that touches pixels. It reads orders from standard input, one JSON line each,
//! and answers on standard output; it ends when its standard input does. What it reads while it works stops that: a run
//! ends at its next tile, and models stay loaded.
//!
//! It only reads the spool and only adds to the results store, so it may die at any moment.

mod encode;
mod identity;
mod run;
mod sessions;

pub use run::load_labels;

use std::{
    io::{BufRead, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
};

use sulcus_config::Site;
use sulcus_models::session::Session;
use sulcus_operators::{digest::Digest, results::typeface::MoreFont, volume::Encoded};

use self::sessions::Sessions;
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
    sessions: Option<Sessions>,
    /// Set once nobody wants the order that is under way.
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// A worker of a site. With a device it runs models, which are loaded now so that the first scan need not wait;
    /// without one it only encodes.
    pub fn open(site: &Site, device: Option<&str>) -> Result<Self, Hinted> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            spool: SpoolReader::new(&spool_path(&site.site.data)),
            results: open_results(&site.site.data)?,
            site: site.site.name.clone(),
            scene: None,
            fonts: None,
            sessions: None,
            stop: stop.clone(),
        };
        if let Some(name) = device {
            worker.sessions.insert(Sessions::new(site, run::Compute::of(site, name)?, stop)).load();
        }
        Ok(worker)
    }

    /// Works until its orders end.
    ///
    /// # Errors
    /// Where orders can no longer be read, or answers written.
    pub fn work(&mut self, orders: impl BufRead + Send + 'static, mut replies: impl Write) -> std::io::Result<()> {
        for order in listen(orders, self.stop.clone())? {
            let reply = match order? {
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
            Order::Stop => Err(Failure::input("there is nothing to stop", "restart sulcus")),
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

    /// The session of a package, which must hold `model`.
    fn session(&mut self, package: &Path, model: &Digest) -> Result<&mut Session, Failure> {
        let sessions = self.sessions.as_mut();
        sessions.ok_or_else(|| Failure::input("this worker has no device", "restart sulcus"))?.of(package, Some(model))
    }

    /// Lets go of all models but this package's; false where there are none.
    fn leave_alone(&mut self, package: &Path) -> bool {
        self.sessions.as_mut().is_some_and(|sessions| sessions.leave_alone(package))
    }

    /// # Errors
    /// Where nobody wants the order any more that is under way.
    fn is_wanted(&self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) { Err(Failure::cancelled()) } else { Ok(()) }
    }
}

/// An order as it was read.
type Read = std::io::Result<Result<Order, serde_json::Error>>;

/// Reads orders, and meanwhile whether the one under way is to stop: where that is said, and where no more can come, since
/// then nobody waits for the answer. The next order is given only once the one before it is answered.
fn listen(orders: impl BufRead + Send + 'static, stop: Arc<AtomicBool>) -> std::io::Result<Receiver<Read>> {
    let (read, given) = sync_channel(1);
    let listening = move || {
        for line in orders.lines() {
            let order = line.map(|line| serde_json::from_str(&line));
            let stops = matches!(order, Ok(Ok(Order::Stop)));
            stop.store(stops, Ordering::Relaxed);
            if !stops && read.send(order).is_err() {
                return;
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("orders".to_owned()).spawn(listening)?;
    Ok(given)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufReader, Write, pipe};

    use super::*;

    #[test]
    fn what_is_said_while_an_order_is_under_way_stops_that_one_alone() {
        let (read, mut write) = pipe().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let orders = listen(BufReader::new(read), stop.clone()).unwrap();
        let is_set = |expected: bool| {
            while stop.load(Ordering::Relaxed) != expected {
                std::thread::yield_now();
            }
        };
        let other = "\"an order that nobody knows\"\n";
        write.write_all(other.as_bytes()).unwrap();
        assert!(orders.recv().unwrap().unwrap().is_err() && !stop.load(Ordering::Relaxed));
        let mut line = serde_json::to_vec(&Order::Stop).unwrap();
        line.push(b'\n');
        write.write_all(&line).unwrap();
        is_set(true);
        write.write_all(other.as_bytes()).unwrap();
        assert!(orders.recv().unwrap().unwrap().is_err(), "the next order comes, and no word of the stop");
        assert!(!stop.load(Ordering::Relaxed), "and is not stopped by what was said of the one before");
        drop(write);
        is_set(true);
        assert!(orders.recv().is_err(), "where no orders come any more, nobody waits for the answer");
    }
}
