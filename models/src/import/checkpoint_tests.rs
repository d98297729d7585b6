//! Promises of reading checkpoints, on small ones written here as torch writes them.

use std::io::Write;

use proptest::prelude::*;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;

/// A pickle of `{'trainer_name': 'T', 'inference_allowed_mirroring_axes': (0, 1), 'network_weights': OrderedDict}`
/// with one tensor `w` of the given storage class, offset, size and stride.
fn pickle(storage: &str, offset: u8, size: [u8; 2], stride: [u8; 2]) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let mut bytes = b"\x80\x02}(".to_vec();
    bytes.extend([text("trainer_name"), text("T")].concat());
    bytes.extend([text("inference_allowed_mirroring_axes"), b"K\x00K\x01\x86".to_vec()].concat());
    bytes.extend([text("network_weights"), b"ccollections\nOrderedDict\n)R(".to_vec(), text("w")].concat());
    bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
    bytes.extend(
        [&b"("[..], &text("storage"), format!("ctorch\n{storage}\n").as_bytes(), &text("0"), &text("cpu"), b"K\x06tQ"]
            .concat(),
    );
    bytes.extend([b'K', offset, b'K', size[0], b'K', size[1], 0x86, b'K', stride[0], b'K', stride[1], 0x86]);
    bytes.extend(b"\x89ccollections\nOrderedDict\n)RtRu");
    bytes.extend(b"u.");
    bytes
}

fn file(parts: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut zip = ZipWriter::new(file.reopen().unwrap());
    for (name, bytes) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    file
}

fn numbers() -> Vec<u8> {
    (0..6).flat_map(|number| (number as f32).to_le_bytes()).collect()
}

fn read(pickle: &[u8], storage: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let file = file(&[("archive/data.pkl", pickle), ("archive/byteorder", b"little"), ("archive/data/0", storage)]);
    Checkpoint::read(file.path(), |_| true)
}

#[test]
fn a_checkpoint_is_read_as_torch_wrote_it() {
    let checkpoint = read(&pickle("FloatStorage", 0, [2, 3], [3, 1]), &numbers()).unwrap();
    assert_eq!((checkpoint.trainer.as_str(), checkpoint.mirror_axes), ("T", vec![0, 1]));
    assert_eq!(checkpoint.weights["w"], Tensor { shape: vec![2, 3], values: vec![0., 1., 2., 3., 4., 5.] });
}

#[test]
fn a_transposed_view_is_put_in_order() {
    let checkpoint = read(&pickle("FloatStorage", 1, [2, 2], [1, 2]), &numbers()).unwrap();
    assert_eq!(checkpoint.weights["w"].values, [1., 3., 2., 4.]);
}

#[test]
fn what_is_broken_is_named() {
    let nan = [numbers()[..20].to_vec(), f32::NAN.to_le_bytes().to_vec()].concat();
    let whole = ("FloatStorage", 0, [2, 3], [3, 1]);
    for ((storage, offset, size, stride), bytes, says) in [
        (whole, &nan[..], "NaN"),
        (whole, &numbers()[..20], "storage"),
        (("FloatStorage", 3, [2, 3], [3, 1]), &numbers(), "storage"),
        (("FloatStorage", 0, [255, 255], [0, 0]), &numbers(), "storage"),
        (("QInt8Storage", 0, [2, 3], [3, 1]), &numbers(), "kind"),
    ] {
        let message = read(&pickle(storage, offset, size, stride), bytes).unwrap_err().to_string();
        assert!(message.contains("weight w") && message.contains(says), "{message}");
    }
    let message = read(b"\x80\x02}.", &numbers()).unwrap_err().to_string();
    assert!(message.contains("trainer_name"), "{message}");
    let message = read(b"cos\nsystem\n(S'true'\ntR.", &numbers()).unwrap_err().to_string();
    assert!(message.contains("no checkpoint"), "{message}");
    for parts in [&[("weights.bin", &b"x"[..])][..], &[("a/data.pkl", b"."), ("a/byteorder", b"big")]] {
        let file = file(parts);
        let message = Checkpoint::read(file.path(), |_| true).unwrap_err().to_string();
        assert!(message.contains("data.pkl") || message.contains("little-endian"), "{message}");
    }
    let none = Checkpoint::read(Path::new("/nowhere/checkpoint_final.pth"), |_| true).unwrap_err().to_string();
    assert!(none.contains("checkpoint_final.pth"), "{none}");
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "no zip").unwrap();
    assert!(Checkpoint::read(text.path(), |_| true).unwrap_err().to_string().contains("zip"));
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(at in 0usize..300, byte in any::<u8>()) {
        let mut bytes = pickle("FloatStorage", 0, [2, 3], [3, 1]);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read(&bytes, &numbers());
    }
}
