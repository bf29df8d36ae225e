//! `/proc/self/mountinfo` (Documentation/filesystems/proc.rst).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is.
    pub path: PathBuf,
    /// The kernel's name of its kind.
    pub kind: String,
    /// What it was mounted from.
    pub source: PathBuf,
}

/// What has to be unmounted before the power goes, in this order: file systems on devices, and everything that lies
/// above one of them; the last mounted first.
pub fn to_unmount(mountinfo: &[u8]) -> Vec<Mounted> {
    let all: Vec<Mounted> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect();
    let mut chosen: Vec<Mounted> = Vec::new();
    for mounted in all {
        let above = chosen
            .iter()
            .any(|below| mounted.path.starts_with(&below.path));
        if mounted.source.starts_with("/dev") || above {
            chosen.push(mounted);
        }
    }
    chosen.reverse();
    chosen
}

fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = fields.nth(4)?;
    // The optional fields end with a hyphen.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8(rest.next()?.to_vec()).ok()?;
    Some(Mounted {
        path: unescape(path),
        kind,
        source: unescape(rest.next()?),
    })
}

/// A blank in a name stands there as `\040`.
fn unescape(mut field: &[u8]) -> PathBuf {
    let mut name = Vec::new();
    while let Some((first, rest)) = field.split_first() {
        match (first, rest) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) => {
                name.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                field = rest;
            }
            _ => {
                name.push(*first);
                field = rest;
            }
        }
    }
    OsString::from_vec(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOUNTINFO: &[u8] = b"1 1 0:2 / / rw - rootfs rootfs rw\n\
        21 1 0:20 / /proc rw,nosuid shared:1 master:2 - proc proc rw\n\
        23 1 0:6 / /dev rw,nosuid - devtmpfs devtmpfs rw\n\
        30 1 0:29 / /persistent ro - tmpfs tmpfs ro\n\
        31 30 0:30 / /persistent rw,noatime - btrfs /dev/vda rw\n\
        32 1 11:0 / /iso ro - iso9660 /dev/sr0 ro\n\
        33 31 0:31 / /persistent/a\\040b rw - tmpfs none rw\n\n";

    #[test]
    fn devices_and_what_lies_above_them_the_last_first() {
        let paths: Vec<_> = to_unmount(MOUNTINFO)
            .into_iter()
            .map(|mounted| (mounted.path, mounted.kind))
            .collect();
        let expected = [
            ("/persistent/a b", "tmpfs"),
            ("/iso", "iso9660"),
            ("/persistent", "btrfs"),
        ];
        assert_eq!(
            paths,
            expected.map(|(path, kind)| (PathBuf::from(path), kind.to_owned()))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), line in "[0-9:/ \\\\-]{0,60}") {
            let _ = (to_unmount(&bytes), to_unmount(line.as_bytes()));
        }
    }
}
