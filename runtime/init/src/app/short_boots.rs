//! How many boots in a row ended early, kept where it outlives them. Best effort: without a disk each boot is the first.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::own_files::{self, Sync};
use crate::threads;

const PERSISTENT: &str = "/persistent";
const FILE: &str = "boot-failures";
/// A disk that hangs must not hold up the reboot that may cure it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Counts one more below `persistent`; the new number, 1 when nothing is known. A count that cannot be written is one more
/// than the one before nevertheless. Without a `persistent` that can be written, the one that is mounted is read.
pub async fn count(persistent: Option<PathBuf>) -> u32 {
    let writable = persistent.is_some();
    let persistent = persistent.unwrap_or_else(|| Path::new(PERSISTENT).to_owned());
    let (sender, before) = oneshot::channel();
    let work = threads::FILES.run(move || {
        let before = load(&persistent);
        let _ = sender.send(before);
        if !writable {
            return Ok(());
        }
        own_files::overwrite(
            &persistent,
            FILE,
            text(before.saturating_add(1)).as_bytes(),
            Sync::Now,
        )
    });
    let deadline = Instant::now() + PATIENCE;
    let Ok(Ok(before)) = timeout_at(deadline, before).await else {
        return 1;
    };
    match timeout_at(deadline, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("app: the number of short boots cannot be kept: {error}"),
        Err(_) => log::warn!(
            "app: the number of short boots was not written within {} s",
            PATIENCE.as_secs()
        ),
    }
    before.saturating_add(1)
}

/// Makes the file as soon as there is a `persistent` that can be written: the app may fill the disk before the first count.
pub fn reserve(persistent: watch::Receiver<Option<PathBuf>>) {
    when_writable(persistent, "made", |persistent| {
        if own_files::read(persistent, FILE).is_ok() {
            return Ok(());
        }
        own_files::overwrite(persistent, FILE, text(0).as_bytes(), Sync::Now)
    });
}

/// Forgets them, as soon as there is a `persistent` that can be written. The file stays, so that the next count needs no
/// space on a disk that is full by then.
pub fn forget(persistent: watch::Receiver<Option<PathBuf>>) {
    when_writable(persistent, "set back", |persistent| {
        if load(persistent) == 0 && own_files::read(persistent, FILE).is_ok() {
            return Ok(());
        }
        own_files::overwrite(persistent, FILE, text(0).as_bytes(), Sync::Now)
    });
}

fn when_writable(
    mut persistent: watch::Receiver<Option<PathBuf>>,
    verb: &'static str,
    work: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) {
    tokio::spawn(async move {
        let Ok(Some(persistent)) = persistent
            .wait_for(Option::is_some)
            .await
            .map(|persistent| persistent.clone())
        else {
            return;
        };
        if let Err(error) = threads::FILES.run(move || work(&persistent)).await {
            log::warn!("app: the number of short boots cannot be {verb}: {error}");
        }
    });
}

/// Always as long as the one before, so that it takes the same place.
fn text(count: u32) -> String {
    format!("{count:010}\n")
}

fn load(persistent: &Path) -> u32 {
    // A file with other content counts as none.
    own_files::read(persistent, FILE)
        .ok()
        .and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn file(persistent: &Path) -> PathBuf {
        persistent.join(own_files::DIRECTORY).join(FILE)
    }

    #[tokio::test]
    async fn no_link_on_a_disk_is_followed() -> io::Result<()> {
        let (directory, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let persistent = || Some(directory.path().to_owned());
        symlink(other.path(), directory.path().join(".tinyboot"))?;
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(fs::read_dir(other.path())?.count(), 0);

        fs::remove_file(directory.path().join(".tinyboot"))?;
        assert_eq!(count(persistent()).await, 1);
        let victim = other.path().join("victim");
        fs::write(&victim, "9")?;
        symlink(&victim, file(directory.path()).with_extension("new"))?;
        assert_eq!(count(persistent()).await, 2);
        assert_eq!(fs::read(&victim)?, b"9");
        Ok(())
    }

    #[tokio::test]
    async fn the_count_goes_on_and_garbage_starts_it_again() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let persistent = || Some(directory.path().to_owned());
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(count(persistent()).await, 2);
        fs::write(file(directory.path()), "many")?;
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(count(None).await, 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_disk_that_is_full_keeps_the_count_and_the_pause_grows() -> io::Result<()> {
        if !nix::unistd::Uid::effective().is_root() {
            return Ok(());
        }
        let directory = tempfile::tempdir()?;
        let size = nix::mount::mount(
            Some("none"),
            directory.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=64k"),
        );
        if size.is_err() {
            return Ok(());
        }
        let persistent = || Some(directory.path().to_owned());
        let mut counts = Vec::new();
        for _ in 0..3 {
            counts.push(count(persistent()).await);
        }
        let filler = directory.path().join("big");
        let mut big = fs::File::create(filler)?;
        while io::Write::write_all(&mut big, &[0; 4096]).is_ok() {}
        for _ in 0..3 {
            counts.push(count(persistent()).await);
        }
        let kept = load(directory.path());
        nix::mount::umount2(directory.path(), nix::mount::MntFlags::MNT_DETACH)?;
        assert_eq!((counts, kept), (vec![1, 2, 3, 4, 5, 6], 6));
        Ok(())
    }

    #[tokio::test]
    async fn a_count_that_cannot_be_written_is_one_more_than_before() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let persistent = || Some(directory.path().to_owned());
        assert_eq!(count(persistent()).await, 1);
        // Neither as long as a new one, nor can that take its place.
        fs::write(file(directory.path()), "6")?;
        fs::create_dir(file(directory.path()).with_extension("new"))?;
        assert_eq!(count(persistent()).await, 7);
        Ok(())
    }

    #[tokio::test]
    async fn boots_are_forgotten_also_when_the_disk_comes_later() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        assert_eq!(count(Some(directory.path().to_owned())).await, 1);
        let (sender, persistent) = watch::channel(None);
        forget(persistent);
        sender.send_replace(Some(directory.path().to_owned()));
        while load(directory.path()) != 0 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_disk_that_is_full_before_the_first_count_has_room_for_it() -> io::Result<()> {
        if !nix::unistd::Uid::effective().is_root() {
            return Ok(());
        }
        let directory = tempfile::tempdir()?;
        let size = nix::mount::mount(
            Some("none"),
            directory.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=64k"),
        );
        if size.is_err() {
            return Ok(());
        }
        let (_sender, persistent) = watch::channel(Some(directory.path().to_owned()));
        reserve(persistent);
        let made = async {
            while own_files::read(directory.path(), FILE).is_err() {
                tokio::task::yield_now().await;
            }
        };
        let made = tokio::time::timeout(Duration::from_secs(10), made).await;
        let mut big = fs::File::create(directory.path().join("big"))?;
        while io::Write::write_all(&mut big, &[0; 4096]).is_ok() {}
        let mut counts = Vec::new();
        for _ in 0..3 {
            counts.push(count(Some(directory.path().to_owned())).await);
        }
        nix::mount::umount2(directory.path(), nix::mount::MntFlags::MNT_DETACH)?;
        assert!(made.is_ok());
        assert_eq!(counts, [1, 2, 3]);
        Ok(())
    }
}
