//! Which processes there are, and which of them keep a file system busy.

use std::fs;
use std::path::{Path, PathBuf};

/// How many busy ones the log names.
const NAMED: usize = 5;

/// How many processes live besides init and the kernel's own threads.
pub fn count() -> usize {
    ids().filter(|id| *id != 1 && is_alive(*id)).count()
}

/// The processes that use something below `path`, as `name (id)`.
pub fn using(path: &Path) -> Vec<String> {
    ids()
        .filter(|id| uses(*id, path))
        .take(NAMED)
        .map(|id| format!("{} ({id})", text(id, "comm").trim()))
        .collect()
}

fn ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn text(id: u32, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{id}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A thread of the kernel has no memory of its own, a zombie has none any more.
fn is_alive(id: u32) -> bool {
    text(id, "status")
        .lines()
        .any(|line| line.starts_with("VmSize:"))
}

fn uses(id: u32, path: &Path) -> bool {
    let directory = PathBuf::from(format!("/proc/{id}"));
    let open = fs::read_dir(directory.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let links = ["cwd", "root", "exe"]
        .into_iter()
        .map(|name| directory.join(name));
    let linked = links
        .chain(open)
        .any(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(path)));
    let mapped = || {
        text(id, "maps").lines().any(|line| {
            line.find('/')
                .and_then(|at| line.get(at..))
                .is_some_and(|file| Path::new(file).starts_with(path))
        })
    };
    linked || mapped()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_uses_its_executable() -> std::io::Result<()> {
        let own = std::process::id();
        let executable = std::env::current_exe()?;
        assert!(is_alive(own) && count() > 0);
        assert!(
            executable
                .parent()
                .is_some_and(|directory| uses(own, directory))
        );
        assert!(!uses(own, Path::new("/nowhere")));
        Ok(())
    }
}
