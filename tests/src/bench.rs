//! What every bench gives: medians with their spread, ratios to peers, a table, and `target/bench/NAME.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::PeerError;
use crate::places::root;

/// One bench's figures, collected round by round.
#[derive(Debug)]
pub struct Bench {
    name: String,
    figures: BTreeMap<String, (&'static str, Vec<f64>)>,
    ratios: BTreeMap<String, f64>,
}

impl Bench {
    /// A bench without figures yet.
    pub fn new(name: &str) -> Bench {
        Bench { name: name.to_owned(), figures: BTreeMap::new(), ratios: BTreeMap::new() }
    }

    /// Adds one round's value of a figure.
    pub fn add(&mut self, figure: &str, unit: &'static str, value: f64) {
        println!("{figure}: {value:.3} {unit}");
        self.figures.entry(figure.to_owned()).or_insert_with(|| (unit, Vec::new())).1.push(value);
    }

    /// The median of a figure's rounds.
    pub fn median(&self, figure: &str) -> Option<f64> {
        median(&self.figures.get(figure)?.1)
    }

    /// States how many times better `ours` is than `theirs` where more is better; nothing where either was not
    /// measured.
    pub fn ratio_of_rates(&mut self, name: &str, ours: &str, theirs: &str) {
        self.ratio(name, self.median(ours), self.median(theirs));
    }

    /// States how many times better `ours` is than `theirs` where less is better, as for times.
    pub fn ratio_of_times(&mut self, name: &str, ours: &str, theirs: &str) {
        self.ratio(name, self.median(theirs), self.median(ours));
    }

    fn ratio(&mut self, name: &str, above: Option<f64>, below: Option<f64>) {
        if let (Some(above), Some(below)) = (above, below)
            && below > 0.0
        {
            self.ratios.insert(name.to_owned(), above / below);
        }
    }

    /// All figures and ratios, with the machine they were measured on.
    pub fn to_json(&self) -> Value {
        let figures: BTreeMap<&String, Value> = self
            .figures
            .iter()
            .map(|(name, (unit, rounds))| {
                let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
                let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                (name, json!({"value": median(rounds), "unit": unit, "min": least, "max": most}))
            })
            .collect();
        json!({"bench": self.name, "machine": machine(), "figures": figures, "ratios": self.ratios})
    }

    /// The same as a table for the terminal.
    pub fn table(&self) -> String {
        let widest = self.figures.keys().chain(self.ratios.keys()).map(String::len).max().unwrap_or(0);
        let mut table = format!("\n{:widest$}  {:>10}  {:>10}  {:>10}\n", self.name, "median", "min", "max");
        for (name, (unit, rounds)) in &self.figures {
            let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let middle = median(rounds).unwrap_or(f64::NAN);
            table += &format!("{name:widest$}  {middle:>10.3}  {least:>10.3}  {most:>10.3}  {unit}\n");
        }
        for (name, ratio) in &self.ratios {
            table += &format!("{name:widest$}  {ratio:>10.2}  times better\n");
        }
        table
    }

    /// Prints the table and writes the JSON where `SULCUS_BENCH_JSON` says, or else into `target/bench`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(&self) -> Result<(), PeerError> {
        println!("{}", self.table());
        let file = std::env::var_os("SULCUS_BENCH_JSON")
            .map_or_else(|| root().join("target/bench").join(format!("{}.json", self.name)), PathBuf::from);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&file, format!("{:#}\n", self.to_json()))?;
        Ok(())
    }
}

/// Runs a bench with the number of rounds that its command line gives, or else `usual`.
pub fn rounds(usual: u32, run: impl FnOnce(u32) -> Result<(), PeerError>) -> ExitCode {
    match run(std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(usual)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(PeerError::Absent(reason) | PeerError::Failed(reason)) => {
            eprintln!("failed: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// A folder on the disk that the project lies on, not on a memory disk, removed at the end.
///
/// # Errors
/// Where it cannot be made.
pub fn scratch() -> Result<tempfile::TempDir, PeerError> {
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    Ok(tempfile::tempdir_in(folder)?)
}

/// Items each second.
pub fn rate(items: u32, time: Duration) -> f64 {
    f64::from(items) / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

fn machine() -> Value {
    let after = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':').map(|(_, value)| value.trim()));
        line.map(str::to_owned)
    };
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": after("/proc/cpuinfo", "model name"),
        "memory": after("/proc/meminfo", "MemTotal"),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> Bench {
        let mut bench = Bench::new("receive");
        for value in [10.0, 30.0, 20.0] {
            bench.add("ours", "files/s", value);
        }
        bench.add("theirs", "files/s", 8.0);
        bench.add("theirs", "files/s", 12.0);
        bench
    }

    #[test]
    fn a_figure_is_its_median_with_its_spread() {
        let json = bench().to_json();
        assert_eq!(json["bench"], "receive");
        assert_eq!(json["figures"]["ours"], json!({"value": 20.0, "unit": "files/s", "min": 10.0, "max": 30.0}));
        assert_eq!(json["figures"]["theirs"]["value"], 10.0);
        assert!(json["machine"]["cores"].as_u64() > Some(0));
    }

    #[test]
    fn a_ratio_says_how_many_times_better_whatever_better_means() {
        let mut bench = bench();
        bench.ratio_of_rates("rate", "ours", "theirs");
        bench.ratio_of_times("time", "ours", "theirs");
        bench.ratio_of_rates("gone", "ours", "nobody");
        assert_eq!(bench.to_json()["ratios"], json!({"rate": 2.0, "time": 0.5}));
        assert!(bench.table().contains("times better"));
    }
}
