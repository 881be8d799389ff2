//! A crowd arrives over TLS: how long the heartbeats of those who are there already are held up by it, and
//! what a handshake costs the server.
//!
//! The server is one loop on a thread of its own. Idle clients with heartbeats are there first; then the crowd
//! dials at once, from a loop on another thread, where clients do their part of the handshakes. Where this
//! process may use two cores or more, the first is the server's and the second the clients'. How long the
//! server waited for its core all the same is told: that is other work of the machine, and late pings are
//! later by it.
//!
//! ```sh
//! cargo bench --bench arrival
//! cargo bench --bench arrival -- --test     # everything once, in seconds
//! ```
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[path = "../tests/support/certs.rs"]
mod certs;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heartwheel::stats::{Histogram, Stats};
use heartwheel::tls::{Certificates, ClientTls, Pair, Roots, ServerTls, Trust};
use heartwheel::{
    ClientConfig, ConnId, Context, Handler, ListenerConfig, Reactor, ReactorConfig, WireFactory,
    WireKind, rustls,
};
use rustix::time::{ClockId, clock_gettime};

use certs::Root;

struct Plan {
    idle: usize,
    crowd: usize,
    interval: Duration,
    quiet: Duration,
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let plan = match is_test {
        true => Plan {
            idle: 50,
            crowd: 50,
            interval: Duration::from_millis(200),
            quiet: Duration::from_millis(600),
        },
        false => Plan {
            idle: 1_000,
            crowd: 2_000,
            interval: Duration::from_secs(2),
            quiet: Duration::from_secs(10),
        },
    };
    let tls = Tls::new();
    println!(
        "{} idle clients with a ping every {:?}, then {} who arrive at once",
        plan.idle, plan.interval, plan.crowd
    );
    for (idle, crowd) in [(false, false), (false, true), (true, true)] {
        run(&plan, &tls, idle, crowd);
    }
}

/// What both sides need.
struct Tls {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

impl Tls {
    fn new() -> Self {
        let root = Root::new();
        let issued = root.issue(&["server.test"], -1, 90);
        let pair = Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap();
        let certificates = Certificates::new(vec![pair]).unwrap();
        let client = ClientTls {
            trust: Trust::Roots(Roots::from_pem(root.pem().as_bytes()).unwrap()),
            ..ClientTls::for_wire(WireKind::WebSocket)
        };
        let mut client = Arc::unwrap_or_clone(client.config().unwrap());
        // Each handshake is a whole one.
        client.resumption = rustls::client::Resumption::disabled();
        Self {
            server: ServerTls::new(certificates, WireKind::WebSocket)
                .config()
                .unwrap(),
            client: Arc::new(client),
        }
    }
}

/// One run: idle clients over TLS or not, and a crowd over TLS or not.
fn run(plan: &Plan, tls: &Tls, idle: bool, crowd: bool) {
    let (server, addrs) = serve(plan, tls);
    let [plain, secure] = addrs;
    let start = |count, is_secure| {
        let addr = if is_secure { secure } else { plain };
        dial(count, addr, is_secure.then(|| tls.client.clone()), plan)
    };
    let _idle = start(plan.idle, idle);
    server.await_open(plan.idle);
    thread::sleep(plan.interval);
    let first = server.look();
    thread::sleep(plan.quiet);
    let before = server.look();
    let began = Instant::now();
    let _crowd = start(plan.crowd, crowd);
    server.await_open(plan.idle + plan.crowd);
    let took = began.elapsed();
    let during = server.look();
    thread::sleep(plan.quiet);
    let after = server.look();
    let word = |is_secure| if is_secure { "wss" } else { "ws" };
    let late = |now: &Look, then: &Look| {
        let late = now.stats.ping_lateness.since(&then.stats.ping_lateness);
        show(&late)
    };
    println!("\nidle {}, crowd {}", word(idle), word(crowd));
    println!("  all open after {took:.2?}");
    let cpu = during.cpu.saturating_sub(before.cpu);
    println!(
        "  server's processor time for each: {:.0?}, so {:.0} a second and core",
        cpu / plan.crowd as u32,
        plan.crowd as f64 / cpu.as_secs_f64()
    );
    println!("  ping lateness before: {}", late(&before, &first));
    println!("                during: {}", late(&during, &before));
    println!("                 after: {}", late(&after, &during));
    println!(
        "  longest turn meanwhile: {:.1?}; waited for a core: {:.1?} of {took:.1?}",
        during.longest,
        during.waited.saturating_sub(before.waited)
    );
}

fn show(late: &Histogram) -> String {
    format!(
        "p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {:.1?} of {} pings",
        late.quantile(0.5),
        late.quantile(0.99),
        late.quantile(0.999),
        late.quantile(1.0),
        late.len()
    )
}

/// What the server knows at a moment.
#[derive(Clone)]
struct Look {
    stats: Stats,
    cpu: Duration,
    /// How long the thread was ready to run and did not.
    waited: Duration,
    /// Since the last look.
    longest: Duration,
}

/// Returns how long this thread was ready to run and did not, where the system tells.
fn waited() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = figures.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// Puts this thread on one of the first two cores that the process may use, where the system lets it.
#[cfg(target_os = "linux")]
fn go_to_core(number: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let usable = sched_getaffinity(None).unwrap();
    let mut usable = (0..CpuSet::MAX_CPU).filter(|core| usable.is_set(*core));
    if let Some(core) = usable.nth(number) {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only).unwrap();
    }
}

#[cfg(not(target_os = "linux"))]
fn go_to_core(_: usize) {}

struct Server {
    /// Empty while a look is asked for.
    look: Arc<Mutex<Option<Look>>>,
    opened: Arc<AtomicU64>,
    _thread: Thread,
}

/// A thread that is told to end, and waited for, when this is dropped: the next run has the cores alone.
struct Thread {
    is_over: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(run: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let told = Arc::clone(&is_over);
        let handle = Some(thread::spawn(move || run(&told)));
        Self { is_over, handle }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

impl Server {
    fn look(&self) -> Look {
        *self.look.lock().unwrap() = None;
        loop {
            if let Some(look) = &*self.look.lock().unwrap() {
                return look.clone();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn await_open(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.opened.load(Ordering::Relaxed) < count as u64 {
            assert!(Instant::now() < deadline, "not all of {count} open");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Quiet;

impl Handler for Quiet {
    type Data = ();
}

/// Starts a server with two listeners, without and with TLS.
fn serve(plan: &Plan, tls: &Tls) -> (Server, [SocketAddr; 2]) {
    let (look, opened) = (Arc::new(Mutex::new(None)), Arc::<AtomicU64>::default());
    let (told, hear): (Sender<[SocketAddr; 2]>, Receiver<_>) = channel();
    let (interval, config) = (plan.interval, tls.server.clone());
    let (looks, counted) = (Arc::clone(&look), Arc::clone(&opened));
    let thread = Thread::start(move |is_over| {
        go_to_core(0);
        let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
        let addrs = [None, Some(config)].map(|tls| {
            let mut listener =
                ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
            listener.heartbeat.interval = Some(interval);
            listener.heartbeat.timeout = Some(Duration::from_secs(60));
            listener.heartbeat.handshake_timeout = Duration::from_secs(60);
            listener.heartbeat.ping_slack = Some(Duration::ZERO);
            listener.admission.half_open_per_address = None;
            listener.admission.share_per_address = None;
            listener.tls = tls;
            let id = reactor.listen(listener).unwrap();
            reactor.local_addr(id).unwrap()
        });
        told.send(addrs).unwrap();
        let mut longest = Duration::ZERO;
        while !is_over.load(Ordering::Relaxed) {
            let turn = reactor.turn(&mut Quiet, Some(Duration::from_millis(20)));
            longest = longest.max(turn.unwrap().delay);
            counted.store(reactor.stats().opened, Ordering::Relaxed);
            let mut look = looks.lock().unwrap();
            if look.is_none() {
                let cpu = clock_gettime(ClockId::ThreadCPUTime);
                *look = Some(Look {
                    stats: reactor.stats().clone(),
                    cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
                    waited: waited(),
                    longest: std::mem::take(&mut longest),
                });
            }
        }
    });
    let server = Server {
        look,
        opened,
        _thread: thread,
    };
    (server, hear.recv().unwrap())
}

/// Dials so many times at once.
fn dial(
    count: usize,
    addr: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
    plan: &Plan,
) -> Thread {
    let timeout = plan.interval * 30;
    Thread::start(move |is_over| {
        go_to_core(1);
        let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
        for _ in 0..count {
            let mut client = ClientConfig::new("127.0.0.1", addr.port(), WireFactory::WebSocket);
            client.takes_turns = false;
            client.heartbeat.interval = None;
            client.heartbeat.timeout = Some(timeout);
            client.heartbeat.handshake_timeout = Duration::from_secs(60);
            client.secure = tls.is_some();
            client.tls.clone_from(&tls);
            client.server_name = Some("server.test".to_owned());
            reactor.connect(client).unwrap();
        }
        let mut dialed = Dialed;
        while !is_over.load(Ordering::Relaxed) {
            let turn = reactor.turn(&mut dialed, Some(Duration::from_millis(100)));
            turn.unwrap();
        }
    })
}

struct Dialed;

impl Handler for Dialed {
    type Data = ();

    fn on_close(&mut self, _: &mut Context<'_, ()>, closed: heartwheel::Closed<'_, ()>) {
        panic!("{:?} ended: {}", ConnId::clone(&closed.id), closed.evidence);
    }
}
