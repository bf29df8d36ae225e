//! The last lease of each link, kept on `/persistent` so that the next boot can ask for the same address at once
//! (RFC 2131's INIT-REBOOT).

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::own_files::{self, Sync};

/// What is kept: enough to ask again. The server says the rest anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// Whose lease it is.
    pub mac: String,
    /// The client identifier that it was obtained with, in hexadecimal digits.
    pub client_id: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The server that gave it.
    pub server: Ipv4Addr,
}

/// Held while a lease is written: an address and `/persistent` come within milliseconds, and each is a reason to save.
static SAVING: Mutex<()> = Mutex::new(());

fn name(mac: &str) -> String {
    format!("leases/{mac}.json")
}

/// The file of the link with this hardware address, below where `/persistent` is mounted.
#[cfg(test)]
pub fn path(persistent: &Path, mac: &str) -> std::path::PathBuf {
    persistent.join(own_files::DIRECTORY).join(name(mac))
}

/// Reads the lease of this link. `None` if there is none, or it is another link's or client's, or it cannot be read:
/// the address is asked for as if it had never been known then.
pub fn load(persistent: &Path, mac: &str, client_id: &str) -> Option<Saved> {
    parse(
        &own_files::read(persistent, &name(mac)).ok()?,
        mac,
        client_id,
    )
}

/// Reads a file's text.
pub(crate) fn parse(text: &[u8], mac: &str, client_id: &str) -> Option<Saved> {
    let saved: Saved = serde_json::from_slice(text).ok()?;
    (saved.mac == mac && saved.client_id == client_id).then_some(saved)
}

/// Writes the lease, unless it is there already. It is not synced: losing it costs one round trip. Blocks while another
/// lease is written.
///
/// # Errors
///
/// What the file system says.
pub fn save(persistent: &Path, saved: &Saved) -> io::Result<()> {
    let _alone = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
    if load(persistent, &saved.mac, &saved.client_id).as_ref() == Some(saved) {
        return Ok(());
    }
    let text = serde_json::to_vec(saved)?;
    own_files::replace(persistent, &name(&saved.mac), &text, Sync::Later)
}

/// Removes the lease if it is for `address`, which must not be asked for at the next boot.
///
/// # Errors
///
/// What the file system says.
pub fn forget(persistent: &Path, mac: &str, client_id: &str, address: Ipv4Addr) -> io::Result<()> {
    let _alone = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
    if load(persistent, mac, client_id).is_some_and(|saved| saved.address == address) {
        own_files::remove(persistent, &name(mac))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_lease_is_for_its_link_and_client_only() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let saved = Saved {
            mac: "52:54:00:12:34:56".into(),
            client_id: "01525400123456".into(),
            address: Ipv4Addr::new(10, 0, 2, 15),
            server: Ipv4Addr::new(10, 0, 2, 2),
        };
        assert_eq!(load(directory.path(), &saved.mac, &saved.client_id), None);
        save(directory.path(), &saved)?;
        assert_eq!(
            load(directory.path(), &saved.mac, &saved.client_id),
            Some(saved.clone())
        );
        assert_eq!(load(directory.path(), &saved.mac, "ff"), None);
        forget(
            directory.path(),
            &saved.mac,
            &saved.client_id,
            Ipv4Addr::new(10, 0, 2, 16),
        )?;
        assert!(load(directory.path(), &saved.mac, &saved.client_id).is_some());
        forget(
            directory.path(),
            &saved.mac,
            &saved.client_id,
            saved.address,
        )?;
        assert_eq!(load(directory.path(), &saved.mac, &saved.client_id), None);
        save(directory.path(), &saved)?;
        std::fs::copy(
            path(directory.path(), &saved.mac),
            path(directory.path(), "02:00:00:00:00:01"),
        )?;
        assert_eq!(
            load(directory.path(), "02:00:00:00:00:01", &saved.client_id),
            None
        );
        std::fs::write(path(directory.path(), &saved.mac), "{")?;
        assert_eq!(load(directory.path(), &saved.mac, &saved.client_id), None);
        Ok(())
    }

    #[test]
    fn a_link_on_a_disk_leads_nowhere() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let saved = Saved {
            mac: "52:54:00:12:34:56".into(),
            client_id: "01".into(),
            address: Ipv4Addr::new(10, 0, 0, 2),
            server: Ipv4Addr::new(10, 0, 0, 1),
        };
        let path = path(directory.path(), &saved.mac);
        let loaded = || load(directory.path(), &saved.mac, &saved.client_id);
        save(directory.path(), &saved)?;
        let other = directory.path().join("other");
        std::fs::rename(&path, &other)?;
        symlink(&other, &path)?;
        assert_eq!(loaded(), None);
        std::fs::write(&other, "kept")?;
        symlink(&other, path.with_extension("json.new"))?;
        save(directory.path(), &saved)?;
        assert_eq!(loaded(), Some(saved.clone()));
        assert_eq!(std::fs::read_to_string(&other)?, "kept");

        // Longer than a file of ours can be, whatever it says.
        let mut long = serde_json::to_vec(&saved)?;
        long.resize(5000, b' ');
        std::fs::write(&path, long)?;
        assert_eq!(loaded(), None);
        Ok(())
    }

    #[test]
    fn saves_at_the_same_time_do_not_disturb_each_other() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|last| {
                    let saved = Saved {
                        mac: "52:54:00:12:34:56".into(),
                        client_id: "01".into(),
                        address: Ipv4Addr::new(10, 0, 0, last),
                        server: Ipv4Addr::new(10, 0, 0, 1),
                    };
                    let directory = directory.path();
                    scope.spawn(move || save(directory, &saved))
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or(Err(io::ErrorKind::Other.into())))
        })
    }
}
