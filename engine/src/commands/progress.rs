//! Progress: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// A plain line is printed at most this often.
const PLAIN_PAUSE: Duration = Duration::from_secs(2);

/// How far something has come.
pub(super) struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    pub(super) fn new(what: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix:24} {bar:40} {pos}/{len}");
            let bar = ProgressBar::new(0).with_prefix(what.to_owned());
            if let Ok(style) = style { bar.with_style(style) } else { bar }
        });
        Progress { what: what.to_owned(), bar, said: Instant::now() }
    }

    pub(super) fn at(&mut self, done: usize, of: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(of as u64);
                bar.set_position(done as u64);
            }
            None if self.said.elapsed() >= PLAIN_PAUSE || done == of => {
                eprintln!("{}: {done} of {of}", self.what);
                self.said = Instant::now();
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
