//! Fuzz targets, one for everything that reads what others sent: bytes in, and a panic if something does not hold that has to.
//! `runtime/fuzz` makes a program of each; the unit tests run them for a moment, so that they are built and linted with the rest.
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

pub use app::{agent, console, notify};
pub use dhcp4::{dhcp4, dhcp6, lease};
pub use kernel::{genetlink, keys, kmsg, mountinfo, uevent};
pub use machine::{command_line, machine, settings, smbios, syslog};
pub use net::{arp, frame, router, rtnetlink};
pub use storage::{gpt, superblock};
pub use time::{saved, sntp};

use input::Input;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    type Target = (&'static str, fn(&[u8]));

    /// Each of `runtime/fuzz/Cargo.toml`.
    const TARGETS: [Target; 24] = [
        ("agent", super::agent),
        ("arp", super::arp),
        ("command_line", super::command_line),
        ("console", super::console),
        ("dhcp4", super::dhcp4),
        ("dhcp6", super::dhcp6),
        ("frame", super::frame),
        ("genetlink", super::genetlink),
        ("gpt", super::gpt),
        ("keys", super::keys),
        ("kmsg", super::kmsg),
        ("lease", super::lease),
        ("machine", super::machine),
        ("mountinfo", super::mountinfo),
        ("notify", super::notify),
        ("router", super::router),
        ("rtnetlink", super::rtnetlink),
        ("saved", super::saved),
        ("settings", super::settings),
        ("smbios", super::smbios),
        ("sntp", super::sntp),
        ("superblock", super::superblock),
        ("syslog", super::syslog),
        ("uevent", super::uevent),
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn no_target_breaks_at_once(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            for (_, target) in TARGETS {
                target(&data);
            }
        }
    }
}
