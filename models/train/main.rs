//! Phantoms for the demonstration model: to learn from, and to be tested on.
//!
//! usage: phantoms dataset TEMPLATES OUTPUT HEADS
//!        phantoms score TEMPLATES HEADS PACKAGE...
//!        phantoms thresholds TEMPLATES HEADS PACKAGE
//!        phantoms distances TEMPLATES HEADS PACKAGE [FOLDER...]
//! `dataset` writes HEADS heads of each known site in nnU-Net's raw format. `score` lets packages find the lesions in
//! HEADS other heads of each site, known and unknown, first with all but the brain set to zero and then as they come
//! from the scanner, and prints what they find as a Markdown table; `thresholds` does it for one package at several
//! probabilities, on other heads. `distances` prints how far HEADS heads of each site are from the training scans, and
//! scans that are stranger, the real heads of FOLDERs of DICOM files among them. TEMPLATES is the folder of `ch2.nii.gz`,
//! `ch2bet.nii.gz` and `aal.nii.gz` (see `sites`).

mod dataset;
mod distances;
mod scores;
mod sites;
mod strange;
mod thresholds;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["dataset", templates, output, heads] => {
            dataset::write(&sites::tracing(Path::new(templates))?, Path::new(output), heads.parse()?)
        }
        ["score", templates, heads, packages @ ..] if !packages.is_empty() => {
            scores::print(&sites::tracing(Path::new(templates))?, heads.parse()?, packages)
        }
        ["thresholds", templates, heads, package] => {
            thresholds::print(&mut scores::session(package)?, &sites::tracing(Path::new(templates))?, heads.parse()?)
        }
        ["distances", templates, heads, package, folders @ ..] => {
            let tracing = sites::tracing(Path::new(templates))?;
            distances::print(&mut scores::session(package)?, &tracing, heads.parse()?, folders)
        }
        _ => Err("usage: phantoms dataset TEMPLATES OUTPUT HEADS | score TEMPLATES HEADS PACKAGE... | thresholds \
                  TEMPLATES HEADS PACKAGE | distances TEMPLATES HEADS PACKAGE [FOLDER...]"
            .into()),
    }
}
