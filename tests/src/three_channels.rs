//! A package for tests that reads three series: the filter of `blob_filter` on the first, and nothing where the second is
//! bright or the third is dark. Which series reached which channel can be told from what it finds.

use std::path::Path;

use sulcus_models::package::{MANIFEST, MODEL, Manifest, PLANS};

use crate::blob_filter::{Net, filter, finish, manifest, plans};

/// The channels, in order.
pub const CHANNELS: [&str; 3] = ["UNI", "INV1", "INV2"];
/// How far beyond its mean, in standard deviations, a voxel of the second or third channel forbids a lesion.
const FAR: f32 = 5.0;

/// Writes the package into an existing folder.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(folder: &Path) -> std::io::Result<()> {
    let (model, plans) = (model(), plans(CHANNELS.len()));
    let manifest = Manifest {
        name: "three-channels".to_owned(),
        channels: CHANNELS.map(str::to_owned).to_vec(),
        ..manifest(&model, plans.as_bytes())
    };
    // Strings, numbers and lists always have a TOML form.
    std::fs::write(folder.join(MANIFEST), toml::to_string(&manifest).unwrap_or_default())?;
    std::fs::write(folder.join(PLANS), plans)?;
    std::fs::write(folder.join(MODEL), model)
}

fn model() -> Vec<u8> {
    let mut net = Net::new("three-channels", "images", CHANNELS.len() as i64);
    for (channel, name) in ["image", "second", "third"].into_iter().enumerate() {
        let weights = format!("only_{name}");
        let chosen: Vec<f32> = (0..CHANNELS.len()).map(|other| f32::from(u8::from(other == channel))).collect();
        net.graph.weights(&weights, &[1, CHANNELS.len() as i64, 1, 1, 1], &chosen);
        net.graph.node("Conv", &["images", &weights], name, &[]);
    }
    let lesion = filter(&mut net);
    let bright = net.affine("second", 1000.0, -1000.0 * FAR, "bright_far");
    let bright = net.clip(&bright, 0.0, 1000.0, "bright");
    let dark = net.affine("third", -1000.0, -1000.0 * FAR, "dark_far");
    let dark = net.clip(&dark, 0.0, 1000.0, "dark_enough");
    let lesion = net.op("Sub", &[&lesion, &bright], "lesion_not_bright");
    let lesion = net.op("Sub", &[&lesion, &dark], "lesion_allowed");
    finish(net, &lesion)
}
