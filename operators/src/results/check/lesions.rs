//! The lesions that the files must show: which segment each of them is, and what lies under it.

use ndarray::ArrayView3;

use super::{Expected, Mismatch, written::Written};
use crate::{
    results::{judged::is_rejected, seg::SegKind},
    rows::LesionRow,
};

/// What lies under a lesion.
#[derive(Clone, Copy, Default)]
struct Under {
    voxels: u64,
    /// Intensities of the source.
    sum: f64,
    /// Steps of 255, of a probability map.
    steps: u64,
    peak: u16,
}

/// The lesions, and how far the files have been read.
pub(super) struct Lesions<'a> {
    kind: SegKind<'a>,
    /// Those that no reader rejected; of a probability map, all.
    kept: Vec<&'a LesionRow>,
    /// Of each label: its place in `kept`.
    place: Vec<Option<usize>>,
    /// Of each label: whether a reader rejected its lesion.
    out: Vec<bool>,
    under: Vec<Under>,
    /// Lesions of the parts before this one, and of this one.
    before: usize,
    here: usize,
    parts: usize,
}

impl<'a> Lesions<'a> {
    pub(super) fn new(expected: &Expected<'a>) -> Self {
        let judged = !matches!(expected.kind, SegKind::Probability(_));
        let labels = usize::from(u16::MAX) + 1;
        let (mut kept, mut place, mut out) = (Vec::new(), vec![None; labels], vec![false; labels]);
        for lesion in expected.lesions {
            let label = usize::try_from(lesion.label).unwrap_or(usize::MAX);
            if judged && is_rejected(expected.findings, lesion) {
                if let Some(out) = out.get_mut(label) {
                    *out = true;
                }
                continue;
            }
            if let Some(place) = place.get_mut(label) {
                *place = Some(kept.len());
            }
            kept.push(lesion);
        }
        let under = vec![Under::default(); kept.len()];
        Self { kind: expected.kind, kept, place, out, under, before: 0, here: 0, parts: 0 }
    }

    /// True where the file says that there is no lesion.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Goes on to the next file, whose segments must be the next lesions.
    pub(super) fn begin(&mut self, seg: &Written<'_>) -> Result<(), Mismatch> {
        let label_map = matches!(self.kind, SegKind::LabelMap);
        self.parts += 1;
        let mut tracking = seg.tracking.iter().map(Option::as_deref);
        if label_map && tracking.next() != Some(None) {
            return Err(Mismatch::File("its background is not described".into()));
        }
        let first = u16::from(!label_map);
        if !(first..).zip(&seg.numbers).all(|(number, found)| number == *found) {
            return Err(Mismatch::File("its segments are not numbered one by one".into()));
        }
        self.before += self.here;
        let one = self.kept.is_empty() || matches!(self.kind, SegKind::AllAsOne | SegKind::Probability(_));
        if one {
            self.here = self.kept.len();
            let only = self.parts == 1 && tracking.eq([None]);
            return if only { Ok(()) } else { Err(Mismatch::File("it has other segments than one".into())) };
        }
        let tracking: Vec<_> = tracking.collect();
        self.here = tracking.len();
        let next = self.kept.get(self.before..self.before + self.here).unwrap_or_default();
        if tracking.is_empty() || !tracking.into_iter().eq(next.iter().map(|l| Some(l.tracking_uid.as_str()))) {
            return Err(Mismatch::File("its segments are not the lesions".into()));
        }
        Ok(())
    }

    /// What a mask or a label map must hold where the label map has `label`, in a frame of `segment` (from 1).
    pub(super) fn value(&self, label: u16, segment: Option<u16>) -> u16 {
        let Some(place) = self.place_of(label) else { return 0 };
        let here = place.checked_sub(self.before).filter(|here| *here < self.here);
        let number = here.and_then(|here| u16::try_from(here + 1).ok());
        match self.kind {
            SegKind::Lesions => u16::from(number.is_some() && number == segment),
            SegKind::AllAsOne => 1,
            SegKind::LabelMap | SegKind::Probability(_) => number.unwrap_or(0),
        }
    }

    /// The lesion, by its place, that a voxel of a frame belongs to.
    pub(super) fn owner(&self, label: u16, stored: u16, segment: Option<u16>) -> Option<usize> {
        match self.kind {
            SegKind::Lesions => (stored != 0)
                .then_some(self.before + usize::from(segment?.checked_sub(1)?))
                .filter(|_| !self.is_empty()),
            SegKind::LabelMap => Some(self.before + usize::from(stored.checked_sub(1)?)),
            SegKind::AllAsOne => (stored != 0).then(|| self.place_of(label)).flatten(),
            SegKind::Probability(_) => self.place_of(label),
        }
    }

    /// Adds a voxel of a frame to what lies under its lesion, if it belongs to one.
    pub(super) fn add(&mut self, label: u16, stored: u16, segment: Option<u16>, intensity: f64) {
        let owner = self.owner(label, stored, segment);
        if let Some(under) = owner.and_then(|lesion| self.under.get_mut(lesion)) {
            under.voxels += 1;
            under.sum += intensity;
            under.steps += u64::from(stored);
            under.peak = under.peak.max(stored);
        }
    }

    /// Compares what lies under each lesion with its row. Gives the largest difference of a mean, in thousandths.
    pub(super) fn compare(&self) -> Result<f64, Mismatch> {
        if self.parts == 0 || self.before + self.here != self.kept.len() {
            return Err(Mismatch::File("its segments are not all of the lesions".into()));
        }
        let mut largest = 0f64;
        for (lesion, under) in self.kept.iter().zip(&self.under) {
            let (label, found) = (lesion.label, under.voxels);
            if found != lesion.voxels || found == 0 {
                return Err(Mismatch::Voxels { label, found, expected: lesion.voxels });
            }
            let mean = 1000.0 * under.sum / found as f64;
            let expected = lesion.mean_intensity_milli as f64;
            // One thousandth of the mean, or one step of the row's own rounding.
            let error = (mean - expected).abs();
            if error.is_nan() || error > (expected.abs() / 1000.0).max(1.0) {
                let (found_milli, expected_milli) = (mean.round() as i64, lesion.mean_intensity_milli);
                return Err(Mismatch::Mean { label, found_milli, expected_milli });
            }
            largest = largest.max(error);
            if matches!(self.kind, SegKind::Probability(_)) {
                let mean = under.steps as f64 / found as f64;
                probability(label, "mean", mean, lesion.probability_permille)?;
                probability(label, "peak", f64::from(under.peak), lesion.peak_probability_permille)?;
            }
        }
        Ok(largest)
    }

    /// Compares the number of voxels that were read with those of a label map, rejected lesions left out.
    pub(super) fn compare_voxels(&self, labels: ArrayView3<'_, u16>) -> Result<(), Mismatch> {
        let found: u64 = self.under.iter().map(|under| under.voxels).sum();
        let is_in = |label: &&u16| **label != 0 && self.out.get(usize::from(**label)) == Some(&false);
        let labelled = labels.iter().filter(is_in).count() as u64;
        if found == labelled {
            return Ok(());
        }
        Err(Mismatch::File(format!("it has {found} voxels of the {labelled} in the label map")))
    }

    fn place_of(&self, label: u16) -> Option<usize> {
        self.place.get(usize::from(label)).copied().flatten()
    }
}

/// Compares steps of 255 with thousandths: half a step and half a thousandth may lie between them.
fn probability(label: u32, what: &'static str, steps: f64, expected_permille: u32) -> Result<(), Mismatch> {
    let found = steps * 1000.0 / 255.0;
    if (found - f64::from(expected_permille)).abs() <= 0.5 * (1000.0 / 255.0) + 0.5 + 1e-6 {
        return Ok(());
    }
    Err(Mismatch::Probability { label, what, found_permille: found.round() as u32, expected_permille })
}
