//! A real Orthanc with its SQLite index in a folder of the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::http;
use crate::peer::{PeerError, Running, free_port, program};

/// Where one Orthanc listens, so that a test may stop it and start it again in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    http: u16,
    dicom: u16,
}

impl Ports {
    /// Where the Storage SCP listens, or would.
    pub fn dicom_address(self) -> SocketAddr {
        loopback(self.dicom)
    }
}

/// A node that Orthanc knows by its AE title, and may call.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// Its AE title.
    pub ae_title: &'a str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it may ask for storage commitment.
    pub storage_commitment: bool,
}

/// A running Orthanc; dropped, it is killed. It takes any called AE title, and stores for any caller and answers his queries.
#[derive(Debug)]
pub struct Orthanc {
    running: Running,
    ports: Ports,
}

impl Orthanc {
    /// Starts one on free ports, with all its state in `folder`.
    ///
    /// # Errors
    /// [`PeerError::Absent`] where Orthanc is not installed, [`PeerError::Failed`] where it does not come up.
    pub fn start(folder: &Path) -> Result<Orthanc, PeerError> {
        Orthanc::start_knowing(folder, &[])
    }

    /// The same, with these nodes in its configuration.
    ///
    /// # Errors
    /// As [`Orthanc::start`].
    pub fn start_knowing(folder: &Path, known: &[Known<'_>]) -> Result<Orthanc, PeerError> {
        anywhere(|ports| Orthanc::start_with(folder, ports, known, &[]))
    }

    /// The same with DICOMweb, at `/dicom-web`.
    ///
    /// # Errors
    /// As [`Orthanc::start`]; [`PeerError::Absent`] where the plugin is not installed.
    pub fn start_dicomweb(folder: &Path) -> Result<Orthanc, PeerError> {
        let plugin = Path::new("/usr/share/orthanc/plugins/libOrthancDicomWeb.so");
        if !plugin.exists() {
            let what = "Orthanc's DICOMweb is not installed (package orthanc-dicomweb)";
            return Err(PeerError::Absent(what.to_owned()));
        }
        anywhere(|ports| Orthanc::start_with(folder, ports, &[], &[plugin]))
    }

    /// Starts one where another stood; with the same `folder` it holds what that one held.
    ///
    /// # Errors
    /// As [`Orthanc::start`].
    pub fn start_at(folder: &Path, ports: Ports) -> Result<Orthanc, PeerError> {
        Orthanc::start_with(folder, ports, &[], &[])
    }

    fn start_with(folder: &Path, ports: Ports, known: &[Known<'_>], plugins: &[&Path]) -> Result<Orthanc, PeerError> {
        let modality = |node: &Known<'_>| {
            let (address, port) = (node.address.ip().to_string(), node.address.port());
            let settings = json!({
                "AET": node.ae_title, "Host": address, "Port": port, "AllowStorageCommitment": node.storage_commitment,
            });
            (node.ae_title.to_lowercase(), settings)
        };
        let modalities: serde_json::Map<String, Value> = known.iter().map(modality).collect();
        let program = program("Orthanc", "orthanc")?;
        let state = folder.join("orthanc");
        std::fs::create_dir_all(&state)?;
        // Orthanc binds its DICOM port on every interface; only loopback is asked for HTTP.
        let settings = json!({
            "Name": "Test",
            "StorageDirectory": state,
            "IndexDirectory": state,
            "Plugins": plugins,
            "HttpPort": ports.http,
            "DicomPort": ports.dicom,
            "DicomAet": "ORTHANC",
            "DicomAlwaysAllowStore": true,
            "DicomAlwaysAllowFind": true,
            "DicomCheckCalledAet": false,
            "UnknownSopClassAccepted": true,
            "DicomModalities": modalities,
            "RemoteAccessAllowed": false,
            "AuthenticationEnabled": false,
            "DicomWeb": {"Enable": true, "Root": "/dicom-web/"},
        });
        let file = folder.join("orthanc.json");
        std::fs::write(&file, settings.to_string())?;
        let mut command = Command::new(program);
        command.arg(&file).current_dir(&state);
        let mut running = Running::start(&mut command, &folder.join("orthanc.log"))?;
        running.wait_for(loopback(ports.http))?;
        running.wait_for(loopback(ports.dicom))?;
        Ok(Orthanc { running, ports })
    }

    /// Where it listens.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Where its Storage SCP listens.
    pub fn dicom_address(&self) -> SocketAddr {
        self.ports.dicom_address()
    }

    /// Where its REST API listens.
    pub fn http_address(&self) -> SocketAddr {
        loopback(self.ports.http)
    }

    /// The body of a path of its REST API.
    ///
    /// # Errors
    /// Where the answer is not 200, or is cut short.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, PeerError> {
        http::get(self.http_address(), path)
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// As [`Orthanc::get`], and where the answer is no JSON.
    pub fn json(&self, path: &str) -> Result<Value, PeerError> {
        serde_json::from_slice(&self.get(path)?).map_err(|error| PeerError::failed(format!("{path}: {error}")))
    }

    /// Orthanc's own identifiers of all instances that it holds.
    ///
    /// # Errors
    /// As [`Orthanc::json`].
    pub fn instances(&self) -> Result<Vec<String>, PeerError> {
        let list = self.json("/instances")?;
        let list = list.as_array().ok_or_else(|| PeerError::failed("/instances is no list"))?;
        Ok(list.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
    }

    /// The Part-10 file of an instance.
    ///
    /// # Errors
    /// As [`Orthanc::get`].
    pub fn file(&self, instance: &str) -> Result<Vec<u8>, PeerError> {
        self.get(&format!("/instances/{instance}/file"))
    }

    /// The value of a keyword such as `SOPInstanceUID` in an instance.
    ///
    /// # Errors
    /// As [`Orthanc::json`].
    pub fn value(&self, instance: &str, keyword: &str) -> Result<Value, PeerError> {
        let tags = self.json(&format!("/instances/{instance}/simplified-tags"))?;
        Ok(tags.get(keyword).cloned().unwrap_or_default())
    }

    /// Orthanc's process id.
    pub fn id(&self) -> u32 {
        self.running.id()
    }
}

/// Starts an Orthanc on free ports.
fn anywhere(start: impl Fn(Ports) -> Result<Orthanc, PeerError>) -> Result<Orthanc, PeerError> {
    program("Orthanc", "orthanc")?;
    let mut last = PeerError::failed("Orthanc was not started");
    // A free port may be taken by another test in between.
    for _ in 0..3 {
        match start(Ports { http: free_port()?, dicom: free_port()? }) {
            Ok(orthanc) => return Ok(orthanc),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
