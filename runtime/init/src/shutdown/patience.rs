//! How long to wait for disks: as long as they get on with what they were given to write. Without I/O and clock.

use std::time::{Duration, Instant};

/// How far all disks of the machine are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// KiB in memory that the disks lack.
    pub left: u64,
    /// Grows with all that a disk has done: sectors written or discarded, caches flushed.
    pub done: u64,
}

impl Progress {
    /// Reads `/proc/meminfo` and `/proc/diskstats` (Documentation/filesystems/proc.rst, admin-guide/iostats.rst).
    pub fn read(meminfo: &[u8], diskstats: &[u8]) -> Self {
        Self {
            left: left(&String::from_utf8_lossy(meminfo)),
            done: done(&String::from_utf8_lossy(diskstats)),
        }
    }
}

fn left(meminfo: &str) -> u64 {
    let of = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    of("Dirty:").saturating_add(of("Writeback:"))
}

fn done(diskstats: &str) -> u64 {
    // Sectors written, sectors discarded, and requests to flush.
    let of = |line: &str| {
        [9, 16, 18]
            .into_iter()
            .filter_map(|field| {
                line.split_ascii_whitespace()
                    .nth(field)?
                    .parse::<u64>()
                    .ok()
            })
            .fold(0, u64::saturating_add)
    };
    diskstats.lines().map(of).fold(0, u64::saturating_add)
}

/// Ends when no disk has got on for some time.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    since: Instant,
    least: u64,
    done: u64,
}

impl Patience {
    /// Begins to wait: for `limit`, and again as long after each progress.
    pub fn new(limit: Duration, now: Instant, progress: Progress) -> Self {
        Self {
            limit,
            since: now,
            least: progress.left,
            done: progress.done,
        }
    }

    /// Whether it is worth while to wait on.
    pub fn see(&mut self, now: Instant, progress: Progress) -> bool {
        if progress.left < self.least || progress.done > self.done {
            self.least = self.least.min(progress.left);
            self.done = self.done.max(progress.done);
            self.since = now;
        }
        now.saturating_duration_since(self.since) < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn progress(left: u64, done: u64) -> Progress {
        Progress { left, done }
    }

    /// For how many seconds a disk is waited for that writes `rate` KiB a second of `dirty` KiB, and hangs from `hangs` seconds on.
    fn waited(dirty: u64, rate: u64, hangs: u64) -> u64 {
        let begin = Instant::now();
        let at = |second: u64| {
            let done = rate.saturating_mul(second.min(hangs)).min(dirty);
            progress(dirty - done, done * 2)
        };
        let mut patience = Patience::new(LIMIT, begin, at(0));
        (1..100_000)
            .find(|second| {
                let now = at(*second);
                now.left == 0 || !patience.see(begin + Duration::from_secs(*second), now)
            })
            .unwrap_or(u64::MAX)
    }

    #[test]
    fn a_slow_disk_is_waited_for_and_one_that_hangs_is_not() {
        assert_eq!(waited(120 << 10, 2 << 10, 1_000_000), 60);
        assert_eq!(waited(16 << 20, 1 << 10, 1_000_000), 16 << 10);
        assert_eq!(waited(120 << 10, 2 << 10, 0), 20);
        assert_eq!(waited(120 << 10, 2 << 10, 30), 50);
    }

    #[test]
    fn a_disk_that_only_flushes_its_cache_gets_on() {
        let begin = Instant::now();
        let mut patience = Patience::new(LIMIT, begin, progress(8, 5));
        assert!(patience.see(begin + Duration::from_secs(19), progress(8, 6)));
        assert!(patience.see(begin + Duration::from_secs(38), progress(12, 6)));
        assert!(!patience.see(begin + Duration::from_secs(39), progress(12, 6)));
    }

    #[test]
    fn the_kernels_figures() {
        let meminfo = b"MemTotal: 99 kB\nDirty:   3120 kB\nWriteback:  12 kB\nWritebackTmp: 7 kB\n";
        let diskstats =
            b" 254 0 vda 9 9 9 9 100 0 4000 70 0 1 2 3 0 16 5 2 1\n   7 0 loop0 1 0 1 1 0 0 8\n";
        assert_eq!(
            Progress::read(meminfo, diskstats),
            progress(3132, 4000 + 16 + 2 + 8)
        );
        assert_eq!(Progress::read(b"", b""), progress(0, 0));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(meminfo in any::<Vec<u8>>(), numbers in "[0-9 \\n]{0,200}") {
            let _ = (Progress::read(&meminfo, &meminfo), Progress::read(numbers.as_bytes(), numbers.as_bytes()));
        }
    }
}
