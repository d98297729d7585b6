//! The binary `sulcus`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sulcus_engine::commands::main()
}
