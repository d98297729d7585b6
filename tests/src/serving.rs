//! `sulcus serve` under test: a site of its own, its processes by role, its ledger, and a sender that does not forget.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_engine::ledger::read::Reader;
use sulcus_engine::receiver::ledger_path;
use sulcus_operators::rows::Role as Output;

use crate::peer::{PeerError, free_port};
use crate::places::{root, sulcus};
use crate::processes::{has_ended, kill, words_of};
use crate::scans::associate;

/// What a site under test is to be like.
#[derive(Clone, Debug)]
pub struct SiteSpec {
    /// CEL expression of its one pipeline.
    pub when: String,
    /// Its model package, from the repository's root.
    pub model: PathBuf,
    /// Its settle window, in seconds.
    pub settle_seconds: f64,
    /// Its idle timer, in seconds.
    pub idle_seconds: f64,
    /// How long nothing touches a finished study before it is sealed, in seconds.
    pub seal_after_seconds: f64,
    /// Address of a DICOM destination called ORTHANC, beside the folder.
    pub archive: Option<SocketAddr>,
    /// Further lines of that destination.
    pub archive_settings: String,
    /// What the folder is given.
    pub folder_outputs: Vec<Output>,
    /// What that destination is sent.
    pub archive_outputs: Vec<Output>,
    /// Further destinations of the pipeline: name, and the lines of its table but for the name.
    pub destinations: Vec<(String, String)>,
    /// Further lines of its one pipeline.
    pub pipeline_settings: String,
    /// Further lines of its one source.
    pub source_settings: String,
    /// Further lines of its one device.
    pub device_settings: String,
    /// Further tables.
    pub tables: String,
    /// Where it listens; on a free port of its own where it is none.
    pub address: Option<SocketAddr>,
    /// Variables of the environment of all its processes.
    pub environment: Vec<(String, String)>,
}

impl Default for SiteSpec {
    fn default() -> Self {
        SiteSpec {
            when: "Modality == \"MR\"".to_owned(),
            model: PathBuf::from("tests/blob-filter"),
            settle_seconds: 0.3,
            idle_seconds: 20.0,
            seal_after_seconds: 3600.0,
            archive: None,
            archive_settings: String::new(),
            folder_outputs: vec![Output::Segmentation, Output::Report],
            archive_outputs: vec![Output::Segmentation],
            destinations: Vec::new(),
            pipeline_settings: String::new(),
            source_settings: String::new(),
            device_settings: String::new(),
            tables: String::new(),
            address: None,
            environment: Vec::new(),
        }
    }
}

/// A running site.
#[derive(Debug)]
pub struct Serving {
    folder: PathBuf,
    address: SocketAddr,
    spec: SiteSpec,
    supervisor: Child,
}

/// One process of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// `receiver`, `engine`, `infer` or `encode`.
    pub name: String,
    /// Its process id.
    pub id: u32,
}

impl Serving {
    /// Writes a site's configuration into `folder`, serves it, and waits until it listens.
    ///
    /// # Errors
    /// Where it does not come up; the message holds what it said.
    pub fn start(folder: &Path, spec: SiteSpec) -> Result<Serving, PeerError> {
        let address = match spec.address {
            Some(address) => address,
            None => SocketAddr::from(([127, 0, 0, 1], free_port()?)),
        };
        let folder = &folder.canonicalize()?;
        fs::create_dir_all(folder.join("state"))?;
        let retry = "retry = { first_seconds = 0.2, limit_seconds = 1.0 }";
        let mut destinations = spec.destinations.clone();
        let outputs = listed(spec.folder_outputs.iter().map(|output| output.name()));
        let folder_table = format!("kind = \"folder\"\npath = \"state/results\"\noutputs = {outputs}\n");
        destinations.push(("folder".to_owned(), folder_table));
        if let Some(archive) = spec.archive {
            let outputs = listed(spec.archive_outputs.iter().map(|output| output.name()));
            let table = format!(
                "kind = \"dicom\"\naddress = \"{archive}\"\nae_title = \"ORTHANC\"\noutputs = {outputs}\n{retry}\n{}",
                spec.archive_settings,
            );
            destinations.push(("archive".to_owned(), table));
        }
        let names = listed(destinations.iter().map(|(name, _)| name.as_str()));
        let table = |(name, lines): &(String, String)| format!("[[destination]]\nname = \"{name}\"\n{lines}");
        let destinations: String = destinations.iter().map(table).collect();
        let model = root().join(&spec.model);
        fs::write(
            folder.join("site.toml"),
            format!(
                "[site]\nname = \"test\"\ndata = \"state/data\"\nseal_after_seconds = {:?}\n\
                 [receiver]\naddress = \"{address}\"\nmin_free_mib = 64\n\
                 [[source]]\nname = \"scanner\"\nkind = \"dicom\"\nsettle_seconds = {:?}\nidle_seconds = {:?}\n{}\
                 [[pipeline]]\nname = \"lesions\"\nwhen = '{}'\nmodel = \"{}\"\ndestinations = {names}\n{}\
                 {destinations}{}\
                 [[device]]\nname = \"cpu\"\nprovider = \"cpu\"\n{}",
                spec.seal_after_seconds,
                spec.settle_seconds,
                spec.idle_seconds,
                spec.source_settings,
                spec.when,
                model.display(),
                spec.pipeline_settings,
                spec.tables,
                spec.device_settings,
            ),
        )?;
        let supervisor = spawn(folder, &spec)?;
        let mut serving = Serving { folder: folder.to_owned(), address, spec, supervisor };
        serving.wait_until_listening()?;
        Ok(serving)
    }

    /// Waits until the receiver accepts connections.
    ///
    /// # Errors
    /// After 60 seconds, with the log.
    pub fn wait_until_listening(&mut self) -> Result<(), PeerError> {
        let address = self.address;
        self.wait("nobody listens", Duration::from_secs(60), |_| std::net::TcpStream::connect(address).is_ok())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("site.toml")
    }

    /// Its data folder, below `state` like all that it writes.
    pub fn data(&self) -> PathBuf {
        self.folder.join("state/data")
    }

    /// The folder that its results go to.
    pub fn results(&self) -> PathBuf {
        self.folder.join("state/results")
    }

    /// What all its processes have said.
    pub fn log(&self) -> String {
        fs::read(self.folder.join("serve.log"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// All events so far; none while there is no ledger.
    pub fn entries(&self) -> Vec<Entry> {
        let Ok(reader) = Reader::open(&ledger_path(&self.data())) else { return Vec::new() };
        reader.entries_after(0, usize::MAX >> 1).unwrap_or_default()
    }

    /// Waits until the events so far satisfy `condition`.
    ///
    /// # Errors
    /// After `limit`, with what was waited for, the events and the log.
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&[Entry]) -> bool,
    ) -> Result<(), PeerError> {
        self.wait(what, limit, |serving| condition(&serving.entries()))
    }

    fn wait(&mut self, what: &str, limit: Duration, condition: impl Fn(&Serving) -> bool) -> Result<(), PeerError> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if condition(self) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let events: Vec<&str> = self.entries().iter().map(|entry| entry.event.name()).collect();
        Err(PeerError::Failed(format!("{what} after {limit:?}; events: {events:?}; log: {}", self.log())))
    }

    /// The site's processes but the supervisor, by role; also those that a killed supervisor left.
    pub fn roles(&self) -> Vec<Role> {
        let role = |(id, words): (u32, Vec<String>)| {
            let name = match words.get(1)?.as_str() {
                "serve" => return None,
                "worker" if words.iter().any(|word| word == "--device") => "infer",
                "worker" => "encode",
                other => other,
            };
            Some(Role { name: name.to_owned(), id })
        };
        self.processes().into_iter().filter_map(role).collect()
    }

    /// Ids and command lines of the live processes that run with this site's configuration.
    fn processes(&self) -> Vec<(u32, Vec<String>)> {
        let config = self.config().display().to_string();
        let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
        all.flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|id| Some((id, words_of(id)?)))
            .filter(|(_, words)| words.contains(&config))
            .collect()
    }

    /// Kills the supervisor with `kill -9`; its children end by themselves.
    pub fn kill_supervisor(&mut self) {
        kill(&[self.supervisor.id()]);
        // It has just been killed; waiting only reaps it.
        let _ended = self.supervisor.wait();
    }

    /// Kills every process of the site with `kill -9`, as a power cut would, and returns when all are gone.
    pub fn kill_all(&mut self) {
        let begun = Instant::now();
        let mut ids: Vec<u32> = vec![self.supervisor.id()];
        ids.extend(self.roles().iter().map(|role| role.id));
        while !ids.is_empty() && begun.elapsed() < Duration::from_secs(10) {
            kill(&ids);
            // One that was being started while the others died is found by another look.
            ids.extend(self.processes().into_iter().map(|(id, _)| id));
            ids.retain(|id| !has_ended(*id));
        }
        let _ended = self.supervisor.wait();
    }

    /// Starts the site again after its supervisor was killed.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start_again(&mut self) -> Result<(), PeerError> {
        self.supervisor = spawn(&self.folder, &self.spec)?;
        Ok(())
    }

    /// Runs a command of the binary with this site's configuration; its standard output, and whether it ended well.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn command(&self, words: &[&str]) -> Result<(String, bool), PeerError> {
        let output = Command::new(sulcus()?).args(words).arg("--config").arg(self.config()).output()?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((text, output.status.success()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// A TOML list of texts.
fn listed<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn spawn(folder: &Path, spec: &SiteSpec) -> Result<Child, PeerError> {
    let log = fs::File::options().create(true).append(true).open(folder.join("serve.log"))?;
    let same = log.try_clone()?;
    Ok(Command::new(sulcus()?)
        .args(["serve", "--config"])
        .arg(folder.join("site.toml"))
        .envs(spec.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(same)
        .spawn()?)
}

/// One object to send.
#[derive(Clone, Debug)]
pub struct Object {
    /// SOPClassUID.
    pub sop_class_uid: String,
    /// SOPInstanceUID.
    pub sop_instance_uid: String,
    /// TransferSyntaxUID.
    pub transfer_syntax: String,
    /// The data set.
    pub data_set: Vec<u8>,
}

/// Sends objects as a scanner does that keeps each until it is acknowledged: on a broken association it opens another
/// and sends again from the first object without an answer. Tells `acknowledged` each UID that was answered Success.
///
/// # Errors
/// Where an object is refused, or `limit` has passed.
pub fn send_until_acknowledged(
    address: SocketAddr,
    objects: &[Object],
    pace: Duration,
    limit: Duration,
    mut acknowledged: impl FnMut(&str),
) -> Result<(), PeerError> {
    let begun = Instant::now();
    let mut next = 0;
    while next < objects.len() {
        if begun.elapsed() > limit {
            return Err(PeerError::Failed(format!("{next} of {} objects were taken in {limit:?}", objects.len())));
        }
        let Ok(mut storer) = associate(address, objects) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        while let Some(object) = objects.get(next) {
            match storer.store(
                &object.sop_class_uid,
                &object.sop_instance_uid,
                &object.transfer_syntax,
                &object.data_set,
            ) {
                Ok(0x0000) => {
                    acknowledged(&object.sop_instance_uid);
                    next += 1;
                    std::thread::sleep(pace);
                }
                Ok(status) => {
                    return Err(PeerError::Failed(format!("{} was answered 0x{status:04X}", object.sop_instance_uid)));
                }
                Err(_) => break,
            }
        }
        if next == objects.len() {
            // Every object was answered; a lost farewell only means that the idle timer decides.
            let _released = storer.release();
        }
    }
    Ok(())
}

/// How many times an event of this name stands in the ledger.
pub fn count(entries: &[Entry], name: &str) -> usize {
    entries.iter().filter(|entry| entry.event.name() == name).count()
}

/// True once a delivery to every one of `destinations` objects in all is settled.
pub fn settled(entries: &[Entry], deliveries: usize) -> bool {
    let mut seen: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::DeliverySettled { object, destination, .. } => Some((*object, destination.clone())),
            _ => None,
        })
        .collect();
    seen.sort();
    seen.dedup();
    seen.len() >= deliveries
}
