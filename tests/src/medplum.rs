//! A real FHIR R4 server: Medplum's router and validator under node, with its resources in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::http;
use crate::peer::{PeerError, Running, free_port, program};
use crate::places::root;

/// A running server; dropped, it is killed.
#[derive(Debug)]
pub struct Medplum {
    running: Running,
    address: SocketAddr,
}

impl Medplum {
    /// Starts one on a free port; `folder` takes what it says.
    ///
    /// # Errors
    /// [`PeerError::Absent`] where node or Medplum is not installed, [`PeerError::Failed`] where it does not come up.
    pub fn start(folder: &Path) -> Result<Medplum, PeerError> {
        let node = program("node", "nodejs")?;
        let packages = root().join("runtime/medplum");
        if !packages.join("node_modules/@medplum/fhir-router").is_dir() {
            return Err(PeerError::Absent("Medplum is not installed; run `cargo xtask setup`".to_owned()));
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(node);
        command.arg(root().join("tests/peers/fhir_server.mjs")).arg(packages).arg(address.port().to_string());
        let mut running = Running::start(&mut command, &folder.join("medplum.log"))?;
        running.wait_for(address)?;
        Ok(Medplum { running, address })
    }

    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Every resource of a type that a search finds; `search` follows the `?`.
    ///
    /// # Errors
    /// Where the server does not answer, or with something else than a bundle.
    pub fn search(&self, kind: &str, search: &str) -> Result<Vec<Value>, PeerError> {
        let body = http::get(self.address, &format!("/{kind}?_count=1000&{search}"))?;
        let bundle: Value = serde_json::from_slice(&body).map_err(|error| PeerError::failed(error.to_string()))?;
        if bundle["type"] != "searchset" {
            return Err(PeerError::failed(format!("no searchset: {bundle}; the server said {}", self.running.said())));
        }
        let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(entries.iter().map(|entry| entry["resource"].clone()).collect())
    }
}
