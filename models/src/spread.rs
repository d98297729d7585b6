//! How scans are spread in the space of their features, and how far a point is from them: Mahalanobis' distance.
//!
//! Features are divided by their standard deviations, and their covariance S is shrunk towards a multiple of the identity
//! by Ledoit and Wolf's share l (J. Multivariate Analysis 88, 2004), since there are often fewer scans than features:
//!
//! ```text
//! distance(z)^2 = z' ((1 - l) S + l tr(S)/p I)^-1 z
//! ```
//!
//! A scan's distance from the others is that with it left out of mean and covariance. It follows from the whole by
//! Sherman and Morrison's formula; the standard deviations and l are those of all scans.

/// A feature that hardly varies counts as if it varied by this share of what features do on the whole: else what
/// devices add to it in the last digits would look like distance.
const LEAST_SPREAD: f64 = 0.01;

/// Why there is no spread.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Scans are alike.
    Alike,
    /// The covariance has no inverse.
    Singular,
}

/// The spread of scans.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    mean: Vec<f64>,
    scale: Vec<f64>,
    covariance: Factor,
    /// Each scan's distance from the others, ascending.
    distances: Vec<f64>,
}

impl Spread {
    /// Of scans (at least 3) with equally many finite features.
    pub(crate) fn of(scans: &[Vec<f32>]) -> Result<Self, Unusable> {
        let n = scans.len() as f64;
        let features = scans.first().map_or(0, Vec::len);
        let column = |feature: usize| scans.iter().map(move |scan| f64::from(scan[feature]));
        let mean: Vec<f64> = (0..features).map(|feature| column(feature).sum::<f64>() / n).collect();
        let variance = |(feature, mean): (usize, &f64)| column(feature).map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let variances: Vec<f64> = mean.iter().enumerate().map(variance).collect();
        let least = LEAST_SPREAD * (variances.iter().sum::<f64>() / features as f64).sqrt();
        if least <= 0.0 || !least.is_finite() {
            return Err(Unusable::Alike);
        }
        let scale: Vec<f64> = variances.iter().map(|variance| variance.sqrt().max(least)).collect();
        let points: Vec<Vec<f64>> =
            scans.iter().map(|scan| standardised(scan.iter().copied(), &mean, &scale)).collect();

        let products = products(&points, features);
        let (share, target) = shrinkage(&points, &products);
        let shrunk = |divisor: f64| {
            let mut matrix: Vec<Vec<f64>> =
                products.iter().map(|row| row.iter().map(|sum| (1.0 - share) * sum / divisor).collect()).collect();
            matrix.iter_mut().enumerate().for_each(|(at, row)| row[at] += share * target);
            Factor::of(matrix).ok_or(Unusable::Singular)
        };
        // What remains when a scan is left out is divided by one scan less.
        let others = shrunk(n - 1.0)?;
        let (step, taken) = (n / (n - 1.0), (1.0 - share) * n / (n - 1.0).powi(2));
        let mut distances: Vec<f64> = points
            .iter()
            .map(|point| others.form(point))
            .map(|form| step * (form / (1.0 - taken * form)).sqrt())
            .collect();
        distances.sort_by(f64::total_cmp);
        let spread = Spread { mean, scale, covariance: shrunk(n)?, distances };
        // Where half of the scans lie in one place, there is no usual distance.
        if spread.usual() > 0.0 && spread.distances.iter().all(|distance| distance.is_finite()) {
            Ok(spread)
        } else {
            Err(Unusable::Alike)
        }
    }

    /// Distance of other features, as many as the scans have.
    pub(crate) fn distance(&self, features: &[f64]) -> f64 {
        self.covariance.form(&standardised(features.iter().copied(), &self.mean, &self.scale)).sqrt()
    }

    /// The median of the scans' distances from the others.
    pub(crate) fn usual(&self) -> f64 {
        self.distances.get(self.distances.len() / 2).copied().unwrap_or_default()
    }

    /// How many scans are nearer to the others than this.
    pub(crate) fn nearer(&self, distance: f64) -> usize {
        self.distances.partition_point(|other| *other < distance)
    }
}

fn standardised(features: impl Iterator<Item = impl Into<f64>>, mean: &[f64], scale: &[f64]) -> Vec<f64> {
    features.zip(mean.iter().zip(scale)).map(|(feature, (mean, scale))| (feature.into() - mean) / scale).collect()
}

/// Sums over points of the products of two features, of which the second is not above the first.
fn products(points: &[Vec<f64>], features: usize) -> Vec<Vec<f64>> {
    let mut sums: Vec<Vec<f64>> = (1..=features).map(|length| vec![0.0; length]).collect();
    for point in points {
        for (row, one) in sums.iter_mut().zip(point) {
            row.iter_mut().zip(point).for_each(|(sum, other)| *sum += one * other);
        }
    }
    sums
}

/// Ledoit and Wolf's share of the target, and the target: the mean variance.
fn shrinkage(points: &[Vec<f64>], products: &[Vec<f64>]) -> (f64, f64) {
    let (n, p) = (points.len() as f64, products.len() as f64);
    let target = products.iter().filter_map(|row| row.last()).sum::<f64>() / n / p;
    let (mut diagonal, mut beside) = (0.0, 0.0);
    for row in products {
        if let Some((last, others)) = row.split_last() {
            diagonal += (last / n).powi(2);
            beside += others.iter().map(|sum| (sum / n).powi(2)).sum::<f64>();
        }
    }
    let squared = diagonal + 2.0 * beside;
    let fourth: f64 = points.iter().map(|point| point.iter().map(|x| x * x).sum::<f64>().powi(2)).sum();
    let apart = squared / p - target * target;
    let noise = (fourth - n * squared) / (n * n * p);
    (if apart > 0.0 { (noise / apart).clamp(0.0, 1.0) } else { 1.0 }, target)
}

/// Cholesky's factor of a positive definite matrix: its lower triangle, by rows.
#[derive(Clone, Debug)]
struct Factor(Vec<Vec<f64>>);

impl Factor {
    /// Of a matrix's lower triangle; none where it is not positive definite.
    fn of(mut rows: Vec<Vec<f64>>) -> Option<Self> {
        for at in 0..rows.len() {
            let (done, rest) = rows.split_at_mut(at);
            let row = rest.first_mut()?;
            for column in 0..=at {
                let above = done.get(column).map_or(&row[..column], |above| &above[..column]);
                let sum: f64 = above.iter().zip(row.iter()).map(|(a, b)| a * b).sum();
                let left = row[column] - sum;
                row[column] = match done.get(column) {
                    Some(above) => left / above[column],
                    // Less than rounding leaves of a diagonal is nothing.
                    None if left > 1e-12 * row[column].abs() => left.sqrt(),
                    None => return None,
                };
            }
        }
        Some(Factor(rows))
    }

    /// x' A^-1 x for the matrix A.
    fn form(&self, x: &[f64]) -> f64 {
        let mut solved: Vec<f64> = Vec::with_capacity(x.len());
        for (row, value) in self.0.iter().zip(x) {
            let sum: f64 = row.iter().zip(&solved).map(|(a, b)| a * b).sum();
            solved.push((value - sum) / row[solved.len()]);
        }
        solved.iter().map(|y| y * y).sum()
    }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
