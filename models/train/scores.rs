//! What packages find in heads that they never saw.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use sulcus_models::device::{Device, Provider};
use sulcus_models::package::Package;
use sulcus_models::predict::find_lesions;
use sulcus_models::runtime::Runtime;
use sulcus_models::session::Session;
use sulcus_operators::digest::Digest;
use sulcus_operators::phantom::Tracing;
use sulcus_operators::phantom::score::{Score, score};

use crate::sites::{KNOWN, Site, UNKNOWN};

/// Counts over heads.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    lesions: usize,
    right: usize,
    under_segmented: usize,
    wrong: usize,
    missed: usize,
}

impl Counts {
    /// Adds what was found in one head.
    pub fn add(&mut self, score: &Score) {
        self.lesions += score.rows.len();
        self.right += score.true_positives;
        self.under_segmented += score.under_segmented;
        self.wrong += score.false_positives.len();
        self.missed += score.missed;
    }

    fn and(self, other: Counts) -> Counts {
        Counts {
            lesions: self.lesions + other.lesions,
            right: self.right + other.right,
            under_segmented: self.under_segmented + other.under_segmented,
            wrong: self.wrong + other.wrong,
            missed: self.missed + other.missed,
        }
    }

    /// 2 TP / (2 TP + FP + USL + FN), as `operators::phantom::score`.
    fn f1(self) -> f64 {
        2.0 * self.right as f64 / (2 * self.right + self.wrong + self.under_segmented + self.missed).max(1) as f64
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { lesions, right, under_segmented, wrong, missed } = self;
        write!(f, "{lesions} | {right} | {under_segmented} | {wrong} | {missed} | {:.2}", self.f1())
    }
}

/// A package on the fastest device of this machine's CPU.
pub fn session(package: &str) -> Result<Session, Box<dyn Error>> {
    let package = Arc::new(Package::open(Path::new(package))?);
    let device = Device { fall_back: true, ..Device::new(Provider::OpenVino) };
    Ok(Session::open(Runtime::load(None)?, package, &device)?)
}

/// Prints a row for each package, kind of head and site, and one for the known and the unknown sites together.
pub fn print(tracing: &Tracing, heads: u64, packages: &[&str]) -> Result<(), Box<dyn Error>> {
    println!("| model | heads | site | lesions | right | under-segmented | wrong | missed | F1 |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for package in packages {
        let mut session = session(package)?;
        let name = session.package().manifest().name.clone();
        for (what, stripped) in [("stripped", true), ("whole", false)] {
            for (group, sites) in [("known sites", KNOWN.as_slice()), ("unknown sites", &UNKNOWN)] {
                let mut sum = Counts::default();
                for site in sites {
                    let counts = at_site(&mut session, site, stripped, heads, tracing)?;
                    println!("| {name} | {what} | {} | {counts} |", site.name);
                    sum = sum.and(counts);
                }
                println!("| {name} | {what} | **{group}** | {sum} |");
            }
        }
    }
    Ok(())
}

fn at_site(
    session: &mut Session,
    site: &Site,
    stripped: bool,
    heads: u64,
    tracing: &Tracing,
) -> Result<Counts, Box<dyn Error>> {
    let mut counts = Counts::default();
    for head in 0..heads {
        // No head of the training has such a seed.
        let phantom = site.scan(900_000 + head, stripped, tracing)?;
        let scan = phantom.volume(phantom.images[0].voxels.clone());
        let found = find_lesions(session, &[&scan], &Digest::of(b"score"), &mut |_, _| {})?;
        counts.add(&score(&phantom.lesions, phantom.labels.view(), found.labels.view())?);
    }
    Ok(counts)
}
