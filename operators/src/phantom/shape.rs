//! Distances to simple shapes in head space, with their outward normals, and the smooth joining of shapes.
//!
//! Positions and distances are millimetres; a distance is positive inside.

/// A point or direction of head space: x to the left, y to the back, z upwards (LPS), mm.
pub(super) type Point = [f32; 3];

/// Depth below a surface and the direction out of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    pub(super) mm: f32,
    pub(super) out: Point,
}

impl Depth {
    pub(super) fn grown(self, mm: f32) -> Self {
        Depth { mm: self.mm + mm, ..self }
    }
}

pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// `a + t b`.
pub(super) fn along(a: Point, t: f32, b: Point) -> Point {
    [a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]]
}

fn blend(a: f32, b: f32, share_of_a: f32) -> f32 {
    b + (a - b) * share_of_a
}

fn blend_points(a: Point, b: Point, share_of_a: f32) -> Point {
    std::array::from_fn(|i| blend(a[i], b[i], share_of_a))
}

/// What lies in both shapes, the edge rounded over `width` mm (polynomial smooth minimum).
pub(super) fn both(a: Depth, b: Depth, width: f32) -> Depth {
    let share = (0.5 + 0.5 * (b.mm - a.mm) / width).clamp(0.0, 1.0);
    Depth { mm: blend(a.mm, b.mm, share) - width * share * (1.0 - share), out: blend_points(a.out, b.out, share) }
}

/// What lies in either shape, the groove filled over `width` mm.
pub(super) fn either(a: Depth, b: Depth, width: f32) -> Depth {
    let share = (0.5 + 0.5 * (a.mm - b.mm) / width).clamp(0.0, 1.0);
    Depth { mm: blend(a.mm, b.mm, share) + width * share * (1.0 - share), out: blend_points(a.out, b.out, share) }
}

/// An ellipsoid with the given half axes. The distance is exact at the surface and good within a third of the
/// smallest half axis.
pub(super) fn ellipsoid(point: Point, centre: Point, axes: Point) -> Depth {
    let p: Point = std::array::from_fn(|i| point[i] - centre[i]);
    let scaled = length(std::array::from_fn(|i| p[i] / axes[i]));
    let slope: Point = std::array::from_fn(|i| p[i] / (axes[i] * axes[i]));
    let steepness = length(slope);
    if steepness < 1e-6 {
        return Depth { mm: axes[0].min(axes[1]).min(axes[2]), out: [0.0, 0.0, 1.0] };
    }
    Depth { mm: scaled * (1.0 - scaled) / steepness, out: slope.map(|x| x / steepness) }
}

/// A rod from `from` to `to` with a radius that changes evenly.
pub(super) fn rod(point: Point, from: Point, to: Point, radii: [f32; 2]) -> f32 {
    let axis = along(to, -1.0, from);
    let p = along(point, -1.0, from);
    let t = (dot(p, axis) / dot(axis, axis)).clamp(0.0, 1.0);
    blend(radii[1], radii[0], t) - length(along(p, -t, axis))
}

/// The share of a voxel that lies inside a surface, from the depth of the voxel's centre below it.
pub(super) fn share_inside(depth: f32, voxel: f32) -> f32 {
    (0.5 + depth / voxel).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipsoid_is_deep_inside_and_shallow_at_its_surface() {
        let axes = [60.0, 80.0, 50.0];
        assert!(ellipsoid([60.0, 0.0, 0.0], [0.0; 3], axes).mm.abs() < 1e-3);
        assert!((ellipsoid([0.0, 79.0, 0.0], [0.0; 3], axes).mm - 1.0).abs() < 0.05);
        assert!(ellipsoid([0.0, 0.0, 51.0], [0.0; 3], axes).mm < 0.0);
        assert_eq!(ellipsoid([0.0; 3], [0.0; 3], axes).mm, 50.0);
    }

    #[test]
    fn joining_keeps_the_nearer_surface_far_from_the_edge() {
        let a = Depth { mm: 1.0, out: [1.0, 0.0, 0.0] };
        let b = Depth { mm: 9.0, out: [0.0, 1.0, 0.0] };
        assert_eq!(both(a, b, 2.0).mm, 1.0);
        assert_eq!(both(a, b, 2.0).out, a.out);
        assert_eq!(either(a, b, 2.0).mm, 9.0);
        assert_eq!(either(a, b, 2.0).out, b.out);
    }

    #[test]
    fn a_voxel_on_the_border_is_half_inside() {
        assert_eq!(share_inside(0.0, 1.0), 0.5);
        assert_eq!(share_inside(0.6, 1.0), 1.0);
        assert_eq!(share_inside(-3.0, 1.0), 0.0);
    }
}
