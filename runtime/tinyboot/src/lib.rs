//! The machine that a program is, seen by the program.
#![warn(missing_docs)]

pub mod status;
