//! Packages that find the brain: SynthStrip's network, imported, verified and tried.
//!
//! Owns such a package's files and its self-test. Lesions are found by another kind of package, in `package`.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array3, ArrayView3};
use ort::value::TensorRef;
use serde::{Deserialize, Serialize};
use sulcus_operators::digest::Digest;

use crate::device::Device;
use crate::golden::{self, Agreement, GoldenError};
use crate::package::{self, FORMAT, GOLDEN, MANIFEST, MODEL, PackageError};
use crate::runtime::Runtime;
use crate::session::{self, SessionError};

/// Most that the sides of an image need to be multiples of; the published network has 64.
pub const LARGEST_REDUCTION: usize = 128;

/// What `manifest.toml` of such a package says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrainManifest {
    /// Version of the package format: 1.
    pub format: u32,
    /// What it is for.
    pub task: Task,
    /// Name of the model, as reports give it.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// What it does, in a sentence or two.
    pub description: String,
    /// Where it comes from.
    pub provenance: String,
    /// The label that every result carries.
    pub research_use: String,
    /// What the sides of the input must be multiples of.
    pub reduction: usize,
    /// BLAKE3 digests of `model.onnx` and `golden.bin`.
    pub files: BTreeMap<String, Digest>,
}

/// What a package is for, where it does not find lesions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// The distance to the surface of the brain.
    #[serde(rename = "brain-extraction")]
    BrainExtraction,
}

/// A package whose every byte was verified.
#[derive(Clone, Debug)]
pub struct BrainPackage {
    manifest: BrainManifest,
    network: Vec<u8>,
    golden: Option<Vec<u8>>,
}

impl BrainPackage {
    /// Reads a package and verifies it; none where the folder holds a package of the other kind.
    ///
    /// # Errors
    /// [`PackageError`] with the file that is missing, too large, changed or contradicts itself.
    pub fn open(folder: &Path) -> Result<Option<Self>, PackageError> {
        let path = folder.join(MANIFEST);
        let text = package::manifest_text(&path)?;
        let wrong = |reason: String| PackageError::Manifest { path: path.clone(), reason };
        let table: toml::Table = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if !table.contains_key("task") {
            return Ok(None);
        }
        let manifest: BrainManifest = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if manifest.format != FORMAT || !(1..=LARGEST_REDUCTION).contains(&manifest.reduction) {
            let BrainManifest { format, reduction, .. } = manifest;
            return Err(wrong(format!("format {format} or reduction {reduction} is not known to this version")));
        }
        if let Some(name) = manifest.files.keys().find(|name| ![MODEL, GOLDEN].contains(&name.as_str())) {
            return Err(wrong(format!("it lists {name}; {MODEL} and {GOLDEN} are the parts of such a package")));
        }
        let verified = |name: &str| package::verified(folder, &manifest.name, &manifest.files, name);
        let network = verified(MODEL)?;
        let golden = manifest.files.contains_key(GOLDEN).then(|| verified(GOLDEN)).transpose()?;
        Ok(Some(BrainPackage { manifest, network, golden }))
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &BrainManifest {
        &self.manifest
    }

    /// Bytes of the network.
    pub fn network_bytes(&self) -> usize {
        self.network.len()
    }

    /// Loads the network onto a device.
    ///
    /// # Errors
    /// [`SessionError`] where the device cannot be had or refuses the network.
    pub fn session(&self, runtime: &Runtime, device: &Device) -> Result<BrainSession<'_>, SessionError> {
        let session = session::network(runtime, &self.network, device, 1)
            .map_err(|error| session::refused(&self.manifest.name, device.provider, &error))?;
        Ok(BrainSession { package: self, session })
    }
}

/// A network that runs.
#[derive(Debug)]
pub struct BrainSession<'p> {
    package: &'p BrainPackage,
    session: ort::session::Session,
}

impl BrainSession<'_> {
    /// Distance of each voxel to the surface of the brain, mm, negative inside, for an image (z, y, x) as SynthStrip
    /// prepares it: 1 mm, LIA, each side a multiple of [`BrainManifest::reduction`], intensities from 0 to 1.
    ///
    /// # Errors
    /// [`SessionError`] where the network fails or gives another shape.
    pub fn distance(&mut self, image: ArrayView3<'_, f32>) -> Result<Array3<f32>, SessionError> {
        let model = &self.package.manifest.name;
        let failed = |reason: String| SessionError::Run { model: model.clone(), reason };
        let (z, y, x) = image.dim();
        let image = image.as_standard_layout();
        let tensor = TensorRef::from_array_view(([1, 1, z, y, x], image.as_slice().unwrap_or_default()))
            .map_err(|error| failed(error.to_string()))?;
        let outputs = self.session.run(ort::inputs![tensor]).map_err(|error| failed(error.to_string()))?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
        if !shape.iter().copied().eq([1, 1, z, y, x].map(|length| length as i64)) {
            let wanted = (z, y, x);
            return Err(failed(format!("it gave a distance of shape {:?} for an image of {wanted:?}", &shape[..])));
        }
        if let Some(distance) = values.iter().find(|distance| !distance.is_finite()) {
            return Err(failed(format!("a distance is {distance}; its weights are no trained ones")));
        }
        Array3::from_shape_vec((z, y, x), values.to_vec()).map_err(|error| failed(error.to_string()))
    }

    /// Distances of a fixed image, as many as are kept, in little-endian f32.
    ///
    /// # Errors
    /// [`SessionError`] where the network fails.
    pub fn golden(&mut self) -> Result<Vec<u8>, SessionError> {
        Ok(self.kept()?.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    /// Compares what the network gives now with what the package holds.
    ///
    /// # Errors
    /// [`GoldenError`] where it differs, fails, or the package holds nothing to compare with.
    pub fn check(&mut self) -> Result<Agreement, GoldenError> {
        let wanted = self.package.golden.as_deref().ok_or(GoldenError::None)?;
        golden::agreement(wanted, &self.kept()?)
    }

    fn kept(&mut self) -> Result<Vec<f32>, SessionError> {
        let side = self.package.manifest.reduction;
        let mut noise = golden::noise();
        // From 0 to 1, as the network is used.
        let image = Array3::from_shape_simple_fn((side, side, side), || (noise() + 1.0) / 2.0);
        Ok(golden::thinned(self.distance(image.view())?.iter()))
    }
}
