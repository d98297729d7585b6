//! What commands print. Whoever reads it may have enough of it, as in `sulcus status | head -1`: the command goes on to its
//! end, and is no failure for that.

use std::{
    fmt::Arguments,
    io::{Error, ErrorKind, Write, stdout},
    sync::OnceLock,
};

use super::CommandError;

/// The first thing that could not be printed, and why.
static FAILED: OnceLock<Error> = OnceLock::new();

/// Prints a line on standard output.
macro_rules! outln {
    () => { $crate::commands::out::line(format_args!("")) };
    ($($words:tt)*) => { $crate::commands::out::line(format_args!($($words)*)) };
}

/// Prints a line on standard output; nothing once that failed.
pub(super) fn line(words: Arguments<'_>) {
    if FAILED.get().is_none()
        && let Err(error) = writeln!(stdout().lock(), "{words}")
    {
        FAILED.get_or_init(|| error);
    }
}

/// Whether all was printed.
///
/// # Errors
/// Where it was not, though somebody reads.
pub(super) fn end() -> Result<(), CommandError> {
    if let Err(error) = stdout().lock().flush() {
        FAILED.get_or_init(|| error);
    }
    match FAILED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::work(format!("the output cannot be written: {error}"), "make room where it goes"))
        }
        _ => Ok(()),
    }
}
