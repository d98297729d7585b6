//! Plain tables for terminals: columns padded to their widest cell.

use super::words::shortened;

/// How wide a terminal is taken to be.
const WIDTH: usize = 120;

/// A table with a header row.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(header: [&str; N]) -> Self {
        Table::of(header.map(str::to_owned).to_vec())
    }

    pub(super) fn of(header: Vec<String>) -> Self {
        Table { rows: vec![header] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.to_vec());
    }

    pub(super) fn cells(&mut self, cells: Vec<String>) {
        let plain = |cell: String| cell.replace(char::is_control, "\u{fffd}");
        self.rows.push(cells.into_iter().map(plain).collect());
    }

    /// A line of its own above the rows that follow.
    pub(super) fn heading(&mut self, words: &str) {
        self.rows.push(vec![words.to_owned()]);
    }

    /// Prints the table, or nothing where it has no rows beside its header.
    pub(super) fn print(&self) {
        if self.rows.len() > 1 {
            self.lines().iter().for_each(|line| outln!("{line}"));
        }
    }

    /// The same, no line longer than a terminal is wide: cells of the last column are cut.
    pub(super) fn print_narrow(&self) {
        if self.rows.len() > 1 {
            self.lines().iter().for_each(|line| outln!("{}", shortened(line, WIDTH)));
        }
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let cells = || self.rows.iter().filter(|row| row.len() == columns);
        let widths: Vec<usize> = (0..columns)
            .map(|column| cells().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let padded = |row: &Vec<String>| {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("  {}", line.join("  ").trim_end())
        };
        self.rows.iter().map(|row| if row.len() == columns { padded(row) } else { row.concat() }).collect()
    }
}
