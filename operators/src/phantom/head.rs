//! What a head is to the scan and to the lesions: tissues at each point, and a cortical ribbon.

use super::shape::Point;

/// The tissues that give signal, each with relaxation times of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tissue {
    Air,
    Bone,
    Fat,
    Muscle,
    Csf,
    Grey,
    White,
    DeepGrey,
    Lesion,
}

/// Number of tissues.
pub(super) const TISSUES: usize = 9;

/// The share of each tissue in a voxel, by `Tissue as usize`; they add up to 1.
pub(super) type Shares = [f32; TISSUES];

/// Where a point lies in the cerebral cortex.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ribbon {
    /// Depth below the pial surface, mm; negative in CSF.
    pub(super) depth: f32,
    /// Thickness of the cortex here, mm.
    pub(super) thickness: f32,
}

/// What one voxel holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) shares: Shares,
    /// True within the brain and up to 1 mm outside it, as SynthStrip's default border has it.
    pub(super) brain: bool,
}

/// A head in its own space: LPS, mm, the cerebrum's middle at the origin.
pub(super) trait Head: Sync {
    /// Half the extent of the cerebrum, mm.
    fn extent(&self) -> Point;

    /// Where `p` lies in the cortex; none outside the cerebrum.
    fn ribbon(&self, p: Point) -> Option<Ribbon>;

    /// The tissues of a voxel of size `voxel` mm at `p`.
    fn content(&self, p: Point, voxel: f32) -> Content;
}
