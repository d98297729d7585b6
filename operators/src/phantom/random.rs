//! Numbers that look random and follow from a seed alone: a generator for the placing of things, and a hash for
//! noise that is the same whatever order voxels are computed in.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one step of the finaliser.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sequence of numbers from a seed and a name, so that one purpose's draws never shift another's.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    state: u64,
}

impl Draws {
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let state = purpose.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Draws { state }
    }

    pub(super) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Evenly in `low..high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.word() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// Evenly in `low..=high`; `low` where `high` is below it.
    pub(super) fn count(&mut self, low: usize, high: usize) -> usize {
        low + (self.word() % (high.saturating_sub(low) as u64 + 1)) as usize
    }

    /// Evenly on the unit sphere (Marsaglia's rejection).
    pub(super) fn direction(&mut self) -> [f32; 3] {
        loop {
            let p = [self.between(-1.0, 1.0), self.between(-1.0, 1.0), self.between(-1.0, 1.0)];
            let length = p.iter().map(|x| x * x).sum::<f32>().sqrt();
            if (0.1..=1.0).contains(&length) {
                return p.map(|x| x / length);
            }
        }
    }
}

/// A normal deviate of mean 0 and standard deviation 1, within 3.46: the scaled sum of four 16-bit uniforms of one
/// hash (Irwin-Hall), which is close enough for scanner noise and needs no logarithm.
pub(super) fn normal(key: u64) -> f32 {
    let word = mix(key);
    let sum = (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
    (sum as f32 / 65536.0 - 2.0) * 3f32.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_zero_and_deviation_one() {
        let n = 100_000u64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for key in 0..n {
            let x = f64::from(normal(key));
            sum += x;
            squares += x * x;
        }
        assert!((sum / n as f64).abs() < 0.02);
        assert!((squares / n as f64 - 1.0).abs() < 0.02);
    }

    #[test]
    fn equal_seeds_draw_equally_and_purposes_differ() {
        let draw = |seed, purpose| Draws::new(seed, purpose).word();
        assert_eq!(draw(7, "folds"), draw(7, "folds"));
        assert_ne!(draw(7, "folds"), draw(8, "folds"));
        assert_ne!(draw(7, "folds"), draw(7, "lesions"));
    }
}
