//! Fuzz targets, one for everything that reads what others sent: bytes in, and a panic if something does not hold that has to.
//! `runtime/fuzz` makes a program of them; the unit tests run them for a moment, so that they are built and linted with the rest.
//!
//! Where a checksum or a length would keep a fuzzer outside, a target makes a good message and lets the input damage it. Each
//! target says what has to hold besides that nothing panics; more is in the unit tests of what it calls.

mod app;
mod dhcp4;
mod input;
mod kernel;
mod machine;
mod net;
mod storage;
mod time;

use input::Input;

/// A target's name, which its seeds and its dictionary have too, and its function.
pub type Target = (&'static str, fn(&[u8]));

macro_rules! targets {
    ($($module:ident: $($name:ident),*;)*) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$($((stringify!($name), $module::$name)),*),*];
    };
}

targets! {
    app: agent, console, notify;
    dhcp4: dhcp4, dhcp6, lease;
    kernel: genetlink, keys, kmsg, mountinfo, uevent;
    machine: command_line, machine, settings, smbios, syslog;
    net: arp, frame, router, rtnetlink;
    storage: gpt, superblock;
    time: saved, sntp;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn no_target_breaks_at_once(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            for (_, target) in super::TARGETS {
                target(&data);
            }
        }
    }
}
