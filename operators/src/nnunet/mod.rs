//! nnU-Net v2's arithmetic around the network: preprocessing, tiles, export (MIC-DKFZ/nnUNet, read at v2.8).
//!
//! Arrays are (z, y, x), with a channel or class axis in front where there are several, and spacings are in the same
//! order, mm. Sums that decide a result run in f64 or f32, never in fp16 as nnU-Net's own do. Which network runs, and
//! on what, is left to `models`.

pub mod crop;
pub mod export;
pub mod normalise;
pub mod resample;
pub mod tiles;
