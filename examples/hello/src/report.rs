//! What the program has found, said when it is found.

use tinyboot::Machine;
use tinyboot::status::{Mount, Status};

use crate::say::say;

/// Says what is there, and later what is new, until the machine is to stop.
pub async fn follow(machine: Machine) {
    if !machine.on_tinyboot() {
        return say(format_args!(
            "this is no tinyboot machine: it has no /iso and no /persistent"
        ));
    }
    let mut changes = machine.changes();
    let mut said = Vec::new();
    let stop = machine.token();
    loop {
        let lines = lines(&changes.borrow_and_update());
        for line in lines.iter().filter(|line| !said.contains(*line)) {
            say(format_args!("{line}"));
        }
        said = lines;
        match stop.run_until_cancelled(changes.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

/// What a user wants to know of the machine, one fact a line.
pub fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![mount("iso", status.storage.iso.as_ref())];
    lines.push(mount("persistent", status.storage.persistent.as_ref()));
    let leases = status
        .links
        .iter()
        .filter_map(|link| Some((&link.name, link.lease.as_ref()?)));
    lines.extend(
        leases
            .map(|(name, lease)| format!("address: {}/{} on {name}", lease.address, lease.prefix)),
    );
    if lines.len() == 2 {
        lines.push("address: none".to_owned());
    }
    let trust = if status.clock.synchronized {
        "synchronised"
    } else {
        "not synchronised"
    };
    lines.push(format!("clock: {trust}, from {}", status.clock.source));
    lines
}

fn mount(name: &str, mount: Option<&Mount>) -> String {
    match mount {
        Some(Mount {
            path,
            device,
            file_system,
            read_only,
        }) => {
            let mode = if *read_only { ", read-only" } else { "" };
            format!(
                "{name}: {} is {file_system} on {}{mode}",
                path.display(),
                device.display()
            )
        }
        None => format!("{name}: none"),
    }
}

#[cfg(test)]
mod tests {
    use tinyboot::status::Clock;

    use super::*;

    #[test]
    fn an_empty_machine_is_described() {
        let clock = Clock {
            source: "rtc".to_owned(),
            ..Clock::default()
        };
        let status = Status {
            clock,
            ..Status::default()
        };
        assert_eq!(
            lines(&status),
            [
                "iso: none",
                "persistent: none",
                "address: none",
                "clock: not synchronised, from rtc"
            ]
        );
    }

    #[test]
    fn a_mount_is_described() {
        let disc = Mount {
            path: "/iso".into(),
            device: "/dev/sr0".into(),
            file_system: "iso9660".to_owned(),
            read_only: true,
        };
        assert_eq!(
            mount("iso", Some(&disc)),
            "iso: /iso is iso9660 on /dev/sr0, read-only"
        );
    }
}
