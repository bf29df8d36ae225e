//! libFuzzer around one of init's fuzz targets. The environment variable `TARGET` names it; without one, the program prints
//! all names and ends.
#![no_main]

use std::process::exit;
use std::sync::OnceLock;

use tinyboot_init::fuzz::{TARGETS, Target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn choose() -> Target {
    let Ok(name) = std::env::var("TARGET") else {
        for (name, _) in TARGETS {
            println!("{name}");
        }
        exit(0);
    };
    let Some(target) = TARGETS.iter().find(|target| target.0 == name) else {
        eprintln!("There is no fuzz target \"{name}\".");
        exit(2);
    };
    *target
}

libfuzzer_sys::fuzz_target!(
    init: { CHOSEN.get_or_init(choose); },
    |data: &[u8]| CHOSEN.get_or_init(choose).1(data)
);
