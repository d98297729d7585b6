//! Heads in nnU-Net's raw format: `imagesTr`, `labelsTr` and `dataset.json`.

use std::error::Error;
use std::path::Path;

use serde_json::json;
use sulcus_operators::nifti_file;
use sulcus_operators::phantom::Tracing;

use crate::sites::KNOWN;

/// Writes `heads` heads of each known site; drawn and traced ones take turns, and so, at half the pace, do stripped and
/// whole ones.
pub fn write(tracing: &Tracing, output: &Path, heads: u64) -> Result<(), Box<dyn Error>> {
    let (images, labels) = (output.join("imagesTr"), output.join("labelsTr"));
    std::fs::create_dir_all(&images)?;
    std::fs::create_dir_all(&labels)?;
    for (number, site) in (1..).zip(&KNOWN) {
        for head in 0..heads {
            let seed = 1000 * number + head;
            let phantom = site.scan(seed, (head / 2).is_multiple_of(2), tracing)?;
            let name = format!("{}-{seed}", site.name);
            let image = phantom.volume(phantom.images[0].voxels.clone());
            nifti_file::write(&image, &images.join(format!("{name}_0000.nii.gz")))?;
            let truth = phantom.labels.mapv(|label| f32::from(u8::from(label > 0)));
            nifti_file::write(&phantom.volume(truth), &labels.join(format!("{name}.nii.gz")))?;
            println!("{name}: {} lesions", phantom.lesions.len());
        }
    }
    let dataset = json!({
        "channel_names": {"0": "T1w"},
        "labels": {"background": 0, "CL": 1},
        "numTraining": heads * KNOWN.len() as u64,
        "file_ending": ".nii.gz",
    });
    std::fs::write(output.join("dataset.json"), serde_json::to_vec_pretty(&dataset)?)?;
    Ok(())
}
