//! How far scans are from those that a package's network learned from, and how well that tells them apart.

use std::error::Error;
use std::path::Path;

use sulcus_models::predict::find_lesions;
use sulcus_models::session::Session;
use sulcus_operators::digest::Digest;
use sulcus_operators::phantom::Tracing;
use sulcus_operators::rows::DomainDistance;
use sulcus_operators::volume::Volume;

use crate::sites::{KNOWN, Site, UNKNOWN};
use crate::strange::{STRANGE, real};

/// Prints a row for each kind of scan, and the area under the curve (AUC) of telling each from the known sites' scans.
/// `folders` hold DICOM files of real heads.
pub fn print(session: &mut Session, tracing: &Tracing, heads: u64, folders: &[&str]) -> Result<(), Box<dyn Error>> {
    println!("| scans | distance, times the usual | farther than, of the training scans | beyond | AUC |");
    println!("|---|---|---|---|---|");
    let mut known = Vec::new();
    for site in &KNOWN {
        let found = of_heads(session, heads, |seed, stripped| at_site(site, seed, stripped, tracing))?;
        row(site.name, &found, None);
        known.extend(found);
    }
    row("**known sites**", &known, None);
    let mut unknown = Vec::new();
    for site in &UNKNOWN {
        let found = of_heads(session, heads, |seed, stripped| at_site(site, seed, stripped, tracing))?;
        row(site.name, &found, Some(&known));
        unknown.extend(found);
    }
    row("**unknown sites**", &unknown, Some(&known));
    for (name, strange) in STRANGE {
        let found = of_heads(session, heads, |seed, stripped| strange.scan(seed, stripped, tracing))?;
        row(name, &found, Some(&known));
    }
    for folder in folders {
        let path = Path::new(folder);
        let found = distance(session, &real(path)?)?;
        row(&format!("real: {}", path.file_name().unwrap_or_default().to_string_lossy()), &[found], Some(&known));
    }
    Ok(())
}

fn at_site(site: &Site, seed: u64, stripped: bool, tracing: &Tracing) -> Result<Volume, Box<dyn Error>> {
    let phantom = site.scan(seed, stripped, tracing)?;
    Ok(phantom.volume(phantom.images[0].voxels.clone()))
}

/// Of heads that the training did not have; as in it, half are drawn, half traced, and half of either brain extracted.
fn of_heads(
    session: &mut Session,
    heads: u64,
    scan: impl Fn(u64, bool) -> Result<Volume, Box<dyn Error>>,
) -> Result<Vec<DomainDistance>, Box<dyn Error>> {
    (0..heads).map(|head| distance(session, &scan(900_000 + head, (head / 2).is_multiple_of(2))?)).collect()
}

fn distance(session: &mut Session, scan: &Volume) -> Result<DomainDistance, Box<dyn Error>> {
    let found = find_lesions(session, &[scan], &Digest::of(b"distance"), &mut |_, _| {})?;
    found.domain.ok_or_else(|| "the package does not hold its training scans; run `sulcus model embed`".into())
}

fn row(name: &str, found: &[DomainDistance], known: Option<&[DomainDistance]>) {
    let times: Vec<String> = found.iter().map(|one| format!("{:.1}", f64::from(one.distance_milli) / 1000.0)).collect();
    let farther: Vec<String> = found.iter().map(|one| one.farther_than.to_string()).collect();
    let scans = found.first().map_or(0, |one| one.scans);
    // Of many scans, the range.
    let shown = |values: &[String], sorted: [Option<String>; 2]| match sorted {
        [Some(least), Some(most)] if values.len() > 4 => format!("{least} to {most}"),
        _ => values.join(", "),
    };
    let by = |key: fn(&DomainDistance) -> u32| [found.iter().map(key).min(), found.iter().map(key).max()];
    let range =
        by(|one| one.distance_milli).map(|milli| milli.map(|milli| format!("{:.1}", f64::from(milli) / 1000.0)));
    let ranks = by(|one| one.farther_than).map(|rank| rank.map(|rank| rank.to_string()));
    let beyond = found.iter().filter(|one| one.is_beyond()).count();
    let auc = known.map_or(String::new(), |known| format!("{:.2}", auc(known, found)));
    println!(
        "| {name} | {} | {} of {scans} | {beyond} of {} | {auc} |",
        shown(&times, range),
        shown(&farther, ranks),
        found.len()
    );
}

/// The share of pairs in which the other scan is farther than the known site's; ties count half.
fn auc(known: &[DomainDistance], others: &[DomainDistance]) -> f64 {
    let pairs = known.iter().flat_map(|one| others.iter().map(|other| other.distance_milli.cmp(&one.distance_milli)));
    let won: f64 = pairs.map(|order| (f64::from(order as i8) + 1.0) / 2.0).sum();
    won / (known.len() * others.len()) as f64
}
