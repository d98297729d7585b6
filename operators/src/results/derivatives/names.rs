//! Where the files of a study and pipeline lie: names of digits and letters alone, whatever the source says.

use crate::{digest::Digest, results::report::Patient};

/// The root's own file.
pub const DESCRIPTION: &str = "dataset_description.json";

/// How the names of one study and pipeline end.
pub(super) const SUFFIXES: [&str; 5] = ["dseg.nii.gz", "dseg.tsv", "dseg.json", "probseg.nii.gz", "probseg.json"];

/// `seg` is what tells the segmentations of one image apart; `label` is for maps of one label alone.
const ENTITY: &str = "_seg-lesion_desc-";

/// The place of one study and pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    subject: String,
    session: String,
    description: String,
}

impl Place {
    pub(super) fn of(patient: &Patient, study_uid: &str, pipeline: &str) -> Self {
        Self {
            subject: subject(&patient.issuer, &patient.id),
            session: digits(Digest::of_parts("sulcus bids session 1", [study_uid.as_bytes()])),
            description: description(pipeline),
        }
    }

    /// The path of the file with this suffix.
    pub(super) fn file(&self, suffix: &str) -> String {
        let Self { subject, session, description } = self;
        format!("sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}{ENTITY}{description}_{suffix}")
    }

    /// The place that a path lies in; none where it is no path that [`Place::file`] gives.
    pub(super) fn containing(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        let (stem, suffix) = name.rsplit_once('_')?;
        let (source, description) = stem.split_once(ENTITY)?;
        let (subject, session) = source.strip_prefix("sub-")?.split_once("_ses-")?;
        let place =
            Self { subject: subject.to_owned(), session: session.to_owned(), description: description.to_owned() };
        let digits = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
        let letters = !description.is_empty() && description.bytes().all(|b| b.is_ascii_alphanumeric());
        let ours = digits(subject) && digits(session) && letters && SUFFIXES.contains(&suffix);
        (ours && place.file(suffix) == path).then_some(place)
    }
}

/// The pseudonym of a patient: the label behind `sub-`.
pub fn subject(issuer: &str, id: &str) -> String {
    digits(Digest::of_parts("sulcus bids subject 1", [issuer.as_bytes(), id.as_bytes()]))
}

/// Sixteen digits: among a million persons, two have the same with a chance of 1 in 20,000.
fn digits(digest: Digest) -> String {
    let first = digest.0.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{:016}", first % 10_000_000_000_000_000)
}

/// A BIDS label has letters and digits alone. A name that has more is told from others by digits of its digest.
fn description(pipeline: &str) -> String {
    let plain: String = pipeline.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    if plain == pipeline && !plain.is_empty() {
        return plain;
    }
    let digest = Digest::of_parts("sulcus bids description 1", [pipeline.as_bytes()]).short();
    format!("{plain}{}", digest.get(..6).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(id: &str) -> Patient {
        Patient { id: id.into(), issuer: "source:mr".into() }
    }

    #[test]
    fn labels_are_digits_and_frozen() {
        let path = Place::of(&patient("Doe^Jane/../1"), "1.2.3", "cortical-lesions").file("dseg.nii.gz");
        assert_eq!(path, FROZEN);
        assert_eq!(Place::containing(&path), Some(Place::of(&patient("Doe^Jane/../1"), "1.2.3", "cortical-lesions")));
        assert_ne!(Place::of(&patient(""), "1.2.3", "x"), Place::of(&patient("1"), "1.2.3", "x"));
    }

    const FROZEN: &str = "sub-4513826372702228/ses-6775754253494437/anat/\
                          sub-4513826372702228_ses-6775754253494437_seg-lesion_desc-corticallesions86fbf5_dseg.nii.gz";

    #[test]
    fn pipelines_whose_names_differ_have_places_that_differ() {
        let of = |pipeline: &str| Place::of(&patient("1"), "1.2.3", pipeline).file("dseg.tsv");
        let all = ["ab", "a-b", "a_b", "a.b", "", "-", "AB"].map(of);
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
        assert!(all.iter().all(|path| Place::containing(path).is_some()));
    }
}
