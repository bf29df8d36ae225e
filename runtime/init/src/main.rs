//! PID 1 of a machine that is one program.

mod clock;
mod net;
mod settings;
mod status;

fn main() {}
