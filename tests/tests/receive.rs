//! The Storage SCP and SCU against DCMTK and pynetdicom, and a folder of what DCMTK received.
//!
//! Without DCMTK, without `SULCUS_PEERS_PYTHON` or without the scanner's files, the tests that need them say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sulcus_connectors::dimse::MAX_PDU;
use sulcus_connectors::dimse::scp::{Scp, ScpOptions};
use sulcus_connectors::dimse::scu::{self, StoreOptions, Storer};
use sulcus_connectors::dimse::sources::SourceRule;
use sulcus_connectors::folder::{FolderLimits, deliver};
use sulcus_connectors::inbox::{Inbox, Incoming, Stored};
use sulcus_operators::part10;
use tempfile::TempDir;

const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

#[derive(Default)]
struct MemoryInbox {
    objects: Mutex<BTreeMap<String, Incoming>>,
    releases: Mutex<Vec<bool>>,
}

impl Inbox for MemoryInbox {
    fn store(&self, incoming: Incoming) -> Stored {
        let answer = match incoming.sop_instance_uid.as_str() {
            "1.2.902" => Stored::Quarantined { reason: "by request".to_owned() },
            "1.2.903" => Stored::OutOfResources { reason: "by request".to_owned() },
            _ => Stored::Kept { series_uid: "1.2.3".to_owned() },
        };
        self.objects.lock().unwrap().insert(incoming.sop_instance_uid.clone(), incoming);
        answer
    }

    fn released(&self, _: &str, _: Vec<String>, orderly: bool) {
        self.releases.lock().unwrap().push(orderly);
    }
}

struct Server {
    inbox: Arc<MemoryInbox>,
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(max_pdu: u32) -> Server {
        let mut options = ScpOptions::new("127.0.0.1:0", "SULCUS", vec![SourceRule::catch_all("peer")]);
        options.max_pdu = max_pdu;
        let inbox = Arc::new(MemoryInbox::default());
        let scp = Scp::bind(options, inbox.clone()).unwrap();
        let address = scp.local_addr().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || scp.run(&stop)
        });
        Server { inbox, address, stop, thread: Some(thread) }
    }

    /// Runs a DCMTK sender against this server.
    fn send(&self, program: &Path, options: &[&str], files: &[&Path]) -> Output {
        let (host, port) = self.address.split_once(':').unwrap();
        let mut command = Command::new(program);
        command.env("TCP_NODELAY", "1").args(["-aec", "SULCUS"]).args(options).args([host, port]).args(files);
        command.output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A DCMTK program. Its own folder is tried first: pip's pynetdicom installs commands of the same names.
fn dcmtk(name: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/bin").join(name);
    if !path.exists() {
        println!("skipped: DCMTK's {name} is not in /usr/bin (apt-get install dcmtk)");
    }
    path.exists().then_some(path)
}

/// An MR object with pixels, as a file and as its data set.
fn slice(instance: &str, side: u16) -> (Vec<u8>, Vec<u8>) {
    let mut set = Vec::new();
    let mut put = |group: u16, element: u16, vr: &[u8], value: &[u8]| {
        set.extend_from_slice(&group.to_le_bytes());
        set.extend_from_slice(&element.to_le_bytes());
        set.extend_from_slice(vr);
        if vr == b"OW" {
            set.extend_from_slice(&[0, 0]);
            set.extend_from_slice(&(value.len() as u32).to_le_bytes());
        } else {
            set.extend_from_slice(&((value.len() + value.len() % 2) as u16).to_le_bytes());
        }
        set.extend_from_slice(value);
        set.extend(std::iter::repeat_n(0u8, value.len() % 2));
    };
    put(8, 0x16, b"UI", MR.as_bytes());
    put(8, 0x18, b"UI", instance.as_bytes());
    put(8, 0x60, b"CS", b"MR");
    put(0x20, 0x0e, b"UI", b"1.2.3");
    for (element, value) in [(0x02, 1), (0x10, side), (0x11, side), (0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0)] {
        put(0x28, element, b"US", &value.to_le_bytes());
    }
    let pixels: Vec<u8> = (0..u32::from(side) * u32::from(side)).flat_map(|i| (i as u16).to_le_bytes()).collect();
    put(0x7fe0, 0x10, b"OW", &pixels);
    (part10::wrap(EXPLICIT, MR, instance, &set), set)
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn dcmtk_gets_its_echo() {
    let Some(echoscu) = dcmtk("echoscu") else { return };
    let server = Server::start(MAX_PDU);
    assert!(server.send(&echoscu, &[], &[]).status.success());
    assert!(!server.send(&echoscu, &["-aec", "OTHER"], &[]).status.success());
}

#[test]
fn what_dcmtk_sends_arrives_byte_for_byte_at_every_pdu_length() {
    let Some(storescu) = dcmtk("storescu") else { return };
    let folder = TempDir::new().unwrap();
    for max_pdu in [4096, 16_384, 131_072] {
        let server = Server::start(max_pdu);
        let slices: Vec<_> = (1..=6).map(|i| (format!("1.2.{i}"), slice(&format!("1.2.{i}"), 40 * i))).collect();
        let files: Vec<_> = slices.iter().map(|(uid, (file, _))| write(&folder, uid, file)).collect();
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let output = server.send(&storescu, &["-R", "--max-pdu", "4096"], &files);
        assert!(output.status.success(), "{output:?}");
        let objects = server.inbox.objects.lock().unwrap();
        for (uid, (_, set)) in &slices {
            assert!(objects[uid].data_set == *set, "{uid} in PDUs of {max_pdu}");
            assert_eq!((objects[uid].transfer_syntax.as_str(), objects[uid].sop_class_uid.as_str()), (EXPLICIT, MR));
        }
    }
}

#[test]
fn dcmtk_goes_on_after_a_quarantined_object_and_reports_a_refused_one() {
    let Some(storescu) = dcmtk("storescu") else { return };
    let folder = TempDir::new().unwrap();
    let server = Server::start(MAX_PDU);
    let file = |uid: &str| write(&folder, uid, &slice(uid, 16).0);
    let (quarantined, refused, good) = (file("1.2.902"), file("1.2.903"), file("1.2.1"));
    assert!(server.send(&storescu, &[], &[&quarantined, &good]).status.success());
    assert!(!server.send(&storescu, &[], &[&refused]).status.success());
    server.send(&storescu, &["--abort"], &[&good]);
    assert_eq!(server.inbox.objects.lock().unwrap().len(), 3);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.inbox.releases.lock().unwrap().len() < 3 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.inbox.releases.lock().unwrap().last(), Some(&false));
}

#[test]
fn the_nine_encodings_keep_their_transfer_syntax() {
    let Some(storescu) = dcmtk("storescu") else { return };
    let data = std::env::var_os("SULCUS_SCANNER_DATA").map(PathBuf::from);
    let data = data.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let folder = data.join("transfer-syntaxes/In");
    if !folder.is_dir() {
        return println!("skipped: no scanner files (set SULCUS_SCANNER_DATA)");
    }
    let server = Server::start(MAX_PDU);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let file = part10::split(&bytes).unwrap();
        let option = match file.transfer_syntax.as_str() {
            "1.2.840.10008.1.2" => "-xi",
            "1.2.840.10008.1.2.1" => "-xe",
            "1.2.840.10008.1.2.2" => "-xb",
            "1.2.840.10008.1.2.1.99" => "-xd",
            "1.2.840.10008.1.2.5" => "-xr",
            "1.2.840.10008.1.2.4.70" => "-xs",
            "1.2.840.10008.1.2.4.80" => "-xt",
            "1.2.840.10008.1.2.4.81" => "-xu",
            "1.2.840.10008.1.2.4.90" => "-xv",
            "1.2.840.10008.1.2.4.91" => "-xw",
            // DCMTK cannot propose the others; our own SCU does.
            _ => "",
        };
        server.inbox.objects.lock().unwrap().clear();
        if option.is_empty() {
            let mut storer = connect(&server.address, &file.sop_class_uid, &file.transfer_syntax);
            let (class, instance) = (&file.sop_class_uid, &file.sop_instance_uid);
            assert_eq!(storer.store(class, instance, &file.transfer_syntax, file.data_set).unwrap(), 0);
            storer.release().unwrap();
        } else {
            let output = server.send(&storescu, &["-R", option], &[&path]);
            assert!(output.status.success(), "{}: {output:?}", file.transfer_syntax);
        }
        let objects = server.inbox.objects.lock().unwrap();
        let received = objects.values().next().unwrap();
        assert_eq!(received.transfer_syntax, file.transfer_syntax);
        let tail = |bytes: &[u8]| bytes[bytes.len().saturating_sub(4096)..].to_vec();
        // DCMTK deflates anew; everything else ends with the pixels as they are.
        if option != "-xd" {
            assert_eq!(tail(&received.data_set), tail(file.data_set), "{}", path.display());
        }
    }
}

fn connect(address: &str, class: &str, transfer_syntax: &str) -> Storer {
    let options = StoreOptions {
        address: address.to_owned(),
        calling_ae_title: "SULCUS".to_owned(),
        called_ae_title: "SULCUS".to_owned(),
        contexts: vec![(class.to_owned(), vec![transfer_syntax.to_owned()])],
        connect_timeout: Duration::from_secs(10),
        io_timeout: Duration::from_secs(10),
        max_pdu: MAX_PDU,
    };
    // A peer that has just been started may not listen yet.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Storer::connect(&options) {
            Ok(storer) => return storer,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Ends its process when dropped.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_we_send_dcmtk_stores_and_a_folder_of_it_comes_back() {
    let Some(storescp) = dcmtk("storescp") else { return };
    let folder = TempDir::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(storescp);
    command.env("TCP_NODELAY", "1").args(["-aet", "SULCUS", "--max-pdu", "4096", "-od"]).arg(folder.path());
    let _peer = Peer(command.arg(port.to_string()).spawn().unwrap());
    let address = format!("127.0.0.1:{port}");
    let mut storer = connect(&address, MR, EXPLICIT);
    let slices: Vec<_> = (1..=4).map(|i| (format!("1.2.{i}"), slice(&format!("1.2.{i}"), 100).1)).collect();
    for (uid, set) in &slices {
        assert_eq!(storer.store(MR, uid, EXPLICIT, set).unwrap(), 0);
    }
    storer.release().unwrap();
    scu::echo(&address, "US", "SULCUS", Duration::from_secs(10)).unwrap();
    let inbox = MemoryInbox::default();
    let pass = deliver(folder.path(), "folder", &inbox, &FolderLimits::default()).unwrap();
    assert_eq!((pass.stored, pass.skipped.len()), (4, 0));
    let objects = inbox.objects.lock().unwrap();
    for (uid, set) in &slices {
        assert!(objects[uid].data_set == *set, "{uid}");
    }
}

/// Sends a file with small PDUs, over a context that offers several transfer syntaxes.
const PYNETDICOM: &str = "
import sys
from pydicom import dcmread
from pynetdicom import AE
host, port, path = sys.argv[1:]
ae = AE(ae_title='PYNETDICOM')
ae.maximum_pdu_size = 4096
ae.add_requested_context('1.2.840.10008.1.1')
ae.add_requested_context('1.2.840.10008.5.1.4.1.1.4', ['1.2.840.10008.1.2.1', '1.2.840.10008.1.2'])
association = ae.associate(host, int(port), ae_title='SULCUS')
assert association.is_established
assert association.send_c_echo().Status == 0
assert association.send_c_store(dcmread(path)).Status == 0
association.release()
assert association.is_released
";

#[test]
fn pynetdicom_is_served() {
    let Some(python) = std::env::var_os("SULCUS_PEERS_PYTHON") else {
        return println!("skipped: SULCUS_PEERS_PYTHON names no Python with pynetdicom (cargo xtask setup)");
    };
    let folder = TempDir::new().unwrap();
    let server = Server::start(MAX_PDU);
    let (file, set) = slice("1.2.1", 200);
    let path = write(&folder, "1.dcm", &file);
    let (host, port) = server.address.split_once(':').unwrap();
    let output = Command::new(python).args(["-c", PYNETDICOM, host, port]).arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(server.inbox.objects.lock().unwrap()["1.2.1"].data_set == set);
    assert_eq!(*server.inbox.releases.lock().unwrap(), [true]);
}
