//! QEMU's fw_cfg (Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg): a directory for each file that it was given.

use std::fs;
use std::path::Path;

use super::credential::{Credential, Error};

/// Files of `-fw_cfg name=opt/io.systemd.credentials/NAME,…`.
const CREDENTIALS: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";

/// The credentials that it has, sorted by name; none on another hypervisor.
pub fn read() -> Vec<Result<Credential, Error>> {
    read_from(Path::new(CREDENTIALS))
}

fn read_from(directory: &Path) -> Vec<Result<Credential, Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match super::read(&entry.path().join("raw")) {
            Ok(value) => found.push((entry.file_name(), value)),
            Err(error) => log::warn!(
                "settings: {} of fw_cfg cannot be read: {error}",
                entry.file_name().display()
            ),
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|(name, value)| Credential::new(name.as_encoded_bytes(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_a_credential() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        assert!(read_from(&directory.path().join("nowhere")).is_empty());
        for (name, value) in [("b", "2"), ("a", ""), ("bad name", "3")] {
            fs::create_dir(directory.path().join(name))?;
            fs::write(directory.path().join(name).join("raw"), value)?;
        }
        // A directory of files with a slash in their names.
        fs::create_dir(directory.path().join("deeper"))?;
        let found: Vec<_> = read_from(directory.path())
            .into_iter()
            .map(|result| result.map(|credential| (credential.name, credential.value)))
            .collect();
        let expected = [
            Ok(("a".into(), Vec::new())),
            Ok(("b".into(), b"2".to_vec())),
            Err(Error::Name("bad name".into())),
        ];
        assert_eq!(found, expected);
        Ok(())
    }
}
