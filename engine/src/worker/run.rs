//! A run: the series' instances to volumes, the volume that was chosen to its lesions.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use ndarray::Array3;
use sulcus_config::Site;
use sulcus_models::{
    device::Device,
    package::Package,
    predict::{PredictError, find_lesions},
    runtime::Runtime,
    session::{Session, SessionError},
};
use sulcus_operators::{
    convert,
    digest::Digest,
    lesions::tracking::affine_nm,
    rows::{RunInput, RunOrder, RunOutcome},
    volume::Volume,
};

use super::{
    Worker, data_sets,
    encode::{LOST, unreadable},
    encoded,
    identity::{Before, keep_identities},
};
use crate::{
    devices::{Room, provider},
    failure::Hinted,
    lanes::order::{EarlierRun, EarlierVisit, Failure, Reply, SourceInstance},
    results_store::ResultsStore,
    spool::read::SpoolReader,
};

/// What a worker computes with.
pub struct Compute {
    device: Device,
    pub(super) room: Room,
    library: Option<PathBuf>,
}

impl Compute {
    /// The device of a site with this name.
    pub fn of(site: &Site, name: &str) -> Result<Self, Hinted> {
        let device = site.devices.iter().find(|device| device.name == name).ok_or_else(|| {
            Hinted::usage(
                format!("no device is called {name}"),
                "name one of the `[[device]]` tables of the configuration",
            )
        })?;
        Ok(Compute {
            device: Device {
                provider: provider(device),
                threads: usize::from(device.threads),
                memory: device.memory_mib as usize * (1 << 20),
                cache: Some(site.site.data.join("cache")),
                fall_back: false,
            },
            room: Room::of(device),
            library: site.runtime.onnxruntime.clone(),
        })
    }

    /// Loads ONNX Runtime.
    pub fn runtime(&self) -> Result<&'static Runtime, Hinted> {
        Runtime::load(self.library.as_deref()).map_err(|error| {
            Hinted::usage(error, "run `cargo xtask setup`, or name the folder of ONNX Runtime in `runtime.onnxruntime`")
        })
    }

    /// Loads a model package onto the device. Where memory is short, it is tried once more if `makes_room` does.
    pub fn open(&self, package: &Path, mut makes_room: impl FnMut() -> bool) -> Result<Session, Failure> {
        let runtime = self.runtime().map_err(|error| Failure::surroundings(error.reason, error.hint))?;
        let package = Package::open(package)
            .map_err(|error| Failure::surroundings(error, "put the model package back as it was"))?;
        let package = Arc::new(package);
        let opened = match Session::open(runtime, package.clone(), &self.device) {
            Err(SessionError::Memory { .. }) if makes_room() => Session::open(runtime, package, &self.device),
            opened => opened,
        };
        opened.map_err(|error| Failure::surroundings(error, "check the device in the configuration"))
    }
}

impl Worker {
    pub(super) fn run(
        &mut self,
        order: &RunOrder,
        package: &Path,
        (instances, inputs): (&[SourceInstance], &[Vec<SourceInstance>]),
        (runs, visits): (&[EarlierRun], &[EarlierVisit]),
        progress: &mut dyn FnMut(Reply) -> std::io::Result<()>,
    ) -> Result<Reply, Failure> {
        let data_sets = self.data_sets(instances)?;
        let volume = chosen_volume(&order.stack, instances, &data_sets)?;
        drop(data_sets);
        refuse_blank(&volume)?;
        let further = self.further(order, inputs, &volume)?;
        let mut tell = |done, of| {
            // The engine is gone if this fails; then so is whoever waits for the result.
            let _ = progress(Reply::Progress { done, of });
        };
        let channels: Vec<&Volume> = std::iter::once(&volume).chain(&further).collect();
        let mut find = |session: &mut Session| find_lesions(session, &channels, &order.run_key, &mut tell);
        let found = match find(self.session(package, &order.model)?) {
            Err(PredictError::Session(SessionError::Memory { .. })) if self.leave_alone(package) => {
                find(self.session(package, &order.model)?)
            }
            found => found,
        };
        let found = found.map_err(|error| match error {
            PredictError::Session(SessionError::Stopped { .. }) => Failure::cancelled(),
            error => Failure::input(error, "the scan cannot be used by this model; its bytes are kept"),
        })?;
        self.is_wanted()?;
        let named = |(input, volume): (&RunInput, Volume)| {
            let notes = volume.notes.into_iter();
            notes.map(|note| format!("{}: {note}", input.name)).collect::<Vec<_>>()
        };
        let of_further: Vec<String> = order.inputs.iter().zip(further).flat_map(named).collect();
        let mask = store_labels(&self.results, &found.labels)?;
        let probability = store_probability(&self.results, &found.probability)?;
        let (results, spool) = (&self.results, &mut self.spool);
        let mut volume_of = |visit: &EarlierVisit| volume_of(spool, visit);
        let before = Before { runs, visits, volume: &mut volume_of };
        let kept = keep_identities(results, &volume, found.labels.view(), found.lesions, before);
        let [columns, rows, slices] = volume.grid.size;
        let mut notes = volume.notes;
        notes.extend(of_further);
        notes.extend(kept.notes);
        Ok(Reply::Run(RunOutcome {
            run_key: order.run_key,
            mask,
            probability: Some(probability),
            size: [columns as u32, rows as u32, slices as u32],
            spacing_um: volume.grid.spacing().map(|mm| (mm * 1000.0).round() as i64),
            affine_nm: affine_nm(&volume.grid),
            frame_of_reference_uid: volume.frame_of_reference_uid,
            intensity_scale: volume.intensity_scale,
            notes,
            lesions: kept.lesions,
            alignments: kept.alignments,
            of_visits: kept.of_visits,
            domain: found.domain,
        }))
    }

    /// The volumes of a run's further inputs, each on the grid of the first series.
    fn further(
        &mut self,
        order: &RunOrder,
        inputs: &[Vec<SourceInstance>],
        first: &Volume,
    ) -> Result<Vec<Volume>, Failure> {
        let mut volumes = Vec::new();
        for (input, instances) in order.inputs.iter().zip(inputs) {
            let of_input = |failure: Failure| Failure {
                reason: format!("{}, series {}: {}", input.name, input.series_uid, failure.reason),
                ..failure
            };
            let data_sets = self.data_sets(instances)?;
            let volume = chosen_volume(&input.stack, instances, &data_sets).map_err(of_input)?;
            refuse_blank(&volume).map_err(of_input)?;
            on_grid(first, &volume, &order.series_uid).map_err(of_input)?;
            volumes.push(volume);
        }
        Ok(volumes)
    }
}

/// Refuses a volume that does not lie where the first series, named here, does.
fn on_grid(first: &Volume, volume: &Volume, series_uid: &str) -> Result<(), Failure> {
    let Some(difference) = first.grid.difference(&volume.grid) else { return Ok(()) };
    Err(Failure::input(
        format!("it does not lie on the grid of series {series_uid}: {difference}"),
        "withdraw what does not belong to the acquisition, or send what does; the bytes of both are kept",
    ))
}

/// Converts a series and takes the volume that the graph chose.
pub(super) fn chosen_volume(
    stack: &str,
    instances: &[SourceInstance],
    data_sets: &[Vec<u8>],
) -> Result<Volume, Failure> {
    convert::volume(&encoded(instances, data_sets), stack)
        .map_err(|error| Failure::input(error, "the series cannot be converted; its bytes are kept"))
}

/// The volume that a visit's run was made on: that of its series which lies as the run's label map does.
fn volume_of(spool: &mut SpoolReader, visit: &EarlierVisit) -> Result<Volume, Failure> {
    let data_sets = data_sets(spool, &visit.instances)?;
    let volumes = convert::volumes(&encoded(&visit.instances, &data_sets))
        .map_err(|error| Failure::input(format!("its series cannot be converted: {error}"), "look at the series"))?;
    let size = |volume: &Volume| volume.grid.size.map(|extent| extent as u32);
    let outcome = &visit.outcome;
    let same = |volume: &Volume| size(volume) == outcome.size && affine_nm(&volume.grid) == outcome.affine_nm;
    volumes
        .into_iter()
        .find(same)
        .ok_or_else(|| Failure::input("its series is no longer what its report was made from", "wait for its report"))
}

/// A volume without any contrast shows nothing: that no lesion is found in it would say nothing of the patient.
fn refuse_blank(volume: &Volume) -> Result<(), Failure> {
    let Some(first) = volume.voxels.first() else { return Ok(()) };
    if volume.voxels.iter().any(|voxel| voxel != first) {
        return Ok(());
    }
    Err(Failure::input(
        format!("the image is blank: every voxel is {first}"),
        "look at the series on the scanner and send it again; its bytes are kept",
    ))
}

/// Keeps a label map in the results store: gzip of little-endian 16-bit labels, columns fastest.
pub(super) fn store_labels(results: &ResultsStore, labels: &Array3<u16>) -> Result<Digest, Failure> {
    let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    store(results, "label map", &bytes)
}

/// Keeps a probability map in the results store: gzip of its 255ths, columns fastest.
fn store_probability(results: &ResultsStore, probability: &Array3<f32>) -> Result<Digest, Failure> {
    let bytes: Vec<u8> = probability.iter().map(|share| (share.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
    store(results, "probability map", &bytes)
}

fn store(results: &ResultsStore, what: &str, bytes: &[u8]) -> Result<Digest, Failure> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| error.to_string())
        .and_then(|bytes| results.put(&bytes).map_err(|error| error.to_string()))
        .map_err(|error| {
            Failure::surroundings(format!("the {what} cannot be stored: {error}"), "check the disk of the data folder")
        })
}

/// Reads a label map back. Axes (slice, row, column).
pub fn load_labels(results: &ResultsStore, outcome: &RunOutcome) -> Result<Array3<u16>, Failure> {
    let raw = load(results, "label map", outcome, &outcome.mask, 2)?;
    let labels = raw.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    shaped("label map", outcome, labels)
}

/// Reads a probability map back, in 255ths. Axes (slice, row, column).
pub(super) fn load_probability(results: &ResultsStore, outcome: &RunOutcome) -> Result<Array3<u8>, Failure> {
    let kept = outcome.probability.as_ref().ok_or_else(|| {
        Failure::input("the run is of before probabilities were kept", "a changed model or series makes another run")
    })?;
    let raw = load(results, "probability map", outcome, kept, 1)?;
    shaped("probability map", outcome, raw)
}

/// The bytes of a map of `width` bytes a voxel; one more than there should be where it is longer.
fn load(
    results: &ResultsStore,
    what: &str,
    outcome: &RunOutcome,
    digest: &Digest,
    width: usize,
) -> Result<Vec<u8>, Failure> {
    let bytes = results.get(digest).map_err(|error| unreadable(&named(what, outcome), &error))?;
    let expected = outcome.size.iter().fold(width, |bytes, extent| bytes.saturating_mul(*extent as usize));
    let mut raw = Vec::new();
    GzDecoder::new(bytes.as_slice())
        .take(expected as u64 + 1)
        .read_to_end(&mut raw)
        .map_err(|error| lost(what, outcome, &error))?;
    Ok(raw)
}

fn shaped<T>(what: &str, outcome: &RunOutcome, voxels: Vec<T>) -> Result<Array3<T>, Failure> {
    let [columns, rows, slices] = outcome.size.map(|extent| extent as usize);
    Array3::from_shape_vec((slices, rows, columns), voxels).map_err(|error| lost(what, outcome, &error))
}

fn lost(what: &str, outcome: &RunOutcome, error: &dyn std::fmt::Display) -> Failure {
    Failure::input(format!("{} cannot be read: {error}", named(what, outcome)), LOST)
}

fn named(what: &str, outcome: &RunOutcome) -> String {
    format!("the {what} of run {}", outcome.run_key.short())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sulcus_operators::volume::Grid;

    use super::*;
    use crate::lanes::order::Cause;

    fn volume(voxels: Vec<f32>) -> Volume {
        Volume {
            grid: Grid { size: [2, 2, 1], affine: [[0.0; 4]; 4] },
            voxels: Array3::from_shape_vec((1, 2, 2), voxels).unwrap(),
            frame_of_reference_uid: String::new(),
            rescale: None,
            intensity_scale: String::new(),
            notes: Vec::new(),
            frames: Vec::new(),
            stack: String::new(),
        }
    }

    #[test]
    fn a_further_input_on_another_grid_is_a_failure_of_the_input_that_names_both_series() {
        let first = volume(vec![1.0; 4]);
        assert_eq!(on_grid(&first, &volume(vec![2.0; 4]), "1.2"), Ok(()));
        let mut moved = volume(vec![1.0; 4]);
        moved.grid.affine[0][3] = 2.0;
        let failure = on_grid(&first, &moved, "1.2").unwrap_err();
        assert_eq!(failure.cause, Cause::Input);
        assert_eq!(failure.reason, "it does not lie on the grid of series 1.2: its voxels lie up to 2.00 mm elsewhere");
    }

    #[test]
    fn lost_bytes_are_a_fault_that_says_what_to_do_and_a_failing_disk_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let results = ResultsStore::open(folder.path()).unwrap();
        let outcome: RunOutcome = serde_json::from_value(serde_json::json!({
            "run_key": Digest([1; 32]), "mask": Digest([2; 32]), "size": [1, 1, 1], "spacing_um": [1, 1, 1],
            "intensity_scale": "", "notes": [], "lesions": []
        }))
        .unwrap();
        let gone = load_labels(&results, &outcome).unwrap_err();
        assert_eq!(gone.cause, Cause::Input);
        assert!(gone.hint.contains("backup") && gone.hint.contains("sulcus verdict"), "{gone:?}");
        // A folder in the file's place can be opened and not be read.
        std::fs::create_dir_all(results.path(&outcome.mask)).unwrap();
        assert_eq!(load_labels(&results, &outcome).unwrap_err().cause, Cause::Surroundings);
    }

    #[test]
    fn a_blank_image_is_refused_and_never_said_to_be_without_lesions() {
        for blank in [0.0, 100.0] {
            let failure = refuse_blank(&volume(vec![blank; 4])).unwrap_err();
            assert_eq!(failure.cause, Cause::Input);
            assert_eq!(failure.reason, format!("the image is blank: every voxel is {blank}"));
        }
        assert!(refuse_blank(&volume(vec![0.0, 0.0, 1.0, 0.0])).is_ok());
    }
}
