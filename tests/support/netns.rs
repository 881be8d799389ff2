//! Two hosts of the test's own with one wire between them, which it can cut: network namespaces.
//!
//! A socket stays in the namespace in which it was made, so a thread that enters one makes sockets for
//! the whole test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// Two hosts and the wire between them.
pub(crate) struct Network {
    pub(crate) server: Host,
    pub(crate) peer: Host,
}

impl Network {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            geteuid().is_root(),
            "making network namespaces takes root: run these tests as root, such as \
             sudo -E env PATH=\"$PATH\" cargo test --test netns -- --ignored"
        );
        static SWEPT: Once = Once::new();
        SWEPT.call_once(remove_leftovers);
        let name = format!(
            "hw-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let server = Host::new(format!("{name}-a"), Ipv4Addr::new(192, 0, 2, 1));
        let peer = Host::new(format!("{name}-b"), Ipv4Addr::new(192, 0, 2, 2));
        let (from, to) = (&server.name, &peer.name);
        let pair = format!("link add {LINK} netns {from} type veth peer name {LINK} netns {to}");
        run(Command::new("ip").args(pair.split(' ')), IPROUTE);
        for host in [&server, &peer] {
            host.ip(&format!("addr add {}/30 dev {LINK}", host.addr));
            host.ip("link set lo up");
            // On so short a path the kernel would send 64 KiB in one go, which a slow link then carries
            // for half a second; over the distances of slow links it sends a few segments.
            host.ip(&format!("link set dev {LINK} gso_max_size {BURST}"));
            host.set_link(true);
        }
        Self { server, peer }
    }
}

/// A network namespace with a link to another; it goes when this is dropped, and its processes should
/// be gone before.
pub(crate) struct Host {
    name: String,
    addr: Ipv4Addr,
    namespace: File,
}

impl Host {
    fn new(name: String, addr: Ipv4Addr) -> Self {
        run(Command::new("ip").args(["netns", "add", &name]), IPROUTE);
        let namespace = File::open(format!("/run/netns/{name}")).unwrap();
        let host = Self {
            name,
            addr,
            namespace,
        };
        host.nft(
            "add table inet path; \
             add chain inet path arriving { type filter hook input priority 0; }; \
             add chain inet path leaving { type filter hook output priority 0; }",
        );
        // Whatever this machine prefers: the tests are about what every sender does.
        let chosen = "/proc/sys/net/ipv4/tcp_congestion_control";
        host.inside(|| std::fs::write(chosen, "reno").unwrap());
        host
    }

    pub(crate) fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// Returns a command that runs a program here, in the very process that it starts.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Does something here, on a thread of its own.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter_and_work = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.namespace.as_fd(), network).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(enter_and_work).join().unwrap())
    }

    /// Dials from here.
    pub(crate) fn dial(&self, addr: SocketAddr) -> TcpStream {
        self.inside(|| TcpStream::connect_timeout(&addr, PATIENCE).unwrap())
    }

    /// Listens here, on any port.
    pub(crate) fn listen(&self) -> TcpListener {
        self.inside(|| TcpListener::bind((self.addr, 0)).unwrap())
    }

    /// Dials from here with so little room for what arrives.
    pub(crate) fn dial_with_room(&self, addr: SocketAddr, room: usize) -> TcpStream {
        self.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(room).unwrap();
            socket.connect_timeout(&addr.into(), PATIENCE).unwrap();
            socket.into()
        })
    }

    /// Loses what arrives from the other host.
    pub(crate) fn lose_arriving(&self) {
        self.nft(&format!("add rule inet path arriving iif {LINK} drop"));
    }

    /// Loses what leaves for the other host, before it has left.
    pub(crate) fn lose_leaving(&self) {
        self.nft(&format!("add rule inet path leaving oif {LINK} drop"));
    }

    /// Refuses what arrives from the other host, as firewalls do that answer.
    pub(crate) fn reject_arriving(&self) {
        self.nft(&format!("add rule inet path arriving iif {LINK} reject"));
    }

    /// Takes such rules back.
    pub(crate) fn lose_nothing(&self) {
        self.nft("flush table inet path");
    }

    /// Plugs the wire in at this end, or pulls it out.
    pub(crate) fn set_link(&self, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        self.ip(&format!("link set {LINK} {state}"));
    }

    /// Lets this host send so many kilobits a second; what has to wait, waits.
    pub(crate) fn limit_rate(&self, kbit: u32) {
        let limit = format!("qdisc add dev {LINK} root tbf rate {kbit}kbit burst 4kb limit 4mb");
        let mut command = Command::new("tc");
        command.args(["-n", &self.name]).args(limit.split(' '));
        run(&mut command, IPROUTE);
    }

    /// Returns the bytes that the kernel here holds for a peer, sent or not, until it has their
    /// acknowledgement.
    pub(crate) fn held_for(&self, peer: SocketAddr) -> usize {
        let mut command = self.command("ss");
        command.args(["-Htn", "dst", &peer.to_string()]);
        let text = String::from_utf8(run(&mut command, IPROUTE).stdout).unwrap();
        text.split_whitespace()
            .nth(2)
            .and_then(|held| held.parse().ok())
            .unwrap_or_else(|| panic!("no connection to {peer} in {text:?}"))
    }

    /// Waits until a peer's kernel has acknowledged everything.
    pub(crate) fn wait_acknowledged(&self, peer: SocketAddr) {
        let deadline = Instant::now() + PATIENCE;
        while self.held_for(peer) > 0 {
            assert!(Instant::now() < deadline, "{peer} acknowledges nothing");
        }
    }

    fn ip(&self, command: &str) {
        run(
            Command::new("ip")
                .args(["-n", &self.name])
                .args(command.split(' ')),
            IPROUTE,
        );
    }

    fn nft(&self, command: &str) {
        run(self.command("nft").arg(command), NFTABLES);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The test has failed already where this cannot be done.
        let _status = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Removes the namespaces of test runs that were ended before they could.
fn remove_leftovers() {
    let listed = run(Command::new("ip").args(["netns", "list"]), IPROUTE).stdout;
    for line in String::from_utf8(listed).unwrap().lines() {
        let name = line.split(' ').next().unwrap();
        let Some(("hw", rest)) = name.split_once('-') else {
            continue;
        };
        let pid = rest.split('-').next().unwrap();
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            // Another run may be just as tidy.
            let _gone = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// Runs a command that must succeed; `missing` is the package that has it.
fn run(command: &mut Command, missing: &str) -> Output {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{shown}: {error}; install the package {missing}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{shown} failed: {said}; it takes root, the package {missing}, and a machine that lets us \
         change its network"
    );
    output
}

const IPROUTE: &str = "iproute2";
const NFTABLES: &str = "nftables";

/// Most bytes that a host sends in one go, headers included.
pub(crate) const BURST: usize = 16 << 10;

/// The name of the link on each host.
const LINK: &str = "hw0";
