//! PID 1 of a machine that is one program.

mod settings;

fn main() {}
