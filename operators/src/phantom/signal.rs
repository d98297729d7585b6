//! How bright the tissues are: the steady state of MP2RAGE and MPRAGE, coil bias and noise.
//!
//! The steady state follows Marques et al., NeuroImage 49:1271 (2010): between inversions the longitudinal
//! magnetisation passes free recoveries and trains of small flips, each of which maps m to a + b m; one period of
//! these maps has one fixed point, and the signal is what stands before the train's middle flip. Relaxation times at
//! 3T and 7T are rounded from that paper and Marques and Gruetter, PLoS ONE 8:e69294 (2013). Cortical lesions get
//! 1.25 to 1.5 times the T1 of grey matter, which is our assumption and makes them darker than cortex.

use super::head::{Shares, TISSUES};
use super::random::{Draws, normal};
use super::shape::Point;
use super::{Field, PhantomSpec, Sequence};

/// T1 in seconds and proton density relative to CSF, by tissue; zero density gives no signal.
const fn relaxation(field: Field) -> [(f64, f64); TISSUES] {
    match field {
        //             air         bone          fat          muscle      CSF
        Field::T3 => [
            (1.0, 0.0),
            (0.6, 0.03),
            (0.37, 0.9),
            (1.4, 0.6),
            (4.0, 1.0),
            (1.35, 0.80),
            (0.83, 0.70),
            (1.08, 0.76),
            (1.85, 0.84),
        ],
        Field::T7 => [
            (1.0, 0.0),
            (0.8, 0.03),
            (0.55, 0.9),
            (1.8, 0.6),
            (4.2, 1.0),
            (1.90, 0.80),
            (1.15, 0.70),
            (1.55, 0.76),
            (2.60, 0.84),
        ],
    }
}

/// One train of small flips after an inversion.
#[derive(Clone, Copy, Debug)]
struct Train {
    /// From the inversion to the middle of the train, s.
    inversion_time: f64,
    /// Flip angle, degrees.
    flip: f64,
}

/// The timing of one protocol.
#[derive(Clone, Debug)]
pub(super) struct Protocol {
    /// From one inversion to the next, s.
    pub(super) repetition: f64,
    /// Between flips of a train, s.
    pub(super) echo_spacing: f64,
    /// Echo time, s.
    pub(super) echo_time: f64,
    /// Flips of a train.
    pub(super) flips: u32,
    trains: Vec<Train>,
}

/// Inversion efficiency of an adiabatic pulse (Marques 2010).
const INVERSION: f64 = 0.96;

impl Protocol {
    /// Protocols as they are common at each field strength.
    pub(super) fn of(field: Field, sequence: Sequence) -> Self {
        let train = |inversion_time, flip| Train { inversion_time, flip };
        let (repetition, echo_spacing, echo_time, flips, trains) = match (sequence, field) {
            (Sequence::Mp2rage, Field::T3) => (5.0, 0.0070, 0.0030, 160, vec![train(0.7, 4.0), train(2.5, 5.0)]),
            (Sequence::Mp2rage, Field::T7) => (6.0, 0.0068, 0.0025, 176, vec![train(0.8, 4.0), train(2.7, 5.0)]),
            (Sequence::Mprage, Field::T3) => (2.3, 0.0070, 0.0030, 176, vec![train(0.9, 9.0)]),
            (Sequence::Mprage, Field::T7) => (2.6, 0.0066, 0.0026, 192, vec![train(1.05, 6.0)]),
        };
        Protocol { repetition, echo_spacing, echo_time, flips, trains }
    }

    /// Inversion times, s, and flip angles, degrees, of the trains.
    pub(super) fn trains(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.trains.iter().map(|train| (train.inversion_time, train.flip))
    }

    /// Signed signals of a tissue with the given T1, s, at the middle of each train, as a share of full
    /// magnetisation; flips are scaled by `transmit`.
    fn steady_state(&self, t1: f64, transmit: f64) -> Vec<f64> {
        let recovery = |time: f64| {
            let b = (-time / t1).exp();
            (1.0 - b, b)
        };
        let half = f64::from(self.flips) / 2.0;
        let flipping = |degrees: f64| {
            let cosine = (degrees.to_radians() * transmit).cos();
            let (a, b) = recovery(self.echo_spacing);
            let power = (cosine * b).powf(half);
            (a * (1.0 - power) / (1.0 - cosine * b), power)
        };
        // The period as maps, with the place of each train's middle.
        let mut maps = vec![(0.0, -INVERSION)];
        let mut middles = Vec::new();
        let mut now = 0.0;
        for train in &self.trains {
            maps.push(recovery(train.inversion_time - half * self.echo_spacing - now));
            maps.push(flipping(train.flip));
            middles.push((maps.len(), (train.flip.to_radians() * transmit).sin()));
            maps.push(flipping(train.flip));
            now = train.inversion_time + half * self.echo_spacing;
        }
        maps.push(recovery(self.repetition - now));
        let (a, b) = maps.iter().fold((0.0, 1.0), |(a, b), (c, d)| (c + d * a, d * b));
        let fixed = a / (1.0 - b);
        let before = |count: usize| maps.iter().take(count).fold(fixed, |m, (a, b)| a + b * m);
        middles.into_iter().map(|(place, sine)| sine * before(place)).collect()
    }
}

/// Steps of the tabulated transmit field, from `LOWEST` to `HIGHEST` of the nominal flip.
const STEPS: usize = 64;
const LOWEST: f32 = 0.4;
const HIGHEST: f32 = 1.5;

/// Tabulated signals, bias and noise of one scan.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    sequence: Sequence,
    /// By step of the transmit field, then tissue: the signals of the trains (the second is zero for one train).
    table: Vec<[[f32; 2]; TISSUES]>,
    /// Standard deviation of each of the two noise components.
    noise: f32,
    /// Strength of receive and transmit bias.
    bias: [f32; 2],
    /// Where the coils are most sensitive.
    centre: Point,
    /// The factor from signal to stored magnitude.
    gain: f32,
    seed: u64,
}

impl Signal {
    pub(super) fn new(spec: &PhantomSpec) -> Self {
        let PhantomSpec { field, sequence, seed, .. } = *spec;
        let voxel_mm3 = spec.spacing_mm.iter().product::<f64>();
        let protocol = Protocol::of(field, sequence);
        let table: Vec<[[f32; 2]; TISSUES]> = (0..STEPS)
            .map(|step| {
                let transmit = LOWEST + (HIGHEST - LOWEST) * step as f32 / (STEPS - 1) as f32;
                relaxation(field).map(|(t1, density)| {
                    let signals = protocol.steady_state(t1, f64::from(transmit));
                    std::array::from_fn(|i| signals.get(i).map_or(0.0, |s| (s * density) as f32))
                })
            })
            .collect();
        // Noise grows as voxels shrink; 7T brings about twice the signal.
        let strength = match field {
            Field::T3 => 1.0,
            Field::T7 => 2.2,
        };
        let noise = spec.noise * 0.00055 / (voxel_mm3 as f32 * strength).clamp(0.05, 8.0);
        let bias = match field {
            Field::T3 => [0.25, 0.14],
            Field::T7 => [0.45, 0.38],
        }
        .map(|strength| strength * spec.bias);
        let mut draws = Draws::new(seed, "bias");
        let centre = [draws.between(-25.0, 25.0), draws.between(-25.0, 25.0), draws.between(-15.0, 15.0)];
        Signal { sequence, table, noise, bias, centre, gain: 9000.0, seed: seed ^ 0x6e6f_6973_6521 }
    }

    /// How many images one scan gives.
    pub(super) fn images(&self) -> usize {
        match self.sequence {
            Sequence::Mp2rage => 3,
            Sequence::Mprage => 1,
        }
    }

    /// The stored intensities of a voxel: UNI, INV1 and INV2 for MP2RAGE, the one image for MPRAGE (then zeros).
    /// `number` is the voxel's own and picks its noise.
    pub(super) fn measure(&self, p: Point, shares: &Shares, number: u64) -> [f32; 3] {
        let q: Point = std::array::from_fn(|i| (p[i] - self.centre[i]) / 85.0);
        let far = q[0] * q[0] + q[1] * q[1] + q[2] * q[2];
        let transmit = 1.0 + self.bias[1] * (0.45 - 1.1 * far + 0.3 * q[0] * q[1]);
        let receive = 1.0 + self.bias[0] * (0.8 * far - 0.5 + 0.4 * q[2] - 0.3 * q[0]);
        let place = ((transmit - LOWEST) / (HIGHEST - LOWEST)).clamp(0.0, 1.0) * (STEPS - 1) as f32;
        let step = (place as usize).min(STEPS - 2);
        let (low, high) = (&self.table[step], &self.table[step + 1]);
        let part = place - step as f32;
        let mut signal = [0.0f32; 2];
        for tissue in 0..TISSUES {
            if shares[tissue] > 0.0 {
                for train in 0..2 {
                    let tabulated = low[tissue][train] + part * (high[tissue][train] - low[tissue][train]);
                    signal[train] += shares[tissue] * tabulated;
                }
            }
        }
        let noise = |component: u64| self.noise * normal(self.seed.wrapping_add(number.wrapping_mul(4) + component));
        let receive = receive.max(0.2);
        let first = [signal[0] * receive + noise(0), noise(1)];
        let magnitude = |s: [f32; 2]| (s[0] * s[0] + s[1] * s[1]).sqrt() * self.gain;
        match self.sequence {
            Sequence::Mprage => [magnitude(first), 0.0, 0.0],
            Sequence::Mp2rage => {
                let second = [signal[1] * receive + noise(2), noise(3)];
                let product = first[0] * second[0] + first[1] * second[1];
                let power = |s: [f32; 2]| s[0] * s[0] + s[1] * s[1];
                let uniform = product / (power(first) + power(second)).max(f32::MIN_POSITIVE);
                [4095.0 * (uniform + 0.5), magnitude(first), magnitude(second)]
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::head::Tissue;
    use super::*;

    /// The closed forms of Marques 2010, equations 1 to 3.
    fn marques(p: &Protocol, t1: f64) -> [f64; 2] {
        let [(ti1, a1), (ti2, a2)]: [(f64, f64); 2] = p.trains().collect::<Vec<_>>().try_into().unwrap();
        let n = f64::from(p.flips);
        let (c1, c2) = (a1.to_radians().cos(), a2.to_radians().cos());
        let e1 = (-p.echo_spacing / t1).exp();
        let ea = (-(ti1 - n * p.echo_spacing / 2.0) / t1).exp();
        let eb = (-(ti2 - ti1 - n * p.echo_spacing) / t1).exp();
        let ec = (-(p.repetition - ti2 - n * p.echo_spacing / 2.0) / t1).exp();
        let train = |c: f64, k: f64| (1.0 - e1) * (1.0 - (c * e1).powf(k)) / (1.0 - c * e1);
        let after1 = (1.0 - ea) * (c1 * e1).powf(n) + train(c1, n);
        let after2 = (after1 * eb + 1.0 - eb) * (c2 * e1).powf(n) + train(c2, n);
        let top = after2 * ec + 1.0 - ec;
        let mz = top / (1.0 + INVERSION * (c1 * c2).powf(n) * (-p.repetition / t1).exp());
        let first = (-INVERSION * mz * ea + 1.0 - ea) * (c1 * e1).powf(n / 2.0) + train(c1, n / 2.0);
        let second = (mz - (1.0 - ec)) / (ec * (c2 * e1).powf(n / 2.0))
            - (1.0 - e1) * ((c2 * e1).powf(-n / 2.0) - 1.0) / (1.0 - c2 * e1);
        [a1.to_radians().sin() * first, a2.to_radians().sin() * second]
    }

    #[test]
    fn the_steady_state_equals_the_published_closed_form() {
        for field in [Field::T3, Field::T7] {
            let protocol = Protocol::of(field, Sequence::Mp2rage);
            for t1 in [0.4, 0.85, 1.35, 2.0, 4.0] {
                for (ours, theirs) in protocol.steady_state(t1, 1.0).into_iter().zip(marques(&protocol, t1)) {
                    assert!((ours - theirs).abs() < 1e-9, "{field:?} {t1}: {ours} {theirs}");
                }
            }
        }
    }

    #[test]
    fn white_matter_is_brighter_than_grey_grey_than_lesion_and_lesion_than_csf() {
        for field in [Field::T3, Field::T7] {
            for sequence in [Sequence::Mp2rage, Sequence::Mprage] {
                let signal = Signal::new(&PhantomSpec { noise: 0.0, ..PhantomSpec::demo(field, sequence, 1) });
                let of = |tissue: Tissue| {
                    let mut shares = [0.0; TISSUES];
                    shares[tissue as usize] = 1.0;
                    signal.measure([0.0; 3], &shares, 0)[0]
                };
                let order = [Tissue::White, Tissue::Grey, Tissue::Lesion, Tissue::Csf].map(of);
                assert!(order.windows(2).all(|pair| pair[0] > pair[1] * 1.1), "{field:?} {sequence:?} {order:?}");
                assert!(order.iter().all(|s| (0.0..4095.0).contains(s)), "{order:?}");
            }
        }
    }
}
