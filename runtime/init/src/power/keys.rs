//! The power key of keyboards and of buttons that are no ACPI device: KEY_POWER (Documentation/input/event-codes.rst).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::threads;
use crate::uevent::{Event, Subscription};

const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const DOWN: i32 = 1;
/// How long a device may take to open.
const PATIENCE: Duration = Duration::from_secs(2);
/// `struct input_event` of a 64-bit kernel: two words of time, type, code, value.
const EVENT_SIZE: usize = 24;

/// Sends `()` for each press of a power key, on devices that come later too, until the receiver goes away.
pub async fn run(mut uevents: Subscription, presses: mpsc::UnboundedSender<()>) {
    let mut open = std::collections::BTreeMap::new();
    let mut names = present();
    loop {
        for name in names.drain(..) {
            let known = open
                .get(&name)
                .is_some_and(|task: &tokio::task::JoinHandle<()>| !task.is_finished());
            if known || !has_power_key(&name) {
                continue;
            }
            let path = Path::new("/dev/input").join(&name);
            // The device's driver is asked: it may take its time.
            let opened = threads::DEVICES.run(move || {
                OpenOptions::new()
                    .read(true)
                    .custom_flags(nix::libc::O_NONBLOCK)
                    .open(path)
            });
            let Ok(opened) = timeout(PATIENCE, opened).await else {
                log::warn!(
                    "power: /dev/input/{name} did not open within {} s",
                    PATIENCE.as_secs()
                );
                continue;
            };
            match opened {
                Ok(device) => {
                    drop(open.insert(name, tokio::spawn(listen(device, presses.clone()))))
                }
                Err(error) => log::warn!("power: /dev/input/{name} cannot be opened: {error}"),
            }
        }
        match uevents.next().await {
            Event::Lost => names = present(),
            Event::Device(uevent)
                if uevent.action == "add" && uevent.field("SUBSYSTEM") == "input" =>
            {
                names.extend(
                    uevent
                        .field("DEVNAME")
                        .strip_prefix("input/")
                        .map(str::to_owned),
                );
            }
            Event::Device(_) => {}
        }
    }
}

fn present() -> Vec<String> {
    fs::read_dir("/dev/input")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// A mouse need not wake init at each of its movements.
fn has_power_key(name: &str) -> bool {
    let path = Path::new("/sys/class/input")
        .join(name)
        .join("device/capabilities/key");
    name.starts_with("event") && has_key(&fs::read_to_string(path).unwrap_or_default(), KEY_POWER)
}

/// Reads a bitmap as sysfs writes it: hexadecimal words of 64 bits, the highest first.
pub(crate) fn has_key(bitmap: &str, key: u16) -> bool {
    let word = bitmap
        .split_ascii_whitespace()
        .rev()
        .nth(usize::from(key / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word >> (key % 64) & 1 == 1)
}

async fn listen(device: File, presses: mpsc::UnboundedSender<()>) {
    // SAFETY: the file owns its descriptor and is neither replaced nor closed as long as it is registered.
    let Ok(device) = (unsafe { AsyncFd::register(device) }) else {
        return;
    };
    loop {
        let Ok(mut ready) = device.readable().await else {
            return;
        };
        let mut buffer = [0; EVENT_SIZE * 16];
        let mut file: &File = device.get_ref();
        match ready.try_io(|_| file.read(&mut buffer)) {
            Ok(Ok(0)) => return,
            Ok(Ok(length)) => {
                for _ in 0..count_presses(buffer.get(..length).unwrap_or_default()) {
                    if presses.send(()).is_err() {
                        return;
                    }
                }
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // ENODEV: it was unplugged.
            Ok(Err(_)) => return,
            Err(_not_ready) => {}
        }
    }
}

/// How often the power key goes down in these events; repeats and releases do not count.
pub(crate) fn count_presses(events: &[u8]) -> usize {
    events
        .chunks_exact(EVENT_SIZE)
        .filter(|event| is_press(event).unwrap_or(false))
        .count()
}

fn is_press(event: &[u8]) -> Option<bool> {
    let kind = u16::from_ne_bytes(event.get(16..18)?.try_into().ok()?);
    let code = u16::from_ne_bytes(event.get(18..20)?.try_into().ok()?);
    let value = i32::from_ne_bytes(event.get(20..24)?.try_into().ok()?);
    Some(kind == EV_KEY && code == KEY_POWER && value == DOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        [
            &[0; 16],
            kind.to_ne_bytes().as_slice(),
            &code.to_ne_bytes(),
            &value.to_ne_bytes(),
        ]
        .concat()
    }

    #[test]
    fn only_the_power_key_going_down_counts() {
        let events = [
            event(1, 116, 1),
            event(0, 0, 0),
            event(1, 116, 2),
            event(1, 116, 0),
            event(1, 30, 1),
            event(2, 116, 1),
        ];
        assert_eq!(count_presses(&events.concat()), 1);
    }

    #[test]
    fn the_bitmap_of_a_button_and_of_a_mouse() {
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key("70000 0 0 0 0\n", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100), bitmap in ".{0,40}") {
            prop_assert!(count_presses(&bytes) <= bytes.len() / EVENT_SIZE);
            let _ = has_key(&bitmap, KEY_POWER);
        }
    }
}
