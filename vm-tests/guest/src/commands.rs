//! The command lines: words, the first of which says what to do.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::SystemTime;

use crate::replay::{self, Plan};
use crate::{attack, chaos, endings, figures, http, journal, network, notify, say};

/// Runs one command line, and the console says what it has to say.
pub fn run_aloud(line: &str) {
    match run(line) {
        Ok(output) => output
            .lines()
            .for_each(|text| say(&format!("{line}: {text}"))),
        Err(error) => say(&format!("{line}: error: {error}")),
    }
}

/// Runs one command line and returns what it has to say.
pub fn run(line: &str) -> io::Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["attack"] => attack::all(),
        ["exhaust", way] => attack::exhaust(way),
        ["reopen"] => attack::reopen(),
        ["end", way] => endings::end(way),
        ["on-term", choice] => endings::on_termination(choice),
        ["orphans", count] => endings::orphans(number(count)?),
        ["children", count] => endings::children(number(count)?),
        ["figures"] => figures::now(),
        ["idle", seconds] => figures::idle(number(seconds)?),
        ["notify", message] => notify::send(message),
        ["feed"] => notify::feed(),
        ["starve"] => notify::starve(),
        ["say", text @ ..] => {
            say(&text.join(" "));
            Ok(String::new())
        }
        ["flood", count] => {
            (0..number(count)?).for_each(|line| say(&format!("line {line} {}", "x".repeat(80))));
            Ok(String::new())
        }
        ["processes"] => processes(),
        ["cat", path] => fs::read_to_string(path),
        ["ls", path] => list(Path::new(path)),
        ["tree", path] => tree(Path::new(path)),
        ["mkdir", path] => fs::create_dir_all(path).map(|()| String::new()),
        ["write", path, text] => write(Path::new(path), text).map(|()| String::new()),
        ["fill", path] => fill(Path::new(path)),
        ["count", path] => count(Path::new(path)),
        ["mount", kind, device, path] => mount(kind, device, path, 0),
        ["mount-ro", kind, device, path] => mount(kind, device, path, libc::MS_RDONLY),
        ["umount", path] => umount(path),
        // For what takes longer than a request may.
        ["background", words @ ..] => {
            let line = words.join(" ");
            thread::spawn(move || run_aloud(&line));
            Ok(String::new())
        }
        ["journal", path, count] => journal::run(Path::new(path), number(count)?),
        ["durable"] => Ok(journal::words(journal::durable())),
        ["recheck", path, known @ ..] => chaos::recheck(path, known),
        ["hoard"] => chaos::hoard(),
        ["release"] => chaos::release(),
        ["feed-by-writing", path] => chaos::feed_by_writing(path),
        ["dirty", path, mebibytes] => chaos::dirty(path, number(mebibytes)?),
        ["clean", path, mebibytes] => chaos::clean(path, number(mebibytes)?),
        ["empty", path] => chaos::empty(path),
        ["replay", kind, device, mebibytes, most, disks, forgotten] => {
            let plan = Plan {
                kind,
                mebibytes: number(mebibytes)?.into(),
                most: number(most)? as usize,
                disks: number(disks)?.into(),
                forgotten: number(forgotten)? as usize,
            };
            replay::run(&plan, Path::new(device))
        }
        ["speed", path] => speed(Path::new(path)),
        ["time"] => Ok(seconds()?.to_string()),
        ["bind", port] => bind(number(port)?),
        ["addresses"] => network::addresses(),
        ["routes"] => network::routes(),
        ["resolve", name] => resolve(name),
        ["get", url] => http::get(url),
        _ => Err(io::Error::other(format!(
            "the probe does not know \"{line}\""
        ))),
    }
}

fn number(word: &str) -> io::Result<u32> {
    word.parse()
        .map_err(|_| io::Error::other(format!("\"{word}\" is no number")))
}

/// Writes a file and its directory's entry through to the disk, so that both outlive a power failure.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Writes new files into a directory until there is no room for a single byte; how many there are then.
fn fill(top: &Path) -> io::Result<String> {
    let (mut size, mut count) = (1 << 20, 0);
    while size > 0 {
        let path = top.join(format!("fill{count}"));
        let result = File::create(path).and_then(|mut file| {
            file.write_all(&vec![b'x'; size])?;
            file.sync_all()
        });
        count += 1;
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => size /= 16,
            other => other?,
        }
    }
    Ok(count.to_string())
}

/// Raises the number in a file by one; a file that is not there counts as 0.
fn count(path: &Path) -> io::Result<String> {
    let before = match fs::read_to_string(path) {
        Ok(text) => number(text.trim())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let text = (before + 1).to_string();
    write(path, &text)?;
    Ok(text)
}

/// How many bits a second a terminal sends.
fn speed(path: &Path) -> io::Result<String> {
    let terminal = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)?;
    let mut settings = std::mem::MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the descriptor is open, and the settings are written if and only if 0 is returned.
    let settings = unsafe {
        if libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        settings.assume_init()
    };
    Ok(match settings.c_cflag & libc::CBAUD {
        libc::B9600 => "9600".into(),
        libc::B115200 => "115200".into(),
        other => format!("code {other:o}"),
    })
}

/// Listens on a TCP port for a moment.
fn bind(port: u32) -> io::Result<String> {
    let port = u16::try_from(port).map_err(io::Error::other)?;
    TcpListener::bind(("0.0.0.0", port)).map(|_| String::new())
}

fn list(path: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join("\n"))
}

/// What is below a directory, a line each, sorted by path: permissions and kind as a number, then a file's length and
/// FNV-1a hash or a link's target.
fn tree(top: &Path) -> io::Result<String> {
    let mut lines = Vec::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        let content = if metadata.is_symlink() {
            fs::read_link(&path)?.to_string_lossy().into_owned()
        } else if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                todo.push(entry?.path());
            }
            String::new()
        } else {
            let bytes = fs::read(&path)?;
            let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            format!("{} {hash:x}", bytes.len())
        };
        // A link's own permissions mean nothing.
        let mode = if metadata.is_symlink() {
            0o120_000
        } else {
            metadata.mode()
        };
        lines.push(format!("{} {mode:o} {content}", path.display()));
    }
    lines.sort();
    Ok(lines.join("\n"))
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

pub fn mount(kind: &str, device: &str, path: &str, flags: libc::c_ulong) -> io::Result<String> {
    let (kind, device, target) = (c_string(kind)?, c_string(device)?, c_string(path)?);
    fs::create_dir_all(path)?;
    // SAFETY: three strings that end with a zero byte and live through the call, and no data.
    let status = unsafe {
        libc::mount(
            device.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    if status == 0 {
        Ok(String::new())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub fn umount(path: &str) -> io::Result<String> {
    let path = c_string(path)?;
    // SAFETY: a string that ends with a zero byte and lives through the call.
    if unsafe { libc::umount(path.as_ptr()) } == 0 {
        Ok(String::new())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Each process as `pid parent state name`, a line each, without the kernel's threads.
fn processes() -> io::Result<String> {
    let mut text = String::new();
    for name in list(Path::new("/proc"))?
        .lines()
        .filter(|name| name.parse::<u32>().is_ok())
    {
        // A process may end between the two steps.
        let Ok(stat) = fs::read_to_string(format!("/proc/{name}/stat")) else {
            continue;
        };
        let Some((start, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = rest.split(' ').collect();
        if let ([state, parent, ..], Some((_, program))) =
            (fields.as_slice(), start.split_once(" ("))
            && *parent != "2"
            && name != "2"
        {
            let _ = writeln!(text, "{name} {parent} {state} {program}");
        }
    }
    Ok(text)
}

fn seconds() -> io::Result<u64> {
    Ok(SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(io::Error::other)?
        .as_secs())
}

fn resolve(name: &str) -> io::Result<String> {
    let mut addresses: Vec<String> = (name, 0)
        .to_socket_addrs()?
        .map(|address| address.ip().to_string())
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses.join("\n"))
}
