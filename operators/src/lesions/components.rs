//! Connected components of a mask, by runs of voxels and union-find.
//!
//! Owns which voxels belong together and how components are numbered; what is measured on them is in `measure`.

use ndarray::{Array3, ArrayView3};
use thiserror::Error;

/// Most components that a label map holds: its voxels are u16, and DICOM-SEG numbers its segments in 16 bits.
pub const MAX_COMPONENTS: usize = 65_534;

/// Which neighbours of a voxel belong to the same component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Connectivity {
    /// Neighbours across a face.
    Six,
    /// Neighbours across a face or an edge.
    Eighteen,
    /// Neighbours across a face, an edge or a corner.
    #[default]
    TwentySix,
}

/// Why a mask could not be labelled.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LabelError {
    /// The mask falls apart into more components than a label map can number.
    #[error(
        "the mask has {found} components, more than {MAX_COMPONENTS}; it is noise rather than lesions, check the model \
         and its input"
    )]
    TooMany {
        /// How many components there are.
        found: usize,
    },
}

/// Voxels set along one line: columns `first..end`.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    end: usize,
}

/// A line of the volume whose runs may touch those of the current line: rows and slices back, and how far the
/// columns may lie apart.
struct Neighbour {
    slices_back: usize,
    row_shift: isize,
    reach: usize,
}

impl Connectivity {
    fn earlier_lines(self) -> Vec<Neighbour> {
        let line = |slices_back, row_shift, reach| Neighbour { slices_back, row_shift, reach };
        match self {
            Connectivity::Six => vec![line(0, -1, 0), line(1, 0, 0)],
            Connectivity::Eighteen => vec![line(0, -1, 1), line(1, 0, 1), line(1, -1, 0), line(1, 1, 0)],
            Connectivity::TwentySix => vec![line(0, -1, 1), line(1, 0, 1), line(1, -1, 1), line(1, 1, 1)],
        }
    }
}

/// Numbers the components of a mask (axes slice, row, column) from 1 in the order of their first voxel, and counts
/// them. Background is 0. Memory grows with the runs of set voxels.
pub fn label(mask: ArrayView3<'_, bool>, connectivity: Connectivity) -> Result<(Array3<u16>, usize), LabelError> {
    let (slices, rows, columns) = mask.dim();
    let mut labels = Array3::zeros((slices, rows, columns));
    // Runs in the order of the volume; `line_starts[l]..line_starts[l + 1]` are those of line l.
    let (runs, line_starts) = runs_of(mask);
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    let neighbours = connectivity.earlier_lines();
    for slice in 0..slices {
        for row in 0..rows {
            let here = line_starts[slice * rows + row]..line_starts[slice * rows + row + 1];
            if here.is_empty() {
                continue;
            }
            for neighbour in &neighbours {
                let Some(other_slice) = slice.checked_sub(neighbour.slices_back) else { continue };
                let Some(other_row) = row.checked_add_signed(neighbour.row_shift).filter(|r| *r < rows) else {
                    continue;
                };
                let other = other_slice * rows + other_row;
                let there = line_starts[other]..line_starts[other + 1];
                join_lines(&runs, &mut parents, here.clone(), there, neighbour.reach);
            }
        }
    }
    let mut numbers = vec![0usize; runs.len()];
    let mut found = 0;
    for run in 0..runs.len() {
        let root = find(&mut parents, run);
        if root == run {
            found += 1;
            numbers[run] = found;
        } else {
            numbers[run] = numbers[root];
        }
    }
    if found > MAX_COMPONENTS {
        return Err(LabelError::TooMany { found });
    }
    for (line, mut voxels) in labels.rows_mut().into_iter().enumerate() {
        for run in line_starts[line]..line_starts[line + 1] {
            let number = numbers[run] as u16;
            for column in runs[run].first..runs[run].end {
                voxels[column] = number;
            }
        }
    }
    Ok((labels, found))
}

fn runs_of(mask: ArrayView3<'_, bool>) -> (Vec<Run>, Vec<usize>) {
    let mut runs = Vec::new();
    let mut line_starts = vec![0];
    for line in mask.rows() {
        let mut first = None;
        for (column, &set) in line.iter().enumerate() {
            match (set, first) {
                (true, None) => first = Some(column),
                (false, Some(start)) => {
                    runs.push(Run { first: start, end: column });
                    first = None;
                }
                _ => {}
            }
        }
        if let Some(start) = first {
            runs.push(Run { first: start, end: line.len() });
        }
        line_starts.push(runs.len());
    }
    (runs, line_starts)
}

/// Joins the runs of two lines that touch; both lists are in the order of their columns.
fn join_lines(
    runs: &[Run],
    parents: &mut [usize],
    here: std::ops::Range<usize>,
    there: std::ops::Range<usize>,
    reach: usize,
) {
    let (mut a, mut b) = (here.start, there.start);
    while a < here.end && b < there.end {
        if runs[a].first < runs[b].end + reach && runs[b].first < runs[a].end + reach {
            let (one, other) = (find(parents, a), find(parents, b));
            // The smaller index wins, so that a root is the first run of its component.
            parents[one.max(other)] = one.min(other);
        }
        if runs[a].end < runs[b].end {
            a += 1;
        } else {
            b += 1;
        }
    }
}

fn find(parents: &mut [usize], mut run: usize) -> usize {
    while parents[run] != run {
        parents[run] = parents[parents[run]];
        run = parents[run];
    }
    run
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition itself: flood each component from its first voxel.
    fn flooded(mask: &Array3<bool>, connectivity: Connectivity) -> (Array3<u16>, usize) {
        let reach = match connectivity {
            Connectivity::Six => 1,
            Connectivity::Eighteen => 2,
            Connectivity::TwentySix => 3,
        };
        let dim = [mask.dim().0 as isize, mask.dim().1 as isize, mask.dim().2 as isize];
        let mut labels = Array3::<u16>::zeros(mask.dim());
        let mut count = 0;
        for (start, &set) in mask.indexed_iter() {
            if !set || labels[start] != 0 {
                continue;
            }
            count += 1;
            labels[start] = count;
            let mut open = vec![start];
            while let Some((z, y, x)) = open.pop() {
                for step in 0..27isize {
                    let d = [step / 9 - 1, step / 3 % 3 - 1, step % 3 - 1];
                    let at = [z as isize + d[0], y as isize + d[1], x as isize + d[2]];
                    let inside = (0..3).all(|axis| at[axis] >= 0 && at[axis] < dim[axis]);
                    if !inside || d.iter().map(|v| v.abs()).sum::<isize>() > reach {
                        continue;
                    }
                    let at = (at[0] as usize, at[1] as usize, at[2] as usize);
                    if mask[at] && labels[at] == 0 {
                        labels[at] = count;
                        open.push(at);
                    }
                }
            }
        }
        (labels, count as usize)
    }

    proptest! {
        #[test]
        fn labels_equal_a_flood_fill(
            bits in proptest::collection::vec(prop::bool::weighted(0.3), 5 * 6 * 7),
        ) {
            let mask = Array3::from_shape_vec((5, 6, 7), bits).unwrap();
            for connectivity in [Connectivity::Six, Connectivity::Eighteen, Connectivity::TwentySix] {
                prop_assert_eq!(label(mask.view(), connectivity).unwrap(), flooded(&mask, connectivity));
            }
        }
    }

    #[test]
    fn a_corner_joins_only_with_26_neighbours() {
        let mut mask = Array3::from_elem((2, 2, 2), false);
        mask[[0, 0, 0]] = true;
        mask[[1, 1, 1]] = true;
        assert_eq!(label(mask.view(), Connectivity::TwentySix).unwrap().1, 1);
        assert_eq!(label(mask.view(), Connectivity::Eighteen).unwrap().1, 2);
    }

    #[test]
    fn an_empty_volume_has_no_components() {
        let mask = Array3::from_elem((0, 4, 4), false);
        assert_eq!(label(mask.view(), Connectivity::default()).unwrap().1, 0);
    }

    #[test]
    fn more_components_than_a_label_map_holds_are_refused() {
        let mask = Array3::from_shape_fn((2, 512, 512), |(z, y, x)| z == 0 && y % 2 == 0 && x % 2 == 0);
        assert_eq!(
            label(mask.view(), Connectivity::default()).map(|found| found.1),
            Err(LabelError::TooMany { found: 65_536 })
        );
    }
}
