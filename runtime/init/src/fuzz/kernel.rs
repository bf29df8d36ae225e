//! What the kernel says: about devices, ACPI, keys, its own lines, mounts.

use std::path::Path;
use std::sync::LazyLock;

use super::Input;
use crate::console::kmsg as kernel_log;
use crate::console::line::escaped;
use crate::drivers::tables::Tables;
use crate::power::genetlink::{Family, acpi_event, family};
use crate::power::keys::{count_presses, has_key};
use crate::shutdown::mountinfo as mounts;
use crate::uevent::Uevent;

/// One attribute of a netlink message.
pub(super) fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// A netlink message with its header.
pub(super) fn netlink(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 16).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.resize(16, 0);
    message.extend(body);
    message
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    Tables::parse(
        "kernel/a/virtio_net.ko: kernel/a/virtio.ko\nkernel/a/virtio.ko:\nkernel/b/usb-storage.ko:\n",
        "alias virtio:d00000001v* virtio_net\nalias usb:v*p*d*dc*dsc*dp*ic08isc0[2-6]ip50in* usb_storage\n\
         alias *[!a]*[]x-z]*\\** virtio\nalias pci:v00001AF4d0000100?sv*sd*bc*sc*i* virtio_net\n",
        "softdep virtio_net pre: usb_storage post: virtio\n",
    )
});

/// A uevent, and the modules that its device asks for: each of them is one of the tables'.
pub fn uevent(data: &[u8]) {
    let Some(uevent) = Uevent::parse(data) else {
        return;
    };
    assert!(!uevent.action.contains('@'), "{uevent:?}");
    let length: usize = uevent
        .fields
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2)
        .sum();
    assert!(uevent.action.len() + uevent.path.len() + length <= data.len());
    for module in TABLES.drivers(uevent.field("MODALIAS")) {
        assert!(!TABLES.order(module).is_empty(), "{module}");
    }
    for text in [uevent.path.as_str(), uevent.field("DEVNAME")] {
        assert!(TABLES.order(text).len() <= 3);
    }
}

/// Generic netlink: the answer about ACPI's family, and events of it.
pub fn genetlink(data: &[u8]) {
    const FAMILY: Family = Family { id: 24, group: 5 };
    const CONTROLLER: u16 = 16;
    const EVENT: usize = 44;
    let mut input = Input::new(data);
    let bytes = match input.byte() % 4 {
        0 => input.rest().to_vec(),
        1 => {
            let mut body = vec![1, 1, 0, 0];
            attribute(&mut body, input.pick(1, &[2, 0]), input.rest());
            netlink(FAMILY.id, &body)
        }
        _ => {
            let mut body = vec![1, 2, 0, 0];
            for _ in 0..input.byte() % 6 {
                let kind = input.pick(7, &[1, 2, 0x8007, 3]);
                let mut value = Vec::new();
                if kind & 0xff == 7 {
                    for _ in 0..input.byte() % 4 {
                        let mut group = Vec::new();
                        for _ in 0..input.byte() % 4 {
                            let name: &[u8] =
                                input.pick(b"acpi_mc_group\0", &[b"acpi_mc_group", b"\0"]);
                            match input.byte() % 4 {
                                0 => attribute(&mut group, 1, name),
                                1 => attribute(&mut group, 2, &input.array::<4>()),
                                _ => attribute(
                                    &mut group,
                                    input.pick(2, &[1, 0x4001]),
                                    input.piece(),
                                ),
                            }
                        }
                        attribute(&mut value, 1, &group);
                    }
                } else {
                    value = input.piece().to_vec();
                }
                attribute(&mut body, kind, &value);
            }
            let mut message = netlink(CONTROLLER, &body);
            if input.seldom(4) {
                input.damage(&mut message);
            }
            message
        }
    };
    if family(&bytes).is_some() {
        // Header, family's number, and a group's name and number.
        assert!(bytes.len() >= 20 + 8 + 4 + 20 + 8);
    }
    if let Some(event) = acpi_event(&bytes, FAMILY) {
        assert!(bytes.len() >= 20 + 4 + EVENT);
        // Three bytes of a character that is none's.
        assert!(
            event.class.len() <= 60 && event.device.len() <= 45,
            "{event:?}"
        );
        assert!(
            !event.class.contains('\0') && !event.device.contains('\0'),
            "{event:?}"
        );
    }
}

/// Events of a keyboard, and the bitmap of its keys: no more presses than events.
pub fn keys(data: &[u8]) {
    const EVENT: usize = 24;
    let mut input = Input::new(data);
    let key = input.u16();
    let mut bytes = input.rest().to_vec();
    assert!(count_presses(&bytes) <= bytes.len() / EVENT);
    let bitmap = String::from_utf8_lossy(&bytes);
    if has_key(&bitmap, key) {
        assert!(bitmap.split_ascii_whitespace().count() > usize::from(key / 64));
    }
    // As often as the power key goes down, behind events of the input's.
    bytes.truncate(bytes.len() / EVENT * EVENT);
    let before = count_presses(&bytes);
    let press = [[0; 16].as_slice(), &[1, 0, 116, 0, 1, 0, 0, 0]].concat();
    bytes.extend(press);
    assert_eq!(count_presses(&bytes), before + 1);
}

/// A record of the kernel's log: it becomes one line that does nothing to a terminal.
pub fn kmsg(data: &[u8]) {
    let Some(record) = kernel_log::parse(data) else {
        return;
    };
    assert!(record.severity <= 7);
    assert!(record.text.len() <= data.len());
    check_line(&escaped(&record.text));
}

pub(super) fn check_line(line: &str) {
    assert!(
        line.chars().all(|it| it == '\t' || !it.is_control()),
        "{line:?}"
    );
}

/// The list of mounts: what is unmounted lies on a device or above one, and comes before what it lies above.
pub fn mountinfo(data: &[u8]) {
    let list = mounts::to_unmount(data);
    assert!(list.len() <= data.split(|byte| *byte == b'\n').count());
    for (at, mounted) in list.iter().enumerate() {
        let on_device = mounted.source.starts_with("/dev");
        let mut below = list.iter().skip(at + 1);
        assert!(
            on_device || below.any(|other| mounted.path.starts_with(&other.path)),
            "{mounted:?}"
        );
    }
    let _ = list.iter().filter(|it| it.path == Path::new("/")).count();
}
