//! Receiving by C-STORE: 960 slices from DCMTK's storescu over 1 and 4 associations, `sulcus serve` against DCMTK's
//! storescp, Orthanc and dicom-rs's dicom-storescp, in turn, on the project's own disk.
//!
//! Sulcus and Orthanc sync what they acknowledge; the two storescp never do.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use sulcus_engine::ledger::read::Reader;
use sulcus_engine::receiver::ledger_path;
use sulcus_tests::bench::{Bench, rate, scratch};
use sulcus_tests::dcmtk::{storescp, storescu_command};
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::places::{root, sulcus};
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::{PeerError, Running, free_port, skip};

const SLICES: u32 = 960;
const PARTS: u32 = 4;

/// A receiver that has been started: it ends when dropped.
struct Started {
    address: SocketAddr,
    ae_title: &'static str,
    holds: Holds,
}

/// Where a receiver's acknowledged objects can be counted.
enum Holds {
    Index(Orthanc),
    Files(Running, PathBuf),
    Ledger(Running, PathBuf),
}

type Start = fn(&Path) -> Result<Started, PeerError>;

const RECEIVERS: &[(&str, Start)] =
    &[("sulcus", start_sulcus), ("storescp", start_storescp), ("orthanc", start_orthanc), ("dicom-rs", start_dicom_rs)];

fn main() -> ExitCode {
    sulcus_tests::bench::rounds(3, run)
}

fn run(rounds: u32) -> Result<(), PeerError> {
    let mut bench = Bench::new("receive");
    let scratch = scratch()?;
    let parts = (0..PARTS)
        .map(|part| {
            let folder = scratch.path().join(format!("slices-{part}"));
            write_series(&folder, Slices { count: SLICES / PARTS, rows: 256, columns: 256, seed: part })?;
            Ok(folder)
        })
        .collect::<Result<Vec<PathBuf>, PeerError>>()?;
    for _ in 0..rounds {
        for associations in [1, 4] {
            for (name, start) in RECEIVERS {
                let state = scratch.path().join("receiver");
                std::fs::create_dir_all(&state)?;
                match start(&state) {
                    Ok(receiver) => {
                        // What the last one left in the page cache is not this one's to write.
                        Command::new("sync").status()?;
                        let time = send(&receiver, &parts, associations)?;
                        bench.add(&figure(name, associations), "files/s", rate(SLICES, time));
                        receiver.check()?;
                    }
                    Err(PeerError::Absent(reason)) => skip(&format!("{name}: {reason}")),
                    Err(error) => return Err(error),
                }
                std::fs::remove_dir_all(&state)?;
            }
        }
    }
    for associations in [1, 4] {
        for (name, _) in RECEIVERS.iter().skip(1) {
            let ratio = format!("{name}, {associations} associations");
            bench.ratio_of_rates(&ratio, &figure("sulcus", associations), &figure(name, associations));
        }
    }
    bench.finish()
}

fn figure(name: &str, associations: usize) -> String {
    format!("{name} {associations}")
}

/// Sends all parts, over one association in one go or over one association each at once; the time until the last ends.
fn send(receiver: &Started, parts: &[PathBuf], associations: usize) -> Result<Duration, PeerError> {
    let shares: Vec<&[PathBuf]> = parts.chunks(parts.len().div_ceil(associations)).collect();
    let mut senders = Vec::new();
    let start = Instant::now();
    for share in shares {
        senders.push(storescu_command(receiver.address, receiver.ae_title, &["--quiet"], share)?.spawn()?);
    }
    let mut ended_well = true;
    for mut sender in senders {
        ended_well &= sender.wait()?.success();
    }
    let time = start.elapsed();
    if ended_well { Ok(time) } else { Err(PeerError::Failed("a storescu did not end well".to_owned())) }
}

impl Started {
    /// A receiver that is fast because it dropped something does not count.
    fn check(&self) -> Result<(), PeerError> {
        let (held, said) = match &self.holds {
            Holds::Index(orthanc) => (orthanc.instances()?.len(), String::new()),
            Holds::Files(running, folder) => {
                let count = || Ok::<usize, PeerError>(std::fs::read_dir(folder)?.count());
                // A fork may still be writing its last file out.
                let deadline = Instant::now() + Duration::from_secs(5);
                while count()? < SLICES as usize && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(50));
                }
                (count()?, running.said())
            }
            Holds::Ledger(running, data) => {
                let count = || {
                    let reader = Reader::open(&ledger_path(data)).ok()?;
                    let entries = reader.entries_after(0, usize::MAX >> 1).ok()?;
                    Some(entries.iter().filter(|entry| entry.event.name() == "InstanceReceived").count())
                };
                // Success stands for the spool's sync; the row follows with the next commit.
                let deadline = Instant::now() + Duration::from_secs(5);
                while count().is_none_or(|count| count < SLICES as usize) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(50));
                }
                (count().unwrap_or(0), running.said())
            }
        };
        if held == SLICES as usize {
            return Ok(());
        }
        Err(PeerError::Failed(format!("a receiver acknowledged {SLICES} objects and holds {held}: {said}")))
    }
}

fn loopback() -> Result<SocketAddr, PeerError> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}

fn start_sulcus(folder: &Path) -> Result<Started, PeerError> {
    let address = loopback()?;
    let site = folder.join("site.toml");
    // The disk of a small machine need not have the free space that a site should keep.
    std::fs::write(
        &site,
        format!("[site]\ndata = \"data\"\n[receiver]\naddress = \"{address}\"\nmin_free_mib = 64\n"),
    )?;
    let mut command = Command::new(sulcus()?);
    let mut running = Running::start(command.args(["serve", "--config"]).arg(&site), &folder.join("log"))?;
    running.wait_for(address)?;
    Ok(Started { address, ae_title: "SULCUS", holds: Holds::Ledger(running, folder.join("data")) })
}

fn start_storescp(folder: &Path) -> Result<Started, PeerError> {
    let address = loopback()?;
    let files = folder.join("files");
    std::fs::create_dir(&files)?;
    let running = storescp(address, &files, &folder.join("log"))?;
    Ok(Started { address, ae_title: "ANY-SCP", holds: Holds::Files(running, files) })
}

fn start_orthanc(folder: &Path) -> Result<Started, PeerError> {
    let orthanc = Orthanc::start(folder)?;
    Ok(Started { address: orthanc.dicom_address(), ae_title: "ORTHANC", holds: Holds::Index(orthanc) })
}

fn start_dicom_rs(folder: &Path) -> Result<Started, PeerError> {
    let program = root().join("runtime/bin/dicom-storescp");
    if !program.is_file() {
        return Err(PeerError::Absent("dicom-storescp is not installed; run `cargo xtask bench receive`".to_owned()));
    }
    let address = loopback()?;
    let files = folder.join("files");
    std::fs::create_dir(&files)?;
    let mut command = Command::new(program);
    // `--non-blocking` serves several associations at once.
    command.args(["--non-blocking", "--max-pdu-length", "131072", "-o"]).arg(&files);
    let mut running = Running::start(command.args(["-p", &address.port().to_string()]), &folder.join("log"))?;
    running.wait_for(address)?;
    Ok(Started { address, ae_title: "STORE-SCP", holds: Holds::Files(running, files) })
}
