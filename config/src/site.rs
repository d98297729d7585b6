//! One site's file as a whole: read, defaults filled in, cross-references checked, paths made absolute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::cluster::Cluster;
use crate::destinations::Destination;
use crate::devices::{Device, Provider};
use crate::pipelines::Pipeline;
use crate::problems::{Checks, ConfigError, from_toml};
use crate::receiver::Receiver;
use crate::rules;
use crate::seconds::Seconds;
use crate::sources::{DicomSource, Source};

/// Everything a site says. Made by [`Site::load`] or [`Site::parse`], so what it holds has been checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// `[site]`: its name and its data folder.
    pub site: Identity,
    /// `[receiver]`: the Storage SCP.
    pub receiver: Receiver,
    /// `[runtime]`: libraries that are loaded at run time.
    pub runtime: Runtime,
    /// `[cluster]`: other hosts that work as one with this; none where it works alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// `[[source]]`, the first that speaks for a caller counts; none written: one that speaks for every caller.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// `[[pipeline]]`.
    #[serde(rename = "pipeline")]
    pub pipelines: Vec<Pipeline>,
    /// `[[destination]]`.
    #[serde(rename = "destination")]
    pub destinations: Vec<Destination>,
    /// `[[device]]`; none written: one named `cpu`, with every core.
    #[serde(rename = "device")]
    pub devices: Vec<Device>,
}

/// `[site]`: what the site is called and where it keeps what it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// The site's name in rows, reports and logs.
    pub name: String,
    /// The folder of ledger, spool and results; a relative path counts from the file's own folder.
    pub data: PathBuf,
    /// How long nothing must touch a finished study before it leaves the engine's memory. A later slice, verdict or rule
    /// brings it back.
    pub seal_after_seconds: Seconds,
}

/// `[runtime]`: libraries that are loaded at run time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// The folder of ONNX Runtime's shared libraries; absent: the variable `SULCUS_ONNXRUNTIME` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<PathBuf>,
}

impl Default for Identity {
    fn default() -> Self {
        Identity { name: "sulcus".to_owned(), data: PathBuf::from("sulcus-data"), seal_after_seconds: Seconds(3600.0) }
    }
}

impl Default for Site {
    fn default() -> Self {
        Site {
            site: Identity::default(),
            receiver: Receiver::default(),
            runtime: Runtime::default(),
            cluster: None,
            sources: vec![Source::any_sender("any")],
            pipelines: Vec::new(),
            destinations: Vec::new(),
            devices: vec![Device::new("cpu", Provider::Cpu)],
        }
    }
}

impl Site {
    /// Reads and checks a site's file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] where the file cannot be read, [`ConfigError::Invalid`] where it says what it may not.
    pub fn load(path: &Path) -> Result<Site, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(read)?;
        Site::parse(&text, path)
    }

    /// Checks a site's text. `origin` names the file in messages, and its folder is where relative paths count from.
    ///
    /// ```
    /// let site = sulcus_config::Site::parse("[receiver]\nae_title = \"MR7T\"\n", "site.toml".as_ref())?;
    /// assert_eq!(site.receiver.ae_title, "MR7T");
    /// assert_eq!(site.receiver.max_pdu, 131_072);
    /// # Ok::<(), sulcus_config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every rule that is broken, or with the first thing that is not TOML of this shape.
    pub fn parse(text: &str, origin: &Path) -> Result<Site, ConfigError> {
        let invalid = |problems| ConfigError::Invalid { origin: origin.to_owned(), problems };
        let wrong = |error, from| invalid(vec![from_toml(text, &error, from)]);
        let table = DeTable::parse(text).map_err(|error| wrong(error, None))?.into_inner();
        let mut site: Site = toml::from_str(text).map_err(|error| {
            let place = faulty::<Source>(&table, "source", &error);
            wrong(error.clone(), place.or_else(|| faulty::<Destination>(&table, "destination", &error)))
        })?;
        let root = DeValue::Table(table);
        let mut problems = Vec::new();
        let folder = origin.parent().unwrap_or(Path::new(""));
        site.check(&mut Checks::new(text, &root, &mut problems), folder);
        if !problems.is_empty() {
            problems.sort_by_key(|problem| problem.line);
            return Err(invalid(problems));
        }
        site.resolve(folder);
        Ok(site)
    }

    /// The site as TOML with every default written out, for `sulcus config show`.
    ///
    /// # Errors
    /// Where a path is not UTF-8, which TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    /// The first DICOM source that speaks for a caller; none: its association is to be rejected.
    pub fn source_of(&self, calling_ae_title: &str, address: IpAddr) -> Option<&DicomSource> {
        self.sources.iter().find_map(|source| match source {
            Source::Dicom(source) if source.admits(calling_ae_title, address) => Some(source),
            _ => None,
        })
    }

    /// The destination of this name.
    pub fn destination(&self, name: &str) -> Option<&Destination> {
        self.destinations.iter().find(|destination| destination.name() == name)
    }

    /// `folder` is where relative paths count from.
    fn check(&self, checks: &mut Checks<'_>, folder: &Path) {
        let mut at = checks.within("site");
        rules::name(&mut at, "name", &self.site.name);
        rules::path(&mut at, "data", &self.site.data);
        rules::seconds(&mut at, "seal_after_seconds", self.site.seal_after_seconds);
        self.receiver.check(checks);
        self.cluster.iter().for_each(|cluster| cluster.check(checks));
        if let Some(folder) = &self.runtime.onnxruntime {
            rules::path(&mut checks.within("runtime"), "onnxruntime", folder);
        }
        unique(checks, "source", self.sources.iter().map(Source::name));
        unique(checks, "pipeline", self.pipelines.iter().map(|pipeline| pipeline.name.as_str()));
        unique(checks, "destination", self.destinations.iter().map(Destination::name));
        unique(checks, "device", self.devices.iter().map(|device| device.name.as_str()));
        for (index, source) in self.sources.iter().enumerate() {
            source.check(&mut checks.within("source").within(index));
        }
        let known: Vec<&str> = self.destinations.iter().map(Destination::name).collect();
        for (index, pipeline) in self.pipelines.iter().enumerate() {
            pipeline.check(&mut checks.within("pipeline").within(index), &known);
        }
        for (index, destination) in self.destinations.iter().enumerate() {
            destination.check(&mut checks.within("destination").within(index));
        }
        self.check_folders(checks, folder);
        for (index, device) in self.devices.iter().enumerate() {
            device.check(&mut checks.within("device").within(index));
        }
        if self.devices.is_empty() {
            checks.problem("device", "device is an empty list; leave it out for one CPU device".to_owned());
        }
    }

    /// A watched folder that holds results, or lies among them, would take them in as input.
    fn check_folders(&self, checks: &mut Checks<'_>, folder: &Path) {
        let results: Vec<(&str, PathBuf)> = self
            .destinations
            .iter()
            .filter_map(|destination| Some((destination.name(), place(folder, destination.folder()?))))
            .collect();
        for (index, source) in self.sources.iter().enumerate() {
            let Source::Folder(source) = source else { continue };
            let watched = place(folder, &source.path);
            for (name, results) in &results {
                if watched.starts_with(results) || results.starts_with(&watched) {
                    checks.within("source").within(index).problem(
                        "path",
                        format!(
                            "path is the folder of destination \"{name}\", holds it or lies in it; keep them apart"
                        ),
                    );
                }
            }
        }
    }

    fn resolve(&mut self, folder: &Path) {
        let absolute = |path: &mut PathBuf| {
            let joined = folder.join(&path);
            *path = std::path::absolute(&joined).unwrap_or(joined);
        };
        absolute(&mut self.site.data);
        self.runtime.onnxruntime.iter_mut().for_each(absolute);
        for pipeline in &mut self.pipelines {
            absolute(&mut pipeline.model);
            pipeline.alone.iter_mut().for_each(|alone| absolute(&mut alone.model));
        }
        for source in &mut self.sources {
            if let Source::Folder(source) = source {
                absolute(&mut source.path);
            }
        }
        for destination in &mut self.destinations {
            match destination {
                Destination::Dicom(_) => {}
                Destination::Folder(destination) => absolute(&mut destination.path),
                Destination::Bids(destination) => absolute(&mut destination.path),
                Destination::Fhir(destination) => destination.token_file.iter_mut().for_each(absolute),
            }
        }
    }
}

/// Where a path leads: links followed as far as the path exists, then by its words.
fn place(folder: &Path, path: &Path) -> PathBuf {
    let joined = folder.join(path);
    let absolute = std::path::absolute(&joined).unwrap_or(joined);
    let mut place = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                place.pop();
            }
            part => place.push(part),
        }
        // What does not exist yet is taken by its name.
        place = std::fs::canonicalize(&place).unwrap_or(place);
    }
    place
}

/// Where the entry of a list stands that an error speaks of: an entry read by its `kind` is buffered by `serde`, which
/// forgets the place, so each entry is read alone until one fails in the same words.
fn faulty<T: DeserializeOwned>(root: &DeTable<'_>, list: &str, error: &toml::de::Error) -> Option<usize> {
    let entries = root.get(list)?.get_ref().as_array()?;
    let fails = |entry: &Spanned<DeValue<'_>>| match T::deserialize(ValueDeserializer::from(entry.clone())) {
        Ok(_) => false,
        Err(own) => own.message() == error.message(),
    };
    entries.iter().find(|entry| fails(entry)).map(|entry| entry.span().start)
}

/// Checks the names of one list: well formed, and each used once.
fn unique<'a>(checks: &mut Checks<'_>, list: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeMap::new();
    for (index, name) in names.enumerate() {
        let mut list_at = checks.within(list);
        let mut at = list_at.within(index);
        rules::name(&mut at, "name", name);
        if seen.insert(name, index).is_some() {
            at.problem("name", format!("two entries of [[{list}]] are named \"{name}\"; give each its own name"));
        }
    }
}
