//! DCMTK's commands: another implementation of C-STORE and C-ECHO than ours, and a reader of structured reports.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::peer::{PeerError, Running, program};

/// A `storescu` command for these files and folders, not yet started; `options` such as `-R` or `-xv` go before the
/// address.
///
/// # Errors
/// [`PeerError::Absent`] where DCMTK is not installed.
pub fn storescu_command(
    address: SocketAddr,
    called_ae_title: &str,
    options: &[&str],
    paths: &[impl AsRef<OsStr>],
) -> Result<Command, PeerError> {
    // Without TCP_NODELAY every file waits for a delayed acknowledgement, about 40 ms.
    let mut command = Command::new(program("storescu", "dcmtk")?);
    command.env("TCP_NODELAY", "1").stdin(Stdio::null());
    command.args(["--scan-directories", "--recurse", "--call", called_ae_title]).args(options);
    command.arg(address.ip().to_string()).arg(address.port().to_string()).args(paths);
    Ok(command)
}

/// Sends files and folders by C-STORE and waits for the end.
///
/// # Errors
/// [`PeerError::Absent`] where DCMTK is not installed; [`PeerError::Failed`] with what it said where it ends with
/// another status than zero.
pub fn storescu(
    address: SocketAddr,
    called_ae_title: &str,
    options: &[&str],
    paths: &[impl AsRef<OsStr>],
) -> Result<String, PeerError> {
    ended_well("storescu", &storescu_command(address, called_ae_title, options, paths)?.output()?)
}

/// Asks by C-ECHO.
///
/// # Errors
/// As [`storescu`].
pub fn echoscu(address: SocketAddr, called_ae_title: &str) -> Result<String, PeerError> {
    let mut command = Command::new(program("echoscu", "dcmtk")?);
    command.env("TCP_NODELAY", "1").args(["--call", called_ae_title]);
    command.arg(address.ip().to_string()).arg(address.port().to_string());
    ended_well("echoscu", &command.stdin(Stdio::null()).output()?)
}

/// Starts an archive that answers queries, `dcmqrscp`, under the AE title QRSCP, with what it holds in `folder`.
///
/// # Errors
/// As [`storescu`].
pub fn dcmqrscp(address: SocketAddr, folder: &Path) -> Result<Running, PeerError> {
    let (held, config) = (folder.join("held"), folder.join("dcmqrscp.cfg"));
    std::fs::create_dir_all(&held)?;
    let (port, shown) = (address.port(), held.display());
    let tables = format!(
        "NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n\
         VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQRSCP {shown} RW (200, 1024mb) ANY\nAETable END\n"
    );
    std::fs::write(&config, tables)?;
    let mut command = Command::new(program("dcmqrscp", "dcmtk")?);
    command.env("TCP_NODELAY", "1").arg("--config").arg(&config);
    let mut running = Running::start(&mut command, &folder.join("dcmqrscp.log"))?;
    running.wait_for(address)?;
    Ok(running)
}

/// Starts `storescp --fork` that stores what it is sent as files in `folder`.
///
/// # Errors
/// As [`storescu`].
pub fn storescp(address: SocketAddr, folder: &Path, log: &Path) -> Result<Running, PeerError> {
    let mut command = Command::new(program("storescp", "dcmtk")?);
    command.args(["--fork", "--accept-all", "--output-directory"]).arg(folder).arg(address.port().to_string());
    let mut running = Running::start(&mut command, log)?;
    running.wait_for(address)?;
    Ok(running)
}

/// What `dsrdump` prints of a structured report; it complains in lines that begin with `W:` or `E:`.
///
/// # Errors
/// As [`storescu`].
pub fn dsrdump(report: &Path) -> Result<String, PeerError> {
    let mut command = Command::new(program("dsrdump", "dcmtk")?);
    ended_well("dsrdump", &command.arg(report).stdin(Stdio::null()).output()?)
}

fn ended_well(name: &str, output: &Output) -> Result<String, PeerError> {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(PeerError::failed(format!("{name} ended with {}: {said}", output.status)))
}
