//! Delivery: one lane per destination, one object at a time, in order of revision.
//!
//! The protocol, for one object and one destination:
//!
//! ```text
//!   to deliver (graph) -> DeliveryStarted (durable) -> send the stored bytes -> DeliverySettled (durable)
//!                                                            | failed
//!                                                            v
//!                                              DeliveryFailed(retry at) (durable) -> to deliver, not before
//! ```
//!
//! Where a DICOM destination is asked for storage commitment (`commitment`), a C-STORE that succeeded is not enough:
//!
//! ```text
//!   C-STORE -> N-ACTION (transaction of this attempt) -> N-EVENT-REPORT: over the same association, or over one that
//!                                                        | the archive opens to the receiver
//!                                                        v
//!      CommitmentReported (durable) -> the report is answered -> committed: DeliverySettled
//!                                                             -> failed, or no word in time: DeliveryFailed
//! ```
//!
//! The bytes are those of `ObjectEncoded`, so a retry sends the same object under the same UID. A crash between the
//! send and `DeliverySettled` sends it once more: a receiver that tells objects by UID sees it once.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sulcus_config::{Destination, DicomDestination};
use sulcus_connectors::{
    bids,
    dimse::{
        commitment::STORAGE_COMMITMENT,
        scu::{StoreOptions, Storer},
    },
    fhir::{self, FhirEndpoint},
};
use sulcus_operators::{
    digest::Digest,
    part10::{self, Part10},
    prescan::{EXPLICIT_LE, IMPLICIT_LE},
    results::parts,
    rows::{DeliveryRow, Millis, Role, Seq},
};

use super::{
    commitment::Commitment,
    port::{Port, Stopping},
};
use crate::{
    ledger::{event::Event, read::Reader},
    results_store::ResultsStore,
    spool::sync_folder,
};

/// How long one association may take to be opened, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What is said of a blob that is no object.
const DAMAGED: &str = "the stored object is damaged; restore the results store";

/// Wall-clock time, for events.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// Delivers one object and records what came of it. Returns the sequence number of the last event.
pub fn deliver(
    row: &DeliveryRow,
    attempt: u32,
    destination: &Destination,
    results: &ResultsStore,
    reader: &Reader,
    port: &mut Port,
) -> Result<Seq, Stopping> {
    let (object, name) = (row.object, row.destination.clone());
    port.append(&[Event::DeliveryStarted { object, destination: name.clone(), attempt }])?;
    let outcome = match (results.get(&row.bytes), destination) {
        (Ok(bytes), Destination::Dicom(node)) if node.storage_commitment => {
            Commitment { row, attempt, node, reader, port }.hand_over(&bytes)?
        }
        (Ok(bytes), destination) => hand_over(row, destination, &bytes),
        (Err(error), _) => Err(format!("the stored object cannot be read: {error}")),
    };
    let mut failed = None;
    let seq = port.append(&[match outcome {
        Ok(receipt) => {
            tracing::info!(object = object.short(), destination = name, revision = row.revision, "delivered");
            Event::DeliverySettled { object, destination: name, receipt }
        }
        Err(reason) => {
            let wait = back_off(destination, object, attempt);
            tracing::warn!(object = object.short(), destination = name, attempt, reason, ?wait, "delivery failed");
            failed = Some(format!("{name} does not take the results: {reason}"));
            Event::DeliveryFailed {
                object,
                destination: name,
                attempt,
                reason,
                retry_at: now() + wait.as_millis() as Millis,
            }
        }
    }])?;
    if let Some(reason) = failed {
        port.stop().wait_is(destination.retry().pause(attempt), &reason);
    }
    Ok(seq)
}

/// Time to the next attempt: doubled with each up to the destination's limit, less up to a fifth so that many
/// objects do not come back at once. The spread is taken from the object's digest, so a replay gives the same.
pub fn back_off(destination: &Destination, object: Digest, attempt: u32) -> Duration {
    let seed = object.0[attempt as usize % object.0.len()];
    destination.retry().pause(attempt).mul_f64(1.0 - 0.2 * f64::from(seed) / 255.0)
}

fn hand_over(row: &DeliveryRow, destination: &Destination, bytes: &[u8]) -> Result<String, String> {
    match destination {
        Destination::Dicom(node) => {
            let objects = objects(bytes)?;
            let mut storer = associate(node, &objects)?;
            let receipt = store(&mut storer, &objects)?;
            // The answer counts, not how the association ends.
            let _ = storer.release();
            Ok(receipt)
        }
        Destination::Folder(folder) => {
            let path = place_in_folder(&folder.path, row);
            for (part, bytes) in (1..).zip(parts::split(bytes).ok_or(DAMAGED)?) {
                let path = if part == 1 { path.clone() } else { path.with_extension(format!("{part}.dcm")) };
                write_durably(&folder.path, &path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            Ok(path.display().to_string())
        }
        Destination::Fhir(server) => {
            let endpoint = FhirEndpoint {
                url: server.url.clone(),
                token_file: server.token_file.clone(),
                connect_timeout: CONNECT_TIMEOUT,
                timeout: ANSWER_TIMEOUT,
            };
            fhir::post(&endpoint, bytes).map(|receipt| receipt.to_string()).map_err(|error| error.to_string())
        }
        Destination::Bids(data_set) => bids::place(&data_set.path, bytes)
            .map(|files| format!("{files} files below {}", data_set.path.display()))
            .map_err(|error| error.to_string()),
    }
}

/// The DICOM objects that a blob of the results store consists of: one, unless a segmentation had to be split.
pub(super) fn objects(blob: &[u8]) -> Result<Vec<Part10<'_>>, String> {
    let split = |part| part10::split(part).map_err(|error| error.to_string());
    parts::split(blob).ok_or(DAMAGED)?.into_iter().map(split).collect()
}

/// Opens an association that proposes what the objects are (they are of one kind), and storage commitment where the node
/// is asked for it.
pub(super) fn associate(node: &DicomDestination, objects: &[Part10<'_>]) -> Result<Storer, String> {
    let first = objects.first().ok_or(DAMAGED)?;
    let mut contexts = vec![(first.sop_class_uid.clone(), vec![first.transfer_syntax.clone()])];
    if node.storage_commitment {
        contexts.push((STORAGE_COMMITMENT.to_owned(), [EXPLICIT_LE, IMPLICIT_LE].map(str::to_owned).to_vec()));
    }
    Storer::connect(&StoreOptions {
        address: node.address.clone(),
        calling_ae_title: node.calling_ae_title.clone(),
        called_ae_title: node.ae_title.clone(),
        contexts,
        connect_timeout: CONNECT_TIMEOUT,
        io_timeout: ANSWER_TIMEOUT,
        max_pdu: 131_072,
    })
    .map_err(|error| error.to_string())
}

/// Sends the objects: what the node answered to the last, or why it does not have them all.
pub(super) fn store(storer: &mut Storer, objects: &[Part10<'_>]) -> Result<String, String> {
    let mut receipt = String::new();
    for object in objects {
        let status = storer
            .store(&object.sop_class_uid, &object.sop_instance_uid, &object.transfer_syntax, object.data_set)
            .map_err(|error| error.to_string())?;
        receipt = match status {
            0x0000 => "C-STORE 0x0000".to_owned(),
            0xB000..=0xBFFF => format!("C-STORE 0x{status:04X}, a warning"),
            _ => return Err(format!("the destination refused the object with status 0x{status:04X}")),
        };
    }
    Ok(receipt)
}

/// `STUDY/PIPELINE/revision-N/report.json` below the destination's folder. UIDs and names were checked when they
/// came in: digits and dots, letters and dashes.
pub fn place_in_folder(folder: &Path, row: &DeliveryRow) -> PathBuf {
    let revision = format!("revision-{}", row.revision);
    folder.join(&row.study_uid).join(&row.pipeline).join(revision).join(file_name(row.role))
}

/// The name of the file that an object is in a folder.
pub fn file_name(role: Role) -> String {
    match role {
        Role::Report => "report.json".to_owned(),
        Role::Page => "report.pdf".to_owned(),
        Role::Fhir => "fhir.json".to_owned(),
        Role::Derivatives => "derivatives.zip".to_owned(),
        object => format!("{}.dcm", object.name()),
    }
}

/// Writes a file so that it is either whole or absent, whatever happens. `root` is the destination's folder. The
/// temporary name is always the same, so that an attempt that was cut off leaves nothing behind the next.
fn write_durably(root: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().ok_or_else(|| std::io::Error::other("the path has no folder"))?;
    fs::create_dir_all(folder)?;
    // Of its whole name: report.json and report.pdf may be written at once by two destinations.
    let name = path.file_name().ok_or_else(|| std::io::Error::other("the path has no file name"))?;
    let temporary = path.with_file_name(format!(".{}.part", name.display()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The folders may be new as well, the destination's own too: a name lasts once the folder that holds it is synced.
    let above = root.parent().unwrap_or(root);
    folder.ancestors().take_while(|folder| folder.starts_with(above)).try_for_each(sync_folder)
}
