//! What the app tells by sd_notify(3): lines of `KEY=value` in a datagram, and who sent it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Where the app finds the socket, as `$NOTIFY_SOCKET`.
pub const SOCKET: &str = "/run/tinyboot/notify";
/// The longest datagram that is read; a longer one is passed over.
pub const LENGTH: usize = 4096;
/// The longest `STATUS=` that is kept.
const LONGEST_STATUS: usize = 500;

/// One thing that the app tells. Keys that init does not act on are passed over, as the protocol wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The app does its work.
    Ready,
    /// The app reads its configuration again; it is ready afterwards.
    Reloading,
    /// The app began to stop.
    Stopping,
    /// What it does, in its words.
    Status(String),
    /// It wants this much time from now on before it is killed.
    ExtendTimeout(Duration),
    /// It is alive.
    Watchdog,
    /// It wants to be treated as if it were not.
    WatchdogTrigger,
    /// It will say that it is alive this often from now on; never, if zero.
    WatchdogTime(Duration),
}

/// The socket that the app writes to.
#[derive(Debug)]
pub struct Listener(UnixDatagram);

impl Listener {
    /// Opens a new socket in the place of an earlier one, whose messages are lost with it. Processes that gave up root may
    /// write to it too.
    ///
    /// # Errors
    ///
    /// `path` cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        Ok(Self(socket))
    }

    /// The next message and the process that the kernel says it is from. Cancelling the future loses nothing.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) said.
    pub async fn next(&self) -> io::Result<(Pid, Vec<Notice>)> {
        self.0
            .async_io(Interest::READABLE, || receive(self.0.as_fd()))
            .await
    }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<(Pid, Vec<Notice>)> {
    let mut buffer = [0; LENGTH];
    let (length, cut, sender) = receive_with_sender(socket, &mut buffer)?;
    // A number that was cut off is another number.
    let notices = if cut {
        Vec::new()
    } else {
        parse(buffer.get(..length).unwrap_or_default())
    };
    Ok((sender, notices))
}

/// The length of a datagram, whether it was longer, and who sent it. Not nix's: it gives no credentials when descriptors come
/// along (FDSTORE=1, BARRIER=1). Here is room for the credentials alone, so that the kernel closes those.
fn receive_with_sender(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, bool, Pid)> {
    // SAFETY: computes a number.
    const ROOM: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;
    // Words, for the alignment of a header.
    let mut control = [0_u64; ROOM.div_ceil(8)];
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: zeros are a message header without anything in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = ROOM;
    // SAFETY: the header points to `slice`, to `buffer` through it and to `control`, with their lengths; all of them outlive
    // the call.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    let mut sender = Pid::from_raw(0);
    // SAFETY: the kernel filled the header in; the first control message is there as a whole or the pointer is null, and it is
    // one with credentials when it says so and is long enough.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        if !first.is_null()
            && (*first).cmsg_level == libc::SOL_SOCKET
            && (*first).cmsg_type == libc::SCM_CREDENTIALS
            && (*first).cmsg_len >= libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize
        {
            let credentials = libc::CMSG_DATA(first)
                .cast::<libc::ucred>()
                .read_unaligned();
            sender = Pid::from_raw(credentials.pid);
        }
    }
    Ok((length, message.msg_flags & libc::MSG_TRUNC != 0, sender))
}

/// Reads one datagram.
pub fn parse(datagram: &[u8]) -> Vec<Notice> {
    let text = String::from_utf8_lossy(datagram);
    let fields = text.lines().filter_map(|line| line.split_once('='));
    let time = |value: &str| value.parse().ok().map(Duration::from_micros);
    fields
        .filter_map(|(key, value)| match (key, value) {
            ("READY", "1") => Some(Notice::Ready),
            ("RELOADING", "1") => Some(Notice::Reloading),
            ("STOPPING", "1") => Some(Notice::Stopping),
            ("STATUS", status) => Some(Notice::Status(
                status.chars().take(LONGEST_STATUS).collect(),
            )),
            ("EXTEND_TIMEOUT_USEC", value) => time(value).map(Notice::ExtendTimeout),
            ("WATCHDOG", "1") => Some(Notice::Watchdog),
            ("WATCHDOG", "trigger") => Some(Notice::WatchdogTrigger),
            ("WATCHDOG_USEC", value) => time(value).map(Notice::WatchdogTime),
            _ => None,
        })
        .collect()
}

/// When a process was started, in clock ticks since boot, from its `/proc/PID/stat` (proc_pid_stat(5)).
pub fn start_time(stat: &str) -> Option<u64> {
    // The name, in brackets, may have blanks and brackets in it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The processes that may speak for the app.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    main: Pid,
    since: Option<u64>,
}

impl Family {
    /// The app's first process, which was just started.
    pub fn of(main: Pid) -> Self {
        Self {
            main,
            since: read_start_time(main),
        }
    }

    /// Whether `sender` is the app's: its first process or one that was started later. Of those that have ended only processes
    /// of this run can have written to its socket; what an earlier run left and could not be killed was started before.
    pub fn has(self, sender: Pid) -> bool {
        sender == self.main
            || (sender.as_raw() > 1
                && read_start_time(sender).is_none_or(|time| Some(time) >= self.since))
    }
}

fn read_start_time(pid: Pid) -> Option<u64> {
    start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_datagram_has_several_lines() {
        let expected = [
            Notice::Status("at work: a=b".into()),
            Notice::Ready,
            Notice::Watchdog,
            Notice::ExtendTimeout(Duration::from_secs(5)),
        ];
        assert_eq!(parse(b"STATUS=at work: a=b\nREADY=1\nWATCHDOG=1\nMAINPID=7\nFDSTORE=1\nEXTEND_TIMEOUT_USEC=5000000\n"), expected);
        assert_eq!(
            parse(
                b"READY=0\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=x\nWATCHDOG=2\nWATCHDOG_USEC=-1\n\xff"
            ),
            [Notice::Stopping]
        );
        assert_eq!(
            parse(b"WATCHDOG=trigger\nWATCHDOG_USEC=1500000\nRELOADING=1"),
            [
                Notice::WatchdogTrigger,
                Notice::WatchdogTime(Duration::from_millis(1500)),
                Notice::Reloading
            ]
        );
    }

    #[tokio::test]
    async fn a_message_has_its_sender_and_no_descriptors() -> io::Result<()> {
        use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("run/notify");
        let listener = Listener::open(&path)?;
        let sender = std::os::unix::net::UnixDatagram::unbound()?;
        let (reader, writer) = io::pipe()?;
        let descriptors = [writer.as_raw_fd()];
        sendmsg(
            sender.as_raw_fd(),
            &[io::IoSlice::new(b"BARRIER=1\nREADY=1")],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            Some(&UnixAddr::new(&path)?),
        )?;
        drop(writer);
        assert_eq!(listener.next().await?, (Pid::this(), vec![Notice::Ready]));
        // Who waits for its barrier sees the descriptor closed.
        assert_eq!(io::Read::read(&mut &reader, &mut [0])?, 0);

        let mut long = b"READY=1\nSTATUS=".to_vec();
        long.resize(LENGTH + 1, b'x');
        sender.send_to(&long, &path)?;
        assert_eq!(listener.next().await?, (Pid::this(), vec![]));

        // A new socket takes the place of the old one, with nothing in it.
        sender.send_to(b"READY=1", &path)?;
        let listener = Listener::open(&path)?;
        sender.send_to(b"STOPPING=1", &path)?;
        assert_eq!(
            listener.next().await?,
            (Pid::this(), vec![Notice::Stopping])
        );
        Ok(())
    }

    #[test]
    fn the_family_is_the_process_and_those_that_came_later() -> io::Result<()> {
        let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        // This process is older than the child by more than a clock tick: cargo started it, and it runs tests.
        let older = Family {
            main: pid,
            since: read_start_time(Pid::this()).map(|time| time + 1),
        };
        assert!(Family::of(pid).has(pid));
        assert!(Family::of(Pid::this()).has(pid));
        assert!(!older.has(Pid::this()));
        assert!(!older.has(Pid::from_raw(1)) && !older.has(Pid::from_raw(0)));
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    #[test]
    fn a_start_time_is_the_22nd_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 123 456\n";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time("7 (a) S 1"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,200}") {
            let _ = parse(&bytes);
            let _ = start_time(&text);
        }

        #[test]
        fn what_is_said_is_heard(status in "[^\n\r]{0,600}", micros in any::<u64>(), other in "[A-Z_]{1,9}=[a-z]{0,9}") {
            let text = format!("STATUS={status}\nX_{other}\nWATCHDOG_USEC={micros}\nREADY=1");
            let kept: String = status.chars().take(LONGEST_STATUS).collect();
            prop_assert_eq!(parse(text.as_bytes()), [
                Notice::Status(kept),
                Notice::WatchdogTime(Duration::from_micros(micros)),
                Notice::Ready,
            ]);
        }
    }
}
