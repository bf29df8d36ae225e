//! Which disk the setting `storage.persistent` means. No I/O here.

use std::fmt;

/// How many bytes of a serial number a virtio-blk device tells (VIRTIO_BLK_ID_BYTES).
const VIRTIO_SERIAL: usize = 20;

/// Facts about the disk that a device is, or is a part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// It can be taken out of its drive or its socket: the kernel says so, or it is behind USB.
    pub removable: bool,
    /// It is the partition that the image's own `disk` form has for `/persistent`.
    pub own: bool,
    /// Its serial number; empty if it tells none.
    pub serial: String,
    /// The buses that it is behind: `virtio`, `scsi`, `usb`, …
    pub buses: Vec<String>,
}

/// The value of the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The disk on which the file system with this UUID is.
    Uuid([u8; 16]),
    /// The disk with this serial number.
    Serial(String),
    /// A disk behind this bus.
    Bus(String),
}

impl Which {
    /// Reads `uuid:…`, `serial:…` or `bus:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once(':')?;
        match kind {
            "uuid" => uuid(value).map(Self::Uuid),
            "serial" => (1..=128)
                .contains(&value.len())
                .then_some(value)
                .filter(|value| value.bytes().all(|byte| byte.is_ascii_graphic()))
                .map(|value| Self::Serial(value.to_owned())),
            "bus" => BUSES.contains(&value).then(|| Self::Bus(value.to_owned())),
            _ => None,
        }
    }

    /// Whether this disk is meant, with a file system of this UUID on it; `None` is a blank disk.
    pub fn means(&self, disk: &Disk, id: Option<&[u8; 16]>) -> bool {
        match self {
            Self::Uuid(uuid) => id == Some(uuid),
            Self::Serial(serial) => {
                let cut = disk.serial.len() == VIRTIO_SERIAL
                    && disk.buses.iter().any(|bus| bus == "virtio")
                    && serial.starts_with(&disk.serial);
                *serial == disk.serial || cut
            }
            Self::Bus(bus) => disk.buses.contains(bus),
        }
    }
}

/// The buses that the setting takes, as sysfs calls them.
const BUSES: [&str; 8] = [
    "ata", "mmc", "nvme", "scsi", "usb", "virtio", "vmbus", "xen",
];

/// 32 hexadecimal digits, with hyphens where RFC 9562 has them.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let hyphens = [8, 13, 18, 23];
    let digits: Vec<u8> = text
        .bytes()
        .enumerate()
        .filter(|(at, byte)| !(hyphens.contains(at) && *byte == b'-'))
        .map(|(_, byte)| byte)
        .collect();
    if text.len() != 36 || digits.len() != 32 {
        return None;
    }
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        // A sign is no digit, and from_str_radix takes one.
        if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(id)
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "serial:{serial}"),
            Self::Bus(bus) => write!(f, "bus:{bus}"),
            Self::Uuid(id) => {
                f.write_str("uuid:")?;
                for (at, byte) in id.iter().enumerate() {
                    let hyphen = if [4, 6, 8, 10].contains(&at) { "-" } else { "" };
                    write!(f, "{hyphen}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "uuid:74696e79-626f-4f74-8000-000000000010";

    fn disk(serial: &str, buses: &[&str]) -> Disk {
        Disk {
            serial: serial.into(),
            buses: buses.iter().map(|bus| (*bus).to_owned()).collect(),
            ..Disk::default()
        }
    }

    #[test]
    fn each_form_is_read_and_written() {
        for text in [UUID, "serial:QM00001", "serial:a:b", "bus:usb", "bus:nvme"] {
            let which = Which::parse(text).map(|which| which.to_string());
            assert_eq!(which.as_deref(), Some(text));
        }
        let upper = UUID.replace('e', "E");
        assert_eq!(Which::parse(&upper), Which::parse(UUID));
        for text in [
            "",
            "vda",
            "/dev/vda",
            "label:tinyboot",
            "serial:",
            "serial:a b",
            "bus:",
            "bus:USB",
            "uuid:",
            "uuid:74696e79626f4f748000000000000010",
            "uuid:74696e79-626f-4f74-8000-0000000000100",
            "uuid:+4696e79-626f-4f74-8000-000000000010",
            "uuid:74696e79-626f-4f74-8000-00000000001\u{e9}",
        ] {
            assert_eq!(Which::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_disk_that_is_meant_is_taken() -> Result<(), &'static str> {
        let parse = |text: &str| Which::parse(text).ok_or("not read");
        let mut id = [0; 16];
        for (byte, value) in id.iter_mut().zip(b"tinybOOt") {
            *byte = *value;
        }
        let uuid = parse("uuid:74696e79-624f-4f74-0000-000000000000")?;
        assert!(uuid.means(&Disk::default(), Some(&id)));
        assert!(!uuid.means(&Disk::default(), Some(&[0; 16])));
        assert!(!uuid.means(&Disk::default(), None));

        let serial = parse("serial:data")?;
        assert!(serial.means(&disk("data", &["virtio"]), None));
        for other in ["", "dat", "data1"] {
            assert!(!serial.means(&disk(other, &["virtio"]), None), "{other}");
        }
        // virtio-blk tells no more than 20 bytes.
        let long = parse("serial:4f3b7f8e-5a41-4f0e-9a55-0c9d2c0b6a11")?;
        assert!(long.means(&disk("4f3b7f8e-5a41-4f0e-9", &["virtio"]), None));
        assert!(!long.means(&disk("4f3b7f8e-5a41-4f0e-9", &["scsi"]), None));

        let bus = parse("bus:usb")?;
        assert!(bus.means(&disk("", &["scsi", "usb"]), None));
        assert!(!bus.means(&disk("", &["scsi"]), None));
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "(uuid:|serial:|bus:)?\\PC{0,40}") {
            if let Some(which) = Which::parse(&text) {
                prop_assert_eq!(Which::parse(&which.to_string()), Some(which));
            }
        }
    }
}
