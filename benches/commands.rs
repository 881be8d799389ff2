//! Commands of other threads in a second, beside the floor: a channel of the standard library, and a waker of
//! mio. And messages that other threads send to connections.
//!
//! A sample lasts from when the senders may begin until the loop has taken the last command of each. All run
//! on the processors of this machine: with few of them, senders and loop take turns.
#![allow(
    missing_docs,
    reason = "the macros of criterion make undocumented items"
)]
#![allow(clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heartwheel::reactor::HandleError;
use heartwheel::{
    ConnId, Context, Handler, ListenerConfig, LoopHandle, Message, Reactor, ReactorConfig,
    SharedMessage, WireFactory,
};
use mio::{Events, Poll, Token, Waker};

/// What a sender asks of a loop.
enum Order {
    Work(u64),
    /// It has sent all: the loop answers.
    Last(Sender<()>),
    End,
}

/// Something with a queue that threads fill.
trait Takes: Clone + Send + 'static {
    /// Gives an order back if there is no room.
    fn offer(&self, order: Order) -> Result<(), Order>;

    fn give(&self, mut order: Order) {
        while let Err(back) = self.offer(order) {
            order = back;
            thread::yield_now();
        }
    }
}

/// The floor: nothing but a queue, and a wake-up for a batch.
#[derive(Clone)]
struct Floor {
    orders: SyncSender<Order>,
    is_woken: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Floor {
    fn start() -> (Self, JoinHandle<()>) {
        let (orders, received) = sync_channel(QUEUE);
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let floor = Self {
            orders,
            is_woken: Arc::default(),
            waker: Arc::new(waker),
        };
        let is_woken = Arc::clone(&floor.is_woken);
        (
            floor,
            thread::spawn(move || take(poll, &received, &is_woken)),
        )
    }
}

fn take(mut poll: Poll, received: &Receiver<Order>, is_woken: &AtomicBool) {
    let mut events = Events::with_capacity(1);
    loop {
        poll.poll(&mut events, None).unwrap();
        is_woken.store(false, Ordering::Release);
        while let Ok(order) = received.try_recv() {
            match order {
                Order::Work(number) => drop(black_box(number)),
                Order::Last(done) => done.send(()).unwrap(),
                Order::End => return,
            }
        }
    }
}

impl Takes for Floor {
    fn offer(&self, order: Order) -> Result<(), Order> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(order) | TrySendError::Disconnected(order) => order,
        })?;
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.waker.wake().unwrap();
        }
        Ok(())
    }
}

/// The loop, which may hold connections.
struct Desk {
    opened: Sender<ConnId>,
}

impl Handler<Order> for Desk {
    type Data = ();

    fn on_open(&mut self, _: &mut Context<'_, ()>, id: ConnId) {
        self.opened.send(id).unwrap();
    }

    fn on_command(&mut self, cx: &mut Context<'_, ()>, order: Order) {
        match order {
            Order::Work(number) => drop(black_box(number)),
            Order::Last(done) => done.send(()).unwrap(),
            Order::End => {
                assert_eq!(cx.stats().undelivered, 0);
                cx.stop();
            }
        }
    }
}

impl Takes for LoopHandle<(), Order> {
    fn offer(&self, order: Order) -> Result<(), Order> {
        self.command(order).map_err(|error| error.command)
    }
}

/// A loop on a thread of its own.
struct Running {
    handle: LoopHandle<(), Order>,
    thread: JoinHandle<()>,
    addr: SocketAddr,
    opened: Receiver<ConnId>,
}

impl Running {
    fn start() -> Self {
        let mut reactor = Reactor::new(ReactorConfig {
            max_connections: PEERS,
            ..ReactorConfig::default()
        })
        .unwrap();
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
        config.admission.share_per_address = None;
        config.limits.send_queue = Some(256 << 20);
        let listener = reactor.listen(config).unwrap();
        let addr = reactor.local_addr(listener).unwrap();
        let handle = reactor.handle();
        let (sender, opened) = channel();
        let mut desk = Desk { opened: sender };
        let thread = thread::spawn(move || reactor.run(&mut desk).unwrap());
        Self {
            handle,
            thread,
            addr,
            opened,
        }
    }

    /// Opens connections whose peers read what they get, on one thread, until the loop ends.
    fn connect(&self) -> (Vec<ConnId>, JoinHandle<()>) {
        let mut peers: Vec<_> = (0..PEERS)
            .map(|_| TcpStream::connect(self.addr).unwrap())
            .collect();
        let ids = peers.iter().map(|_| self.opened.recv().unwrap()).collect();
        for peer in &peers {
            peer.set_read_timeout(Some(Duration::from_millis(1)))
                .unwrap();
        }
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            while !peers.is_empty() {
                peers.retain_mut(|peer| match peer.read(&mut bytes) {
                    Ok(count) => count > 0,
                    Err(error) => error.kind() == ErrorKind::WouldBlock,
                });
            }
        });
        (ids, reader)
    }

    fn end(self) {
        self.handle.give(Order::End);
        self.thread.join().unwrap();
    }
}

/// Has threads give `count` orders together, by `each`, and returns how long the loop takes for them.
fn time<T: Takes>(
    takes: &T,
    threads: u64,
    count: u64,
    each: impl Fn(&T, u64) + Clone + Send + 'static,
) -> Duration {
    let together = Arc::new(Barrier::new(threads as usize + 1));
    let (done, all) = channel();
    let senders: Vec<_> = (0..threads)
        .map(|sender| {
            let (takes, each, done) = (takes.clone(), each.clone(), done.clone());
            let together = Arc::clone(&together);
            thread::spawn(move || {
                together.wait();
                for number in (sender..count).step_by(threads as usize) {
                    each(&takes, number);
                }
                takes.give(Order::Last(done));
            })
        })
        .collect();
    together.wait();
    let began = Instant::now();
    for _ in 0..threads {
        all.recv().unwrap();
    }
    let took = began.elapsed();
    for sender in senders {
        sender.join().unwrap();
    }
    took
}

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("commands");
    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    let work = |number| Order::Work(number);
    for threads in [1, 4] {
        group.bench_function(BenchmarkId::new("mpsc_and_waker", threads), |b| {
            let (floor, thread) = Floor::start();
            b.iter_custom(|count| {
                time(&floor, threads, count, move |floor, n| floor.give(work(n)))
            });
            floor.give(Order::End);
            thread.join().unwrap();
        });
        group.bench_function(BenchmarkId::new("command", threads), |b| {
            let running = Running::start();
            b.iter_custom(|count| {
                let each = move |handle: &LoopHandle<(), Order>, n| handle.give(work(n));
                time(&running.handle, threads, count, each)
            });
            running.end();
        });
        group.bench_function(BenchmarkId::new("send_to_64", threads), |b| {
            let running = Running::start();
            let (ids, reader) = running.connect();
            let message = SharedMessage::new(Message::text(SAID));
            b.iter_custom(|count| {
                let (ids, message) = (ids.clone(), message.clone());
                let each = move |handle: &LoopHandle<(), Order>, n: u64| {
                    let to = ids[n as usize % ids.len()];
                    while let Err(error) = handle.send(to, message.clone()) {
                        assert_eq!(error, HandleError::Full);
                        thread::yield_now();
                    }
                };
                time(&running.handle, threads, count, each)
            });
            running.end();
            reader.join().unwrap();
        });
    }
    group.finish();
}

/// Orders that wait at most, as in the loop's own queue.
const QUEUE: usize = 64 * 1024;

/// Connections that are sent to, and what they get.
const PEERS: usize = 64;
const SAID: &str = "a message of sixty-four bytes, which is a usual length for lines";

criterion_group!(benches, commands);
criterion_main!(benches);
