//! Writes the tests' package `tests/blob-filter` anew, after a change to its design.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("blob-filter");
    std::fs::create_dir_all(&folder)?;
    sulcus_tests::blob_filter::write(&folder)?;
    println!("wrote {}", folder.display());
    Ok(())
}
