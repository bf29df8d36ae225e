//! How the machine restarts and is switched off, where the kernel does not find the way by itself.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// The way that the kernel takes to restart (kernel/reboot.c).
const TYPE: &str = "/sys/kernel/reboot/type";
const TABLES: &str = "/sys/firmware/acpi/tables";
/// The bit of a machine without ACPI's fixed hardware, in the flags of the FADT (ACPI 6.5, 5.2.9).
const HARDWARE_REDUCED: u32 = 1 << 20;

static CAN_POWER_OFF: OnceLock<bool> = OnceLock::new();

/// What decides how a machine restarts.
#[derive(Clone, Copy, Debug)]
struct Machine<'a> {
    /// The way that the kernel has chosen.
    chosen: &'a str,
    /// The command line says which way.
    told: bool,
    efi: bool,
    acpi: bool,
    keyboard_controller: bool,
}

/// Chooses the way to restart, for panics of the kernel too, and finds out whether the machine can be switched off. Needs
/// `/proc` and `/sys`.
pub fn prepare() {
    let exists = |path: &str| Path::new(path).exists();
    let efi = exists("/sys/firmware/efi");
    let chosen = fs::read_to_string(TYPE).unwrap_or_default();
    let machine = Machine {
        chosen: chosen.trim_end(),
        told: is_told(&fs::read_to_string("/proc/cmdline").unwrap_or_default()),
        efi,
        acpi: exists(TABLES),
        keyboard_controller: exists("/sys/devices/platform/i8042"),
    };
    if let Some(way) = machine.way()
        && let Err(error) = fs::write(TYPE, way)
    {
        log::warn!("power: the kernel does not restart by {way}: {error}");
    }
    let _ = CAN_POWER_OFF.set(efi || exists("/sys/hypervisor/type") || by_acpi(Path::new(TABLES)));
}

/// Whether the machine can be switched off. If it cannot, the kernel would halt it for ever.
pub fn can_power_off() -> bool {
    CAN_POWER_OFF.get().copied().unwrap_or(true)
}

impl Machine<'_> {
    /// Another way than the kernel's, where that one does not end: the firmware's where there is no EFI (Firecracker), and
    /// the keyboard controller's where there is none (QEMU's microvm without ACPI).
    fn way(self) -> Option<&'static str> {
        if self.told || self.efi {
            return None;
        }
        match self.chosen {
            "efi" if self.acpi => Some("acpi"),
            "efi" | "acpi" | "kbd" if !self.acpi && !self.keyboard_controller => Some("triple"),
            _ => None,
        }
    }
}

fn is_told(command_line: &str) -> bool {
    command_line
        .split_ascii_whitespace()
        .any(|word| word.starts_with("reboot="))
}

/// Whether ACPI knows the state S5, as the kernel finds it out (`acpi_sleep_state_supported`). An error counts as yes.
fn by_acpi(tables: &Path) -> bool {
    let fadt = match fs::read(tables.join("FACP")) {
        Ok(fadt) => fadt,
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
    };
    let Ok(entries) = fs::read_dir(tables) else {
        return true;
    };
    has_registers(&fadt)
        && entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            (name.starts_with("DSDT") || name.starts_with("SSDT"))
                && fs::read(entry.path()).map_or(true, |table| names_s5(&table))
        })
}

/// A machine without fixed hardware needs two registers for it.
fn has_registers(fadt: &[u8]) -> bool {
    let flags = fadt.get(112..116).and_then(|bytes| bytes.try_into().ok());
    if flags.map_or(0, u32::from_le_bytes) & HARDWARE_REDUCED == 0 {
        return true;
    }
    // The addresses of SLEEP_CONTROL_REG and SLEEP_STATUS_REG.
    [248..256, 260..268].into_iter().all(|place| {
        fadt.get(place)
            .is_some_and(|address| address.iter().any(|byte| *byte != 0))
    })
}

fn names_s5(table: &[u8]) -> bool {
    table.windows(4).any(|name| name == b"_S5_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PC: Machine<'_> = Machine {
        chosen: "acpi",
        told: false,
        efi: false,
        acpi: true,
        keyboard_controller: true,
    };

    #[test]
    fn only_a_way_that_leads_nowhere_is_replaced() {
        let firecracker = Machine {
            chosen: "efi",
            ..PC
        };
        let microvm = Machine {
            acpi: false,
            keyboard_controller: false,
            ..PC
        };
        for (machine, way) in [
            (PC, None),
            (
                Machine {
                    efi: true,
                    ..firecracker
                },
                None,
            ),
            (firecracker, Some("acpi")),
            (
                Machine {
                    told: true,
                    ..firecracker
                },
                None,
            ),
            (microvm, Some("triple")),
            (
                Machine {
                    told: true,
                    ..microvm
                },
                None,
            ),
            (
                Machine {
                    acpi: true,
                    ..microvm
                },
                None,
            ),
            (
                Machine {
                    keyboard_controller: true,
                    ..microvm
                },
                None,
            ),
            (
                Machine {
                    chosen: "cf9_safe",
                    ..microvm
                },
                None,
            ),
            (
                Machine {
                    chosen: "",
                    ..microvm
                },
                None,
            ),
        ] {
            assert_eq!(machine.way(), way, "{machine:?}");
        }
        assert!(is_told("quiet reboot=t panic=10"));
        assert!(!is_told("quiet noreboot=1 panic=10"));
    }

    fn fadt(flags: u32, control: u8, status: u8) -> Vec<u8> {
        let mut fadt = vec![0; 276];
        for (place, value) in [
            (112, flags.to_le_bytes().to_vec()),
            (248, vec![control]),
            (260, vec![status]),
        ] {
            fadt.splice(place..place + value.len(), value);
        }
        fadt
    }

    #[test]
    fn a_machine_without_s5_or_its_registers_cannot_be_switched_off() -> io::Result<()> {
        let tables = tempfile::tempdir()?;
        let check = |fadt: &[u8], dsdt: &[u8]| -> io::Result<bool> {
            fs::write(tables.path().join("FACP"), fadt)?;
            fs::write(tables.path().join("DSDT"), dsdt)?;
            Ok(by_acpi(tables.path()))
        };
        assert!(!by_acpi(&tables.path().join("none")));
        assert!(check(&fadt(0, 0, 0), b"..\\_S5_..")?);
        assert!(!check(&fadt(0, 0, 0), b"..\\_S4_..")?);
        assert!(check(&fadt(HARDWARE_REDUCED, 4, 5), b"_S5_")?);
        assert!(!check(&fadt(HARDWARE_REDUCED, 4, 0), b"_S5_")?);
        assert!(!check(&fadt(HARDWARE_REDUCED, 0, 5), b"_S5_")?);
        assert!(check(&[], b"_S5_")?);
        fs::write(tables.path().join("SSDT1"), b"_S5_")?;
        assert!(check(&fadt(0, 0, 0), b"")?);
        Ok(())
    }
}
