//! The scanner simulator: sends the series of a study to a storage SCP the way scanners do.
//!
//! Owns order, pace and associations; what is sent comes from `operators::phantom::dicom`, how it travels is
//! `dimse::scu`. Nothing is retried: a scanner's queue is the site's, and a test wants to see the first failure.

use std::thread;
use std::time::{Duration, Instant};

use sulcus_operators::digest::Digest;
use sulcus_operators::phantom::dicom::{PhantomInstance, PhantomSeries};
use thiserror::Error;

use crate::dimse::MAX_PDU;
use crate::dimse::scu::{ScuError, StoreOptions, Storer};

/// For the connection, the answer to the association request, and each answer to an object.
const TIMEOUT: Duration = Duration::from_secs(30);

/// In which order the objects of one series are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they lie in space.
    Ascending,
    /// Every second one, then the rest, as interleaved acquisitions arrive.
    Interleaved,
    /// In an order that follows from this seed.
    Shuffled(u64),
}

/// How far one association reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssociationPer {
    /// Each object has its own, so that a release says nothing about the series.
    Instance,
    /// One for each series.
    Series,
    /// One for everything.
    Study,
}

/// Where a simulated scanner sends, and how.
#[derive(Clone, Debug)]
pub struct ScannerSpec {
    /// `host:port` of the receiver.
    pub address: String,
    /// The scanner's AE title.
    pub calling_ae_title: String,
    /// The receiver's AE title.
    pub called_ae_title: String,
    /// Least time from the start of one object to the start of the next; none sends as fast as answers come.
    pub pace: Option<Duration>,
    /// Order within a series.
    pub order: Order,
    /// Reach of an association.
    pub association: AssociationPer,
}

/// How far sending has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Series of the object that was just answered.
    pub series: &'a PhantomSeries,
    /// Objects answered with success so far, over all series.
    pub sent: usize,
    /// Objects of the study.
    pub total: usize,
}

/// A study that was sent whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Objects that were answered with success (or a warning).
    pub instances: usize,
    /// Bytes of their data sets.
    pub bytes: u64,
    /// When the first object was begun.
    pub first_slice_at: Instant,
    /// When the answer to the last object came.
    pub last_slice_at: Instant,
}

/// Why a study was not sent whole.
#[derive(Debug, Error)]
pub enum ScannerError {
    /// There is nothing to send.
    #[error("the study has no objects, generate at least one series")]
    Empty,
    /// The association failed.
    #[error("cannot send series '{series}' after {sent} objects")]
    Scu {
        /// SeriesDescription.
        series: String,
        /// Objects of the study that had been answered before.
        sent: usize,
        /// What failed.
        #[source]
        source: Box<ScuError>,
    },
    /// The receiver refused an object.
    #[error("the receiver refused {sop_instance_uid} of series '{series}' with status 0x{status:04X}, see its log")]
    Refused {
        /// SeriesDescription.
        series: String,
        /// SOPInstanceUID.
        sop_instance_uid: String,
        /// Status of the response.
        status: u16,
    },
}

/// Sends every object of the study and returns when the last one is answered and the associations are released.
/// `progress` is called after each answer.
///
/// # Errors
/// [`ScannerError`] at the first object that is refused or cannot be sent.
pub fn send(
    study: &[PhantomSeries],
    spec: &ScannerSpec,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Sent, ScannerError> {
    let total = study.iter().map(|series| series.instances.len()).sum();
    if total == 0 {
        return Err(ScannerError::Empty);
    }
    let first_slice_at = Instant::now();
    let mut last_slice_at = first_slice_at;
    let mut due = first_slice_at;
    let (mut sent, mut bytes) = (0, 0);
    let mut open: Option<Storer> = None;
    for series in study {
        for instance in ordered(series, spec.order) {
            let failed =
                |sent, source| ScannerError::Scu { series: series.description.clone(), sent, source: Box::new(source) };
            if let Some(pace) = spec.pace {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due = Instant::now() + pace;
            }
            let mut storer = match open.take() {
                Some(storer) => storer,
                None => connect(study, series, spec).map_err(|source| failed(sent, source))?,
            };
            let status = storer
                .store(
                    &instance.sop_class_uid,
                    &instance.sop_instance_uid,
                    &instance.transfer_syntax,
                    &instance.data_set,
                )
                .map_err(|source| failed(sent, source))?;
            last_slice_at = Instant::now();
            // PS3.7 C: 0xBxxx is a warning, the object is kept.
            if status != 0 && status >> 12 != 0xB {
                let sop_instance_uid = instance.sop_instance_uid.clone();
                return Err(ScannerError::Refused { series: series.description.clone(), sop_instance_uid, status });
            }
            sent += 1;
            bytes += instance.data_set.len() as u64;
            progress(Progress { series, sent, total });
            match spec.association {
                AssociationPer::Instance => storer.release().map_err(|source| failed(sent, source))?,
                AssociationPer::Series | AssociationPer::Study => open = Some(storer),
            }
        }
        if spec.association == AssociationPer::Series
            && let Some(storer) = open.take()
        {
            let series = series.description.clone();
            storer.release().map_err(|source| ScannerError::Scu { series, sent, source: Box::new(source) })?;
        }
    }
    if let Some(storer) = open {
        let series = study.last().map_or_else(String::new, |series| series.description.clone());
        storer.release().map_err(|source| ScannerError::Scu { series, sent, source: Box::new(source) })?;
    }
    Ok(Sent { instances: sent, bytes, first_slice_at, last_slice_at })
}

/// Opens an association that proposes what will be sent over it.
fn connect(study: &[PhantomSeries], series: &PhantomSeries, spec: &ScannerSpec) -> Result<Storer, ScuError> {
    let all = match spec.association {
        AssociationPer::Study => study,
        AssociationPer::Instance | AssociationPer::Series => std::slice::from_ref(series),
    };
    let mut contexts: Vec<(String, Vec<String>)> = Vec::new();
    for instance in all.iter().flat_map(|series| &series.instances) {
        match contexts.iter_mut().find(|(class, _)| *class == instance.sop_class_uid) {
            Some((_, syntaxes)) if syntaxes.contains(&instance.transfer_syntax) => {}
            Some((_, syntaxes)) => syntaxes.push(instance.transfer_syntax.clone()),
            None => contexts.push((instance.sop_class_uid.clone(), vec![instance.transfer_syntax.clone()])),
        }
    }
    Storer::connect(&StoreOptions {
        address: spec.address.clone(),
        calling_ae_title: spec.calling_ae_title.clone(),
        called_ae_title: spec.called_ae_title.clone(),
        contexts,
        connect_timeout: TIMEOUT,
        io_timeout: TIMEOUT,
        max_pdu: MAX_PDU,
    })
}

fn ordered(series: &PhantomSeries, order: Order) -> Vec<&PhantomInstance> {
    let all = &series.instances;
    match order {
        Order::Ascending => all.iter().collect(),
        Order::Interleaved => all.iter().step_by(2).chain(all.iter().skip(1).step_by(2)).collect(),
        Order::Shuffled(seed) => {
            let seed = seed.to_le_bytes();
            let mut shuffled: Vec<&PhantomInstance> = all.iter().collect();
            shuffled.sort_by_cached_key(|i| Digest::of_parts("shuffle", [&seed[..], i.sop_instance_uid.as_bytes()]));
            shuffled
        }
    }
}
