//! The tasks: `cargo xtask NAME` sets the project up, builds it, checks it, measures it.
//!
//! Owns the order of steps and the folder `runtime/` that they fill. Leaves what is tested to `tests` and what is
//! measured to `tests/benches`.

mod bench;
mod checks;
mod demo;
mod ohif;
mod oracle;
mod packages;
mod peers;
mod runtime;
mod setup;
mod step;
mod tidy;
mod train;

use std::process::ExitCode;

use step::Failure;

const USAGE: &str = "\
usage: cargo xtask TASK

  demo [ARGS]   set up, build, and run `sulcus demo ARGS`
  test          everything CI runs: set-up, format, lints, docs, tidy, tests
  setup         fetch ONNX Runtime, build tools and the peers that tests talk to, into runtime/
  oracle        write nnU-Net's own answers to larger cases, and compare (fetches nnU-Net and torch, 6 GB)
  train [N]     train the demonstration model for N epochs, and score it (fetches nnU-Net and torch, 6 GB)
  tidy          check layers, file lengths, names, links, licences
  bench NAME    measure against peers and write bench/NAME.json into the target folder (receive, convert,
                predict, engine, outputs)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["demo", arguments @ ..] => demo::run(arguments),
        ["test"] => checks::run(),
        ["setup"] => setup::everything().map(drop),
        ["oracle"] => oracle::run(),
        ["train", arguments @ ..] => train::run(arguments),
        ["tidy"] => tidy::run(),
        ["bench", name, arguments @ ..] => bench::run(name, arguments),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { what, hint }) => {
            eprintln!("\nfailed: {what}\n  help: {hint}");
            ExitCode::FAILURE
        }
    }
}
