//! Network namespaces for tests: one for the client, which is the process of the test, and one for servers.
//!
//! A test runs twice. The first run starts the test's own program again in new namespaces, the second one is that:
//! a user namespace can only be entered by a process that has a single thread, which a test never is.

use std::fs::{File, read_to_string};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::InfoKind;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tempfile::TempDir;
use tinyboot::status::{Lease, Status};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::dhcp::Backoff;
use super::super::fixed::Plan;
use super::super::{Shared, Surroundings, run_with};
use crate::settings;
use crate::status::Board;

/// The task that is tested.
type Running = tokio::task::JoinHandle<()>;

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Set in the second run.
const INSIDE: &str = "TINYBOOT_TEST_NAMESPACE";
/// Where CI says that nothing may be skipped.
const REQUIRED: &str = "TINYBOOT_TESTS_REQUIRE";

/// Runs `test` in namespaces of its own, if `programs` are there. `name` is the path of the test function.
pub fn isolated<F: Future<Output = Outcome>>(
    name: &str,
    programs: &[&str],
    test: impl FnOnce(World) -> F,
) -> Outcome {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(async { test(World::new().await?).await });
    }
    if let Some(program) = programs.iter().find(|program| find(program).is_none()) {
        return skip(name, &format!("the program {program} is not in PATH"));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1");
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let maps = [
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ];
    // SAFETY: the closure runs between fork and exec; it makes system calls, and allocates only in a process whose
    // other threads are not there any longer but whose allocator glibc keeps usable after a fork.
    unsafe {
        command.pre_exec(move || {
            let namespaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
            if unshare(namespaces).is_ok() {
                return Ok(());
            }
            unshare(namespaces | CloneFlags::CLONE_NEWUSER)?;
            std::fs::write("/proc/self/setgroups", "deny")?;
            for (file, map) in &maps {
                std::fs::write(Path::new("/proc/self").join(file), map)?;
            }
            Ok(())
        });
    }
    // Its lines would look like those of another test run, so they are shown only if it fails.
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = [output.stdout, output.stderr]
                .map(|text| String::from_utf8_lossy(&text).into_owned());
            Err(format!(
                "{name} in its namespaces: {}\n{}",
                output.status,
                text.concat()
            )
            .into())
        }
        Err(error) => skip(name, &format!("no namespaces: {error}")),
    }
}

#[allow(clippy::print_stderr, reason = "a skip is to be seen")]
fn skip(name: &str, why: &str) -> Outcome {
    if std::env::var_os(REQUIRED).is_some_and(|value| value == "1") {
        return Err(format!("{name} must not be skipped: {why}").into());
    }
    eprintln!("{name} was skipped: {why}");
    Ok(())
}

/// Where a program is.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// A client's namespace with links `cli0`, `cli1` …, whose other ends are `srv0`, `srv1` … in the servers' namespace.
pub struct World {
    pub directory: TempDir,
    pub handle: Handle,
    pub board: Board,
    pub persistent: watch::Sender<Option<std::path::PathBuf>>,
    pub pauses: watch::Sender<()>,
    pub stop: CancellationToken,
    servers: File,
    _connections: JoinSet<()>,
    processes: Vec<Process>,
}

impl World {
    async fn new() -> Result<Self, Box<dyn std::error::Error>> {
        // A thread that leaves the namespace it was born in; its namespace lives on in the open file.
        let servers = std::thread::spawn(|| -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid()))
        });
        let servers = servers
            .join()
            .map_err(|_| "the thread for the servers' namespace panicked")??;
        let mut connections = JoinSet::new();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        connections.spawn(connection);
        Ok(Self {
            directory: tempfile::tempdir()?,
            handle,
            board: Board::new(Status::default()),
            persistent: watch::Sender::new(None),
            pauses: watch::Sender::default(),
            stop: CancellationToken::new(),
            servers,
            _connections: connections,
            processes: Vec::new(),
        })
    }

    /// Makes the pair of links number `number`; the server's end is up and has the address if there is one.
    pub async fn pair(&self, number: u8, address: Option<Ipv4Addr>) -> Outcome {
        let (client, server) = (format!("cli{number}"), format!("srv{number}"));
        self.handle
            .link()
            .add(LinkVeth::new(&client, &server).build())
            .execute()
            .await?;
        let moved = LinkUnspec::new_with_name(&server)
            .setns_by_fd(self.servers.as_raw_fd())
            .build();
        self.handle.link().change(moved).execute().await?;
        self.on_server(move |handle| async move {
            handle
                .link()
                .change(LinkUnspec::new_with_name(&server).up().build())
                .execute()
                .await?;
            if let Some(address) = address {
                let index = index_of(&handle, &server).await?;
                handle
                    .address()
                    .add(index, IpAddr::V4(address), 24)
                    .execute()
                    .await?;
            }
            Ok(())
        })
    }

    /// Gives the server's end of a pair one more address.
    pub fn occupy(&self, number: u8, address: impl Into<IpAddr>) -> Outcome {
        let address = address.into();
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        self.on_server(move |handle| async move {
            let index = index_of(&handle, &format!("srv{number}")).await?;
            Ok(handle
                .address()
                .add(index, address, prefix)
                .execute()
                .await?)
        })
    }

    /// Brings the loopback interface of the client's namespace up.
    pub async fn loopback(&self) -> Outcome {
        Ok(self
            .handle
            .link()
            .change(LinkUnspec::new_with_name("lo").up().build())
            .execute()
            .await?)
    }

    /// Switches the server's end of a pair on or off, which the client sees as its carrier.
    pub fn cable(&self, number: u8, plugged: bool) -> Outcome {
        self.on_server(move |handle| async move {
            let link = LinkUnspec::new_with_name(&format!("srv{number}"));
            let link = if plugged { link.up() } else { link.down() };
            Ok(handle.link().change(link.build()).execute().await?)
        })
    }

    /// Does `work` with the links of the servers' namespace.
    pub fn on_server<F: Future<Output = Outcome>>(
        &self,
        work: impl FnOnce(Handle) -> F + Send + 'static,
    ) -> Outcome {
        self.in_servers_namespace(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime
                .block_on(async {
                    let (connection, handle, _) = rtnetlink::new_connection()?;
                    tokio::spawn(connection);
                    work(handle).await
                })
                .map_err(|error| io::Error::other(error.to_string()))
        })?;
        Ok(())
    }

    pub fn in_servers_namespace<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.servers.as_fd(), CloneFlags::CLONE_NEWNET)?;
                work()
            });
            thread.join().map_err(|_| io::Error::other("panicked"))?
        })
    }

    /// Starts a server in the servers' namespace; it ends with the test, or by [`World::kill`].
    pub fn start(&mut self, command: &mut Command) -> Outcome {
        let child = self.in_servers_namespace(|| command.stdin(Stdio::null()).spawn())?;
        self.processes.push(Process(child));
        Ok(())
    }

    /// Ends all servers at once.
    pub fn kill(&mut self) {
        self.processes.clear();
    }

    /// Makes client and server as they were before the first lease.
    pub async fn forget(&mut self) -> Outcome {
        for (address, _, _) in self.addresses("cli0").await? {
            let message = rtnetlink::AddressMessageBuilder::<Ipv4Addr>::new()
                .index(index_of(&self.handle, "cli0").await?)
                .address(address, 24)
                .build();
            self.handle.address().del(message).execute().await?;
        }
        std::fs::remove_file(self.directory.path().join("dnsmasq.leases"))?;
        self.board = Board::new(Status::default());
        self.stop = CancellationToken::new();
        Ok(())
    }

    /// Runs what is tested, on this world's board.
    pub fn run(&self, settings: settings::Network) -> Running {
        self.run_by("", settings)
    }

    /// The same with a kernel command line.
    pub fn run_by(&self, command_line: &str, settings: settings::Network) -> Running {
        let fixed = Plan::new(command_line, &settings.links);
        let shared = Shared {
            settings,
            image_name: "image".into(),
            resolv_conf: self.resolv_conf(),
            hosts: self.directory.path().join("hosts"),
            backoff: Backoff {
                first: Duration::from_millis(300),
                longest: Duration::from_secs(1),
            },
            board: self.board.clone(),
            given: Default::default(),
            fixed: fixed.into(),
            own: Default::default(),
            configured: Default::default(),
            like_hardware: Some(InfoKind::Veth),
        };
        let surroundings = Surroundings {
            persistent: self.persistent.subscribe(),
            pauses: self.pauses.subscribe(),
            stop: self.stop.clone(),
        };
        tokio::spawn(run_with(shared, surroundings))
    }

    /// Where the client writes its resolvers.
    pub fn resolv_conf(&self) -> std::path::PathBuf {
        self.directory.path().join("resolv.conf")
    }

    /// The resolvers' file without its comment.
    pub fn resolvers(&self) -> String {
        let text = read_to_string(self.resolv_conf()).unwrap_or_default();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// Waits until the status is as wanted; an error that shows the status after half a minute.
    pub async fn until(
        &self,
        what: &str,
        wanted: impl FnMut(&Status) -> bool,
    ) -> Result<Status, String> {
        let mut changes = self.board.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(30), changes.wait_for(wanted)).await;
        match waited {
            Ok(Ok(status)) => Ok(status.clone()),
            _ => Err(format!(
                "not seen: {what}; the status is {:?}",
                self.board.snapshot()
            )),
        }
    }

    /// Waits for a lease on `cli0`.
    pub async fn bound(&self) -> Result<Lease, Box<dyn std::error::Error>> {
        let status = self
            .until("a lease on cli0", |status| lease(status, "cli0").is_some())
            .await?;
        Ok(lease(&status, "cli0").ok_or("no lease")?)
    }

    /// IPv4 addresses of a link with their prefixes and valid lifetimes in seconds.
    pub async fn addresses(
        &self,
        link: &str,
    ) -> Result<Vec<(Ipv4Addr, u8, u32)>, Box<dyn std::error::Error>> {
        let index = index_of(&self.handle, link).await?;
        let listed = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute();
        let listed: Vec<_> = listed.try_collect().await?;
        let mut found = Vec::new();
        for message in listed
            .iter()
            .filter(|it| it.header.family == AddressFamily::Inet)
        {
            let mut entry = (Ipv4Addr::UNSPECIFIED, message.header.prefix_len, 0);
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => entry.0 = *address,
                    AddressAttribute::CacheInfo(lifetime) => entry.2 = lifetime.ifa_valid,
                    _ => {}
                }
            }
            found.push(entry);
        }
        Ok(found)
    }

    /// Routes of the main table as `destination/prefix via gateway dev index metric`.
    pub async fn routes(&self) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let listed: Vec<_> = self.handle.route().get(all).execute().try_collect().await?;
        let mut found = Vec::new();
        for message in listed.iter().filter(|it| it.header.table == 254) {
            let mut text = [
                "0.0.0.0".to_owned(),
                "link".into(),
                String::new(),
                "0".into(),
            ];
            for attribute in &message.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(it)) => text[0] = it.to_string(),
                    RouteAttribute::Gateway(RouteAddress::Inet(it)) => text[1] = it.to_string(),
                    RouteAttribute::Oif(it) => text[2] = it.to_string(),
                    RouteAttribute::Priority(it) => text[3] = it.to_string(),
                    _ => {}
                }
            }
            let [destination, gateway, link, metric] = text;
            let prefix = message.header.destination_prefix_length;
            let relative = metric.parse::<u32>()?.saturating_sub(link.parse()?);
            found.push(format!(
                "{destination}/{prefix} via {gateway} metric {relative}+index"
            ));
        }
        found.sort();
        Ok(found)
    }

    /// The link's MTU.
    pub fn mtu(&self, link: &str) -> Result<u32, Box<dyn std::error::Error>> {
        // /sys shows the links of the namespace that mounted it; ioctl shows ours.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")
            .or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0"))?;
        // SAFETY: an ifreq of zeros is valid.
        let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().zip(link.bytes()) {
            *place = byte as nix::libc::c_char;
        }
        // SAFETY: the descriptor is open and the request outlives the call.
        let result = unsafe {
            nix::libc::ioctl(socket.as_raw_fd(), nix::libc::SIOCGIFMTU, &raw mut request)
        };
        if result != 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: SIOCGIFMTU fills in this member.
        Ok(u32::try_from(unsafe { request.ifr_ifru.ifru_mtu })?)
    }
}

/// The lease of a link.
pub fn lease(status: &Status, link: &str) -> Option<Lease> {
    status
        .links
        .iter()
        .find(|it| it.name == link)?
        .lease
        .clone()
}

/// The index of a link.
pub async fn index_of(handle: &Handle, name: &str) -> Result<u32, Box<dyn std::error::Error>> {
    let found = handle
        .link()
        .get()
        .match_name(name)
        .execute()
        .try_next()
        .await?;
    Ok(found.ok_or("no such link")?.header.index)
}

/// A server's process that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
