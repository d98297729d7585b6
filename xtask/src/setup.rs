//! What a fresh machine with Rust and Python 3 lacks: build tools, ONNX Runtime, and for tests the peers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::packages::{install, programs, python};
use crate::step::{Failure, command, find, step};
use crate::{peers, runtime};

/// What later steps need to find.
pub struct Ready {
    python: PathBuf,
    onnxruntime: PathBuf,
}

impl Ready {
    /// A command that finds the build tools, ONNX Runtime and the peers.
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Ours last: a tool of the system's own is preferred.
        let folders = std::env::split_paths(&path).chain([programs()]);
        let path: OsString = std::env::join_paths(folders).unwrap_or(path.clone());
        command.env("PATH", path).env("SULCUS_ONNXRUNTIME", &self.onnxruntime).env("TCP_NODELAY", "1");
        command.env("SULCUS_PEERS_PYTHON", &self.python);
        command
    }
}

/// Everything that building and running needs.
pub fn essentials() -> Result<Ready, Failure> {
    let python = step("Python environment", python)?;
    if find("c++").is_none() {
        return Err(Failure::new(
            "there is no C++ compiler",
            "install one (on Debian and Ubuntu: `apt-get install g++`)",
        ));
    }
    if find("cmake").is_none() {
        step("cmake, which the JPEG-LS codec builds with", || install(&python, &["cmake==3.31.10"]))?;
    }
    let onnxruntime = step("ONNX Runtime", || runtime::fetch(&python))?;
    Ok(Ready { python, onnxruntime })
}

/// Everything that the tests need too.
pub fn everything() -> Result<Ready, Failure> {
    let mut ready = essentials()?;
    if let Some(named) = std::env::var_os("SULCUS_PEERS_PYTHON") {
        println!("    using {} (SULCUS_PEERS_PYTHON)", named.to_string_lossy());
        ready.python = PathBuf::from(named);
    } else {
        step("peers", || peers::ensure(&ready.python))?;
    }
    Ok(ready)
}
