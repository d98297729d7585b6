//! `sulcus demo`: a simulated scanner sends a phantom, `sulcus serve` receives it, and the result is laid beside the
//! truth. Everything is real but the head.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use sulcus_config::FolderDestination;
use sulcus_connectors::scanner::{self, AssociationPer, Order, ScannerSpec};
use sulcus_models::device::Provider;
use sulcus_operators::{
    part10,
    phantom::{
        Field, Phantom, PhantomSpec, Sequence,
        dicom::{Encoding, PhantomInstance, PhantomSeries, ScanSpec, Vendor, study},
        score::{ENOUGH_OVERLAP, Score, score},
    },
    rows::{Millis, Role, RunOutcome},
};

use super::{CommandError, chain, outcome::newest_reports, progress::Progress, table::Table};
use crate::{
    dispatch::open_results, lanes::deliver::file_name, ledger::event::Event, standing::open_reader, worker::load_labels,
};

/// How long the result may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the site may take to start.
const START: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FieldStrength {
    /// 1 mm.
    #[value(name = "3T")]
    T3,
    /// 0.7 mm; takes a few times longer.
    #[value(name = "7T")]
    T7,
}

#[derive(Args)]
pub(super) struct Demo {
    /// An empty folder for the site and its results; by default the next free one of `out/demo-N`.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Field strength of the simulated scanner.
    #[arg(long, value_enum, default_value = "3T")]
    field: FieldStrength,
    /// Which head.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// What computes.
    #[arg(long, default_value_t = Provider::OpenVino, value_name = "cpu|openvino|cuda:N|tensorrt:N")]
    device: Provider,
}

/// The site of the demo; dropped, it is stopped.
struct Site {
    folder: PathBuf,
    address: String,
    child: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        // Orderly where it can be, by the same signal as Ctrl-C; nothing acknowledged depends on it.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().is_ok_and(|status| status.success());
        if !asked {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What the demo waits for.
struct Delivered {
    outcome: RunOutcome,
    last_slice: Millis,
    run_started: Millis,
    segmentation: Millis,
}

impl Demo {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let output = self.folder()?;
        let field = match self.field {
            FieldStrength::T3 => Field::T3,
            FieldStrength::T7 => Field::T7,
        };
        outln!("A phantom head at {} T is drawn and scanned (seed {}).", field.tesla(), self.seed);
        let phantom =
            Phantom::generate(&PhantomSpec::demo(field, Sequence::Mp2rage, self.seed)).map_err(CommandError::plain)?;
        let scan = ScanSpec {
            vendor: Vendor::Siemens,
            encoding: Encoding::Classic,
            localizer: true,
            label: "demo".to_owned(),
        };
        let series = study(&phantom, &scan).map_err(CommandError::plain)?;

        write(&series, &output.join("scans")).map_err(CommandError::plain)?;
        let site = self.start(&output)?;
        outln!("`sulcus serve` listens on {}; the scanner sends {} series.", site.address, series.len());
        let spec = ScannerSpec {
            address: site.address.clone(),
            calling_ae_title: "SCANNER".to_owned(),
            called_ae_title: "SULCUS".to_owned(),
            pace: None,
            order: Order::Interleaved,
            association: AssociationPer::Series,
        };
        let mut progress = Progress::new("slices sent");
        let sent = scanner::send(&series, &spec, |at| progress.at(at.sent, at.total))
            .map_err(|error| CommandError::work(chain(&error), site.hint()))?;
        drop(progress);
        outln!("{} slices were sent, each answered once it was durable.", sent.instances);

        let delivered = site.wait()?;
        let labels = load_labels(&open_results(&site.data())?, &delivered.outcome)
            .map_err(|failure| CommandError::work(failure.reason, failure.hint))?;
        let score = score(&phantom.lesions, phantom.labels.view(), labels.view()).map_err(CommandError::plain)?;
        print_score(&score, &delivered.outcome);
        let seconds = |from: Millis, to: Millis| (to - from) as f64 / 1000.0;
        outln!(
            "last slice to inference started {:.2} s, to the delivered SEG {:.1} s",
            seconds(delivered.last_slice, delivered.run_started),
            seconds(delivered.last_slice, delivered.segmentation)
        );
        for found in newest_reports(&site.results()) {
            outln!("{} holds", found.path.with_file_name("").display());
            for role in FolderDestination::default_outputs() {
                outln!("  {:<22} {}", file_name(role), says(role));
            }
            outln!("{}", found.report.research_use);
        }
        outln!("The slices themselves: {}", output.join("scans").display());
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("sulcus"));
        outln!("See what happened: {} ledger show --config {}", program.display(), site.config().display());
        Ok(())
    }

    fn folder(&self) -> Result<PathBuf, CommandError> {
        let folder = match &self.output {
            Some(folder) => folder.clone(),
            None => {
                let free = (1..).map(|n| PathBuf::from(format!("out/demo-{n}"))).find(|path| !path.exists());
                free.unwrap_or_else(|| PathBuf::from("out/demo"))
            }
        };
        let unusable = |reason: String| CommandError::usage(reason, "name an empty or new folder with --output");
        fs::create_dir_all(&folder)
            .map_err(|error| unusable(format!("{} cannot be made: {error}", folder.display())))?;
        let mut entries = fs::read_dir(&folder).map_err(|error| unusable(format!("{}: {error}", folder.display())))?;
        if entries.next().is_some() {
            return Err(unusable(format!("{} is not empty", folder.display())));
        }
        std::path::absolute(&folder).map_err(CommandError::plain)
    }

    fn start(&self, folder: &Path) -> Result<Site, CommandError> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = port.map_err(CommandError::plain)?;
        let model = std::path::absolute("models/demo").map_err(CommandError::plain)?;
        // The provider's name is what stands before the number of a GPU.
        let named = self.device.to_string();
        let (provider, gpu) = named.split_once(':').unwrap_or((&named, "0"));
        let text = format!(
            "# The site of `sulcus demo`.\n[site]\nname = \"demo\"\ndata = \"data\"\n\n[receiver]\naddress = \"{address}\"\nmin_free_mib = 64\n\n\
             [[source]]\nname = \"scanner\"\nkind = \"dicom\"\nsettle_seconds = 1.0\n\n\
             [[pipeline]]\nname = \"cortical-lesions\"\nwhen = 'SeriesDescription.matches(\"(?i)(mprage|uni)\")'\n\
             model = '{}'\ndestinations = [\"results\"]\n\n\
             [[destination]]\nname = \"results\"\nkind = \"folder\"\npath = \"results\"\n\n[[device]]\nname = \"device\"\nprovider = \"{provider}\"\ngpu = {gpu}\n",
            model.display()
        );
        fs::write(folder.join("site.toml"), text).map_err(CommandError::plain)?;
        let log = File::create(folder.join("serve.log")).map_err(CommandError::plain)?;
        let child = Command::new(std::env::current_exe().map_err(CommandError::plain)?)
            .args(["serve", "--config"])
            .arg(folder.join("site.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(CommandError::plain)?;
        let mut site = Site { folder: folder.to_owned(), address: address.to_string(), child };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > START || site.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Err(CommandError::work("`sulcus serve` did not come up", site.hint()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(site)
    }
}

/// Writes all instances as DICOM files, so that other commands have something to work on.
fn write(series: &[PhantomSeries], folder: &Path) -> std::io::Result<()> {
    for (number, series) in series.iter().enumerate() {
        let folder = folder.join(format!("series-{}", number + 1));
        fs::create_dir_all(&folder)?;
        for (number, instance) in series.instances.iter().enumerate() {
            let PhantomInstance { transfer_syntax, sop_class_uid, sop_instance_uid, data_set } = instance;
            let file = part10::wrap(transfer_syntax, sop_class_uid, sop_instance_uid, data_set);
            fs::write(folder.join(format!("{:04}.dcm", number + 1)), file)?;
        }
    }
    Ok(())
}

impl Site {
    fn config(&self) -> PathBuf {
        self.folder.join("site.toml")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn results(&self) -> PathBuf {
        self.folder.join("results")
    }

    fn hint(&self) -> String {
        format!("its log is {}", self.folder.join("serve.log").display())
    }

    /// Waits for all results to be delivered.
    fn wait(&self) -> Result<Delivered, CommandError> {
        let reader = open_reader(&self.data())?;
        let begun = Instant::now();
        let (mut cursor, mut last_slice, mut run_started, mut outcome) = (0, 0, 0, None);
        let (mut objects, mut segmentation, mut settled) = (Vec::new(), None, 0);
        let mut progress = Progress::new("results delivered");
        let all = FolderDestination::default_outputs().len();
        while begun.elapsed() < PATIENCE {
            for entry in reader.entries_after(cursor, 4096).map_err(CommandError::plain)? {
                cursor = entry.seq;
                match entry.event {
                    Event::InstanceReceived { .. } => last_slice = entry.at,
                    Event::RunStarted { .. } => run_started = entry.at,
                    Event::RunFinished(finished) => outcome = Some(finished),
                    Event::RunFailed { reason, hint, permanent: true, .. }
                    | Event::EncodeFailed { reason, hint, permanent: true, .. } => {
                        return Err(CommandError::work(reason, hint));
                    }
                    Event::ObjectEncoded { object, role, .. } => objects.push((object, role)),
                    Event::DeliverySettled { object, .. } => {
                        settled += 1;
                        if objects.contains(&(object, Role::Segmentation)) {
                            segmentation = Some(entry.at);
                        }
                    }
                    _ => {}
                }
            }
            progress.at(settled, all);
            if let (Some(outcome), Some(segmentation), true) = (&outcome, segmentation, settled == all) {
                return Ok(Delivered { outcome: outcome.clone(), last_slice, run_started, segmentation });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(CommandError::work(format!("no result came within {PATIENCE:?}"), self.hint()))
    }
}

/// What a file is, for whoever sees it first.
fn says(role: Role) -> &'static str {
    match role {
        Role::Segmentation => "DICOM Segmentation, one segment a lesion",
        Role::StructuredReport => "DICOM structured report, with the measurements",
        Role::KeyImages => "DICOM Secondary Capture: the largest lesions in three planes",
        Role::Page => "the page for people",
        _ => "the same for programs",
    }
}

fn print_score(score: &Score, outcome: &RunOutcome) {
    let mut table =
        Table::new(["true lesion", "type", "centre (LPS, mm)", "true mm3", "found", "found mm3", "overlap"]);
    let volume = |label: u16| {
        let row = outcome.lesions.iter().find(|row| row.label == u32::from(label));
        row.map_or_else(String::new, |row| format!("{:.0}", row.volume_nl as f64 / 1000.0))
    };
    for row in &score.rows {
        let [x, y, z] = row.centre_mm;
        let (found, found_volume, overlap) = match &row.found {
            None => ("missed".to_owned(), String::new(), String::new()),
            Some(found) => {
                let small = if found.overlap < ENOUGH_OVERLAP { ", too small" } else { "" };
                (format!("lesion {}{small}", found.label), volume(found.label), format!("{:.2}", found.overlap))
            }
        };
        table.row([
            row.lesion.to_string(),
            row.kind.to_string(),
            format!("{x:.0}, {y:.0}, {z:.0}"),
            format!("{:.0}", row.volume_mm3),
            found,
            found_volume,
            overlap,
        ]);
    }
    table.print();
    outln!(
        "{} lesions found: {} true, {} too small, {} false; {} of {} true lesions missed; F1 {:.2}\n\
         (overlap is shared volume over joint volume; below {ENOUGH_OVERLAP} a find is too small, and counts as an error)",
        outcome.lesions.len(),
        score.true_positives,
        score.under_segmented,
        score.false_positives.len(),
        score.missed,
        score.rows.len(),
        score.f1
    );
}
