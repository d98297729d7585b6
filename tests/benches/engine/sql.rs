//! What a user would write instead: the headers in a table, and all series, reports and lesion counts recomputed by one
//! query after each change.

use std::time::Instant;

use rusqlite::{Connection, params};
use sulcus_tests::PeerError;
use sulcus_tests::bench::{Bench, scratch};

use crate::failed;
use crate::history::SLICES;

const TABLES: &str = "
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -262144;
CREATE TABLE instances (study INTEGER, series INTEGER, number INTEGER, position INTEGER, expected INTEGER);
CREATE INDEX by_series ON instances (series);
CREATE TABLE lesions (series INTEGER, lesion INTEGER, volume INTEGER);
CREATE TABLE verdicts (series INTEGER, lesion INTEGER, rejected INTEGER);
";

/// Series with their completeness, joined with what stands of their lesions.
const QUERY: &str = "
SELECT count(*), sum(volume) FROM (
    SELECT s.series, sum(l.volume) AS volume FROM (
        SELECT series FROM instances GROUP BY series
        HAVING count(*) = max(expected) AND max(position) - min(position) = (count(*) - 1) * 1000
    ) s
    LEFT JOIN lesions l ON l.series = s.series
    LEFT JOIN verdicts v ON v.series = l.series AND v.lesion = l.lesion
    WHERE ifnull(v.rejected, 0) = 0
    GROUP BY s.series
)";

/// Recomputes at 1,000 series and at ten times as many, up to `largest`.
pub fn measure(bench: &mut Bench, largest: usize) -> Result<(), PeerError> {
    let folder = scratch()?;
    let mut database = Connection::open(folder.path().join("instances.sqlite")).map_err(failed)?;
    database.execute_batch(TABLES).map_err(failed)?;
    let mut filled = 0;
    for size in [1_000, 10_000, 100_000].into_iter().filter(|size| *size <= largest) {
        fill(&mut database, filled..size).map_err(failed)?;
        filled = size;
        for change in 0..3 {
            let late = params![0, change, SLICES + 1, (SLICES + 1) * 1000, SLICES + 1];
            database.execute("INSERT INTO instances VALUES (?, ?, ?, ?, ?)", late).map_err(failed)?;
            let start = Instant::now();
            let series: i64 = database.query_row(QUERY, [], |row| row.get(0)).map_err(failed)?;
            bench.add(&format!("{size} recomputed by SQL"), "ms", start.elapsed().as_secs_f64() * 1000.0);
            println!("{series} series stand");
        }
    }
    Ok(())
}

fn fill(database: &mut Connection, series: std::ops::Range<usize>) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    {
        let mut slice = transaction.prepare("INSERT INTO instances VALUES (?, ?, ?, ?, ?)")?;
        let mut lesion = transaction.prepare("INSERT INTO lesions VALUES (?, ?, ?)")?;
        for series in series {
            let series = series as i64;
            for number in 1..=SLICES {
                slice.execute(params![series, series, number, number * 1000, SLICES])?;
            }
            for number in 0..series % 7 {
                lesion.execute(params![series, number, 31_000])?;
            }
        }
    }
    transaction.commit()
}
