//! The status file as `docs/app-contract.md` shows it: programs in other languages rely on every name in it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::{Value, json};
use tinyboot::status::{Action, Status};

fn example() -> Value {
    json!({
        "name": "hello",
        "storage": {
            "settled": true,
            "iso": { "path": "/iso", "device": "/dev/sr0", "fileSystem": "iso9660", "readOnly": true },
            "persistent": { "path": "/persistent", "device": "/dev/vda", "fileSystem": "btrfs", "readOnly": false },
            "creating": false
        },
        "links": [{
            "name": "eth0",
            "mac": "52:54:00:12:34:56",
            "carrier": true,
            "state": "BOUND",
            "settled": true,
            "configured": true,
            "addresses": [
                { "address": "10.0.2.15", "prefix": 24, "source": "dhcp" },
                { "address": "2001:db8::15", "prefix": 64, "source": "routerAdvertisement" }
            ],
            "routes": [
                { "destination": "0.0.0.0", "prefix": 0, "gateway": "10.0.2.2", "metric": 1002, "source": "dhcp" },
                { "destination": "::", "prefix": 0, "gateway": "fe80::2", "metric": 1002, "source": "routerAdvertisement" }
            ],
            "lease": {
                "address": "10.0.2.15",
                "prefix": 24,
                "server": "10.0.2.2",
                "router": "10.0.2.2",
                "dns": ["10.0.2.3"],
                "domain": null,
                "search": [],
                "hostName": null,
                "mtu": null,
                "ntp": [],
                "seconds": 86400,
                "renewals": 0
            },
            "lease6": {
                "address": null,
                "dns": ["2001:db8::53"],
                "search": [],
                "ntp": [],
                "seconds": null,
                "renewals": 0
            }
        }],
        "dns": {
            "servers": [{ "address": "10.0.2.3", "link": "eth0", "source": "dhcp" }],
            "search": [{ "name": "example.org", "link": "eth0", "source": "routerAdvertisement" }]
        },
        "clock": { "synchronized": true, "source": "ntp 10.0.2.2", "offset": -0.012 },
        "machine": { "resumes": 0, "restores": 0, "resumed": null },
        "app": { "pid": 123, "starts": 1, "ready": true, "status": "boot number 7", "lastExit": null, "backoff": 0.0 },
        "shutdown": null,
        "previous": { "ended": "stopped", "reason": "the app exited with status 3: reboot", "appExit": "exited with status 3" }
    })
}

#[test]
fn no_field_is_lost_or_renamed() {
    let status: Status = serde_json::from_value(example()).unwrap();
    assert_eq!(serde_json::to_value(&status).unwrap(), example());
}

#[test]
fn a_shutdown_names_its_action() {
    for (name, action) in [("poweroff", Action::PowerOff), ("reboot", Action::Reboot)] {
        let mut asked = example();
        asked["shutdown"] = json!({ "action": name, "reason": "power button", "deadline": 42.5 });
        let status: Status = serde_json::from_value(asked.clone()).unwrap();
        assert_eq!(
            status.shutdown.as_ref().map(|shutdown| shutdown.action),
            Some(action)
        );
        assert_eq!(serde_json::to_value(&status).unwrap(), asked);
        assert_eq!(action.to_string(), name);
    }
}

#[test]
fn an_empty_object_is_a_status() {
    assert_eq!(
        serde_json::from_value::<Status>(json!({})).unwrap(),
        Status::default()
    );
}
