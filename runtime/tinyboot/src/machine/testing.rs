//! What init does, in a temporary directory.

use std::fs;
use std::net::Ipv4Addr;

use tempfile::TempDir;

use super::Paths;
use crate::status::{Action, Lease, Link, Mount, Shutdown, Status};

/// A directory that takes the place of `/run/tinyboot`.
pub(crate) struct Init {
    pub(crate) directory: TempDir,
}

impl Init {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths {
            status: Some(self.directory.path().join("status.json")),
            log: Some(self.directory.path().join("log")),
            notify: None,
        }
    }

    /// Replaces the status as init does.
    pub(crate) fn publish(&self, status: &Status) {
        self.write(&serde_json::to_vec(status).unwrap());
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        let new = self.directory.path().join("status.json.new");
        fs::write(&new, bytes).unwrap();
        fs::rename(&new, self.directory.path().join("status.json")).unwrap();
    }

    pub(crate) fn stopping(&self, action: Action) -> Status {
        let shutdown = Shutdown {
            action,
            reason: "power button".to_owned(),
            deadline: 12.5,
        };
        Status {
            shutdown: Some(shutdown),
            ..Status::default()
        }
    }
}

pub(crate) fn mount(path: &str) -> Mount {
    Mount {
        path: path.into(),
        device: "/dev/vda".into(),
        file_system: "btrfs".to_owned(),
        read_only: false,
    }
}

pub(crate) fn link_with_lease() -> Link {
    let lease = Lease {
        address: Ipv4Addr::new(10, 0, 2, 15),
        prefix: 24,
        server: Ipv4Addr::new(10, 0, 2, 2),
        router: None,
        dns: Vec::new(),
        domain: None,
        search: Vec::new(),
        host_name: None,
        mtu: None,
        ntp: Vec::new(),
        seconds: Some(20),
        renewals: 0,
    };
    Link {
        name: "eth0".to_owned(),
        lease: Some(lease),
        ..Link::default()
    }
}
