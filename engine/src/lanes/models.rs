//! Which package a run's model is: the rules of the ledger say, also those that are no longer the newest and still
//! govern some series. A package that is gone, or that another has taken the place of, is never replaced by another.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sulcus_models::package::Package;
use sulcus_operators::digest::Digest;

use super::order::Failure;
use crate::ledger::event::{PipelineRule, Rules};

/// Every model that rules have named, by the digest of its package, as they named it last.
#[derive(Clone, Debug, Default)]
pub struct Models {
    recorded: BTreeMap<Digest, Recorded>,
}

#[derive(Clone, Debug)]
struct Recorded {
    path: PathBuf,
    name: [String; 2],
    /// The newest rules name it: it was verified when they were read.
    newest: bool,
}

impl Recorded {
    fn words(&self, model: &Digest) -> String {
        let Recorded { name: [name, version], .. } = self;
        if name.is_empty() { format!("model {}", model.short()) } else { format!("model {name} {version}") }
    }
}

const HINT: &str = "keep the package of each model in a folder of its own for as long as its rule governs studies; \
                    `applies_to = \"all\"` gives them to the pipeline's present model";

impl Models {
    /// Takes in rules as they are recorded.
    pub fn read(&mut self, rules: &Rules) {
        self.recorded.values_mut().for_each(|model| model.newest = false);
        for PipelineRule { model, model_path, model_name, alone, .. } in &rules.pipelines {
            let alone = alone.iter().map(|alone| (alone.model, &alone.model_path, &alone.model_name));
            for (model, path, name) in alone.chain([(*model, model_path, model_name)]) {
                self.recorded.insert(model, Recorded { path: path.into(), name: name.clone(), newest: true });
            }
        }
    }

    /// The folder of a model's package, to run it.
    ///
    /// # Errors
    /// Where no rule names the model, or its package is gone or has become another.
    pub fn to_run(&self, model: &Digest) -> Result<PathBuf, Failure> {
        let recorded = self.of(model)?;
        if !recorded.newest {
            self.open(model, recorded)?;
        }
        Ok(recorded.path.clone())
    }

    /// The folder where a model's package should be; it may be gone, or have become another.
    pub fn folder(&self, model: &Digest) -> Option<&Path> {
        self.recorded.get(model).map(|recorded| recorded.path.as_path())
    }

    /// A model's name and version.
    ///
    /// # Errors
    /// As [`Self::to_run`], but only for a ledger of an earlier version, whose rules do not tell.
    pub fn name(&self, model: &Digest) -> Result<[String; 2], Failure> {
        let recorded = self.of(model)?;
        if recorded.name.iter().any(|part| !part.is_empty()) {
            return Ok(recorded.name.clone());
        }
        let package = self.open(model, recorded)?;
        Ok([package.manifest().name.clone(), package.manifest().version.clone()])
    }

    fn of(&self, model: &Digest) -> Result<&Recorded, Failure> {
        let unknown = || Failure::input(format!("no rule of the ledger names model {}", model.short()), HINT);
        self.recorded.get(model).ok_or_else(unknown)
    }

    fn open(&self, model: &Digest, recorded: &Recorded) -> Result<Package, Failure> {
        let (what, path) = (recorded.words(model), recorded.path.display());
        let package = Package::open(&recorded.path).map_err(|error| {
            Failure::input(format!("{what} of an earlier rule cannot be had from {path}: {error}"), HINT)
        })?;
        if package.digest() != *model {
            let reason = format!("{path} no longer holds {what} of an earlier rule, but another one");
            return Err(Failure::input(reason, HINT));
        }
        Ok(package)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use sulcus_config::AppliesTo;

    use super::*;
    use crate::lanes::order::Cause;

    fn copy(to: &Path) -> Digest {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/blob-filter");
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        Package::open(to).unwrap().digest()
    }

    fn rules(model: Digest, path: &Path, name: [&str; 2]) -> Rules {
        let rule = PipelineRule {
            name: "lesions".into(),
            when: "true".into(),
            model,
            model_path: path.display().to_string(),
            model_name: name.map(str::to_owned),
            destinations: Vec::new(),
            applies_to: AppliesTo::New,
            inputs: Vec::new(),
            alone: None,
        };
        Rules { pipelines: vec![rule], ..Rules::default() }
    }

    #[test]
    fn an_earlier_model_is_found_where_its_rule_says_and_never_replaced() {
        let work = tempfile::tempdir().unwrap();
        let first = copy(&work.path().join("first"));
        let mut models = Models::default();
        models.read(&rules(first, &work.path().join("first"), ["", ""]));
        models.read(&rules(Digest::of(b"second"), &work.path().join("second"), ["net", "2"]));
        assert_eq!(models.to_run(&first).unwrap(), work.path().join("first"));
        assert_eq!(models.name(&first).unwrap(), ["blob-filter", "1"], "the package tells where the rule does not");
        assert_eq!(models.name(&Digest::of(b"second")).unwrap(), ["net", "2"]);

        let manifest = work.path().join("first/manifest.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("version = \"1\"", "version = \"1b\"")).unwrap();
        let replaced = models.to_run(&first).unwrap_err();
        assert!(replaced.reason.contains("no longer holds"), "{replaced:?}");
        fs::remove_dir_all(work.path().join("first")).unwrap();
        let gone = models.to_run(&first).unwrap_err();
        assert!(gone.reason.contains("cannot be had"), "{gone:?}");
        let unknown = models.to_run(&Digest::of(b"never")).unwrap_err();
        for failure in [replaced, gone, unknown] {
            assert_eq!(failure.cause, Cause::Input, "it must not hold up the lane");
            assert!(failure.hint.contains("applies_to"), "{failure:?}");
        }
    }
}
