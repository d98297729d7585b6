//! A prepared image through the networks, tile by tile (nnU-Net `predict_from_raw_data.py`, the sliding window).
//!
//! Owns which tiles are run and in which batches. While the device runs one batch, the one before it is added up; where
//! tiles lie and how they blend is in `sulcus_operators::nnunet::tiles`.

use std::sync::mpsc::{Receiver, sync_channel};

use ndarray::{ArcArray, Array4, Array5, ArrayView1, ArrayView4, Axis, Ix4, s};
use sulcus_operators::nnunet::tiles::{self, Accumulator, Precision, TileError};

use crate::predict::PredictError;
use crate::session::{Outputs, Session};

/// Which tiles are looked at, and how.
pub(crate) struct Tiles {
    pub(crate) patch: [usize; 3],
    pub(crate) step: f64,
    pub(crate) mirrorings: Vec<Vec<usize>>,
    pub(crate) outputs: usize,
    pub(crate) precision: Precision,
}

/// What the networks give for a prepared image.
pub(crate) struct Summed {
    /// Logits (outputs, z, y, x): the mean over folds of tiles under Gaussian weights.
    pub(crate) logits: Array4<f32>,
    /// Mean of the first fold's features over all tiles, in every mirroring, that hold more than zeros; none where it
    /// tells of none, or there is no such tile.
    pub(crate) features: Option<Vec<f64>>,
}

/// Runs all tiles of a prepared image.
pub(crate) fn run(
    session: &mut Session,
    prepared: Array4<f32>,
    tiles: &Tiles,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Summed, PredictError> {
    let dim = prepared.raw_dim();
    let (image, front) = tiles::pad_to_patch(prepared, tiles.patch);
    let padded = [image.dim().1, image.dim().2, image.dim().3];
    let starts = tiles::tile_starts(padded, tiles.patch, tiles.step);
    // Outside the head all tiles are alike, and one computation serves them.
    let place = |start| Place { start, empty: window(image.view(), start, tiles).iter().all(|value| *value == 0.0) };
    let places: Vec<Place> = starts.into_iter().map(place).collect();
    let (folds, count) = (session.folds(), places.len());
    progress(0, folds * count);
    let mut sum: Option<Array4<f32>> = None;
    let mut pool = Pool::default();
    for fold in 0..folds {
        let mut done = |done| progress(fold * count + done, folds * count);
        let logits = fold_logits(session, fold, image.view(), tiles, &places, &mut pool, &mut done)?;
        match &mut sum {
            None => sum = Some(logits),
            Some(sum) => sum.zip_mut_with(&logits, |sum, logit| *sum = tiles.precision.round(*sum + logit)),
        }
    }
    let mut logits = sum.unwrap_or_default();
    if folds > 1 {
        logits.mapv_inplace(|sum| tiles.precision.round(sum / folds as f32));
    }
    let [z, y, x] = [0, 1, 2].map(|axis| front[axis]..front[axis] + dim[axis + 1]);
    Ok(Summed { logits: logits.slice_move(s![.., z, y, x]), features: pool.mean() })
}

/// Adds up features, in the order of tiles and mirrorings whatever the batch.
#[derive(Default)]
struct Pool {
    sums: Vec<f64>,
    count: usize,
}

impl Pool {
    fn add(&mut self, features: ArrayView1<'_, f32>) {
        self.sums.resize(features.len(), 0.0);
        self.sums.iter_mut().zip(features).for_each(|(sum, feature)| *sum += f64::from(*feature));
        self.count += 1;
    }

    fn mean(self) -> Option<Vec<f64>> {
        let count = self.count as f64;
        (self.count > 0).then(|| self.sums.into_iter().map(|sum| sum / count).collect())
    }
}

/// Where a tile lies.
struct Place {
    start: [usize; 3],
    /// Nothing but zeros.
    empty: bool,
}

/// The tile (channels, z, y, x) of an image that begins at `start`.
fn window<'a>(image: ArrayView4<'a, f32>, start: [usize; 3], tiles: &Tiles) -> ArrayView4<'a, f32> {
    let [z, y, x] = [0, 1, 2].map(|axis| start[axis]..start[axis] + tiles.patch[axis]);
    image.slice_move(s![.., z, y, x])
}

/// Logits of one fold's network over a padded image.
fn fold_logits(
    session: &mut Session,
    fold: usize,
    image: ArrayView4<'_, f32>,
    tiles: &Tiles,
    places: &[Place],
    pool: &mut Pool,
    progress: &mut dyn FnMut(usize),
) -> Result<Array4<f32>, PredictError> {
    let first_empty = places.iter().position(|place| place.empty);
    let run = (0..places.len()).filter(|at| !places[*at].empty || Some(*at) == first_empty);
    let inputs: Vec<(usize, &Vec<usize>)> =
        run.flat_map(|at| tiles.mirrorings.iter().map(move |axes| (at, axes))).collect();
    let (channels, [z, y, x]) = (image.len_of(Axis(0)), tiles.patch);
    let shape = [image.dim().1, image.dim().2, image.dim().3];
    std::thread::scope(|scope| {
        // One batch is run, one is added up, and one may wait.
        let (send, receive) = sync_channel(session.batch());
        let adding = scope.spawn(move || add_up(tiles, shape, places, &receive));
        let mut told = 0;
        for batch in inputs.chunks(session.batch()) {
            let mut together = Array5::zeros((batch.len(), channels, z, y, x));
            for ((at, axes), mut into) in batch.iter().zip(together.outer_iter_mut()) {
                into.assign(&tiles::mirrored(window(image, places[*at].start, tiles), axes));
            }
            let Outputs { logits, features } = session.run(fold, together)?;
            let rows = features.iter().flat_map(|features| features.outer_iter()).zip(batch);
            rows.filter(|(_, (at, _))| !places[*at].empty).for_each(|(row, _)| pool.add(row));
            let logits = logits.into_shared();
            // Where the other side is gone, it says below why.
            let sent = (0..batch.len()).try_for_each(|at| send.send(logits.clone().index_axis_move(Axis(0), at)));
            if sent.is_err() {
                break;
            }
            let reached = batch.last().map_or(0, |(at, _)| *at);
            while told < reached {
                told += 1;
                progress(told);
            }
        }
        drop(send);
        let sums = adding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        while told < places.len() {
            told += 1;
            progress(told);
        }
        Ok(sums)
    })
}

/// Adds up the logits that arrive: for each place in order, unless its tile is empty and not the first of those, one of
/// each mirroring.
fn add_up(
    tiles: &Tiles,
    shape: [usize; 3],
    places: &[Place],
    arriving: &Receiver<ArcArray<f32, Ix4>>,
) -> Result<Array4<f32>, TileError> {
    let weights = tiles::gaussian(tiles.patch);
    let mut sums = Accumulator::new(tiles.outputs, shape, tiles.precision);
    let mut of_empty: Option<Array4<f32>> = None;
    for place in places {
        if let Some(logits) = of_empty.as_ref().filter(|_| place.empty) {
            sums.add(logits.view(), place.start, weights.view())?;
            continue;
        }
        let mut mean: Option<Array4<f32>> = None;
        for (axes, logits) in tiles.mirrorings.iter().zip(arriving) {
            let back = tiles::mirrored(logits.view(), axes);
            mean = Some(match mean {
                None => back.to_owned(),
                Some(mean) => mean + back,
            });
        }
        // Nothing arrives any more where the network failed, and the sums are of no use then.
        let Some(mut mean) = mean else { break };
        if tiles.mirrorings.len() > 1 {
            mean /= tiles.mirrorings.len() as f32;
        }
        sums.add(mean.view(), place.start, weights.view())?;
        if place.empty {
            of_empty = Some(mean);
        }
    }
    Ok(sums.finish())
}

#[cfg(test)]
#[path = "sliding_tests.rs"]
mod tests;
