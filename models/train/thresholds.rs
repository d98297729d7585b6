//! How many lesions are found, and how many of them right, where a voxel must be this likely: what the shift of the
//! lesion's logit in `train.py` is read from. The heads are neither those of the training nor those of the scores.

use std::error::Error;

use sulcus_models::predict::find_lesions;
use sulcus_models::session::Session;
use sulcus_operators::digest::Digest;
use sulcus_operators::lesions::components::{Connectivity, label};
use sulcus_operators::phantom::Tracing;
use sulcus_operators::phantom::score::score;

use crate::scores::Counts;
use crate::sites::KNOWN;

const PROBABILITIES: [f32; 11] = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999];

/// Prints a row for each probability, for brain-extracted and for whole heads of the known sites.
pub fn print(session: &mut Session, tracing: &Tracing, heads: u64) -> Result<(), Box<dyn Error>> {
    println!("| heads | probability | lesions | right | under-segmented | wrong | missed | F1 |");
    println!("|---|---|---|---|---|---|---|---|");
    for (what, stripped) in [("stripped", true), ("whole", false)] {
        let mut counts = [Counts::default(); PROBABILITIES.len()];
        for site in &KNOWN {
            for head in 0..heads {
                let phantom = site.scan(800_000 + head, stripped, tracing)?;
                let scan = phantom.volume(phantom.images[0].voxels.clone());
                let found = find_lesions(session, &[&scan], &Digest::of(b"score"), &mut |_, _| {})?;
                for (counts, least) in counts.iter_mut().zip(PROBABILITIES) {
                    let likely = found.probability.mapv(|probability| probability > least);
                    let (labels, _) = label(likely.view(), Connectivity::TwentySix)?;
                    counts.add(&score(&phantom.lesions, phantom.labels.view(), labels.view())?);
                }
            }
        }
        for (counts, least) in counts.iter().zip(PROBABILITIES) {
            println!("| {what} | {least} | {counts} |");
        }
    }
    Ok(())
}
