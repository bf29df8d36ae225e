//! Lines for the console.

use std::fmt::{Arguments, Display};
use std::io::Write;

/// Writes a line to stdout, which init passes on to the console.
///
/// `println!` would panic when nobody reads any more; here the line is lost, and the program goes on.
pub fn say(line: Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Says what went wrong with something that the program can do without.
pub fn warn<T, E: Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| say(format_args!("{error}"))).ok()
}
