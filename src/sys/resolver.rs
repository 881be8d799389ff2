//! Looks up names on a few threads, because the system's resolver blocks. A name that several
//! clients wait for is looked up once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::system::{Asker, Resolved, Wake};
use crate::proto::time::Micros;

/// Threads that look up names: as many as there is work for, and at most [`THREADS`].
///
/// Names are looked up in the order in which they were first requested. A name that is queued or
/// being looked up is not queued again. If nobody waits for a queued name any more, it is removed
/// if the clients no longer exist. It is still looked up if they gave up waiting, and the result is
/// kept for a while. So even a name that is queued after slow ones is found in the end.
pub(crate) struct Resolver {
    shared: Arc<Shared>,
    answers: Receiver<Answer>,
    /// The answer that is being returned, to one client after the other. It is kept here so that no
    /// client misses it if there is a panic in between.
    present: Option<Answer>,
    /// Answers that nobody waited for any more, with the time of arrival, newest first.
    late: VecDeque<(Micros, Arc<Resolved>)>,
}

/// The addresses found, and the clients that wait for them.
#[derive(Debug)]
struct Answer {
    found: Arc<Resolved>,
    waiting: Vec<Asker>,
}

type LookUp = dyn Fn(&str) -> Vec<SocketAddr> + Send + Sync;

struct Shared {
    work: Mutex<Work>,
    /// Notified when there is a name to look up, or when the resolver is dropped.
    changed: Condvar,
    look_up: Box<LookUp>,
    answers: Sender<Answer>,
    waker: Arc<dyn Wake>,
}

#[derive(Default)]
struct Work {
    /// Names that no thread has taken yet, in the order of arrival.
    queue: VecDeque<String>,
    /// The clients that wait for each name that is queued or being looked up.
    waiting: HashMap<String, Vec<Asker>>,
    threads: usize,
    idle: usize,
    is_over: bool,
}

impl Resolver {
    /// Starts with no threads. `waker` wakes the loop when there is an answer.
    pub(super) fn new(waker: Arc<dyn Wake>) -> Self {
        Self::with(waker, Box::new(system))
    }

    fn with(waker: Arc<dyn Wake>, look_up: Box<LookUp>) -> Self {
        let (sender, answers) = channel();
        let shared = Arc::new(Shared {
            work: Mutex::default(),
            changed: Condvar::new(),
            look_up,
            answers: sender,
            waker,
        });
        Self {
            shared,
            answers,
            present: None,
            late: VecDeque::new(),
        }
    }

    /// Replaces the system's resolver by a function.
    #[cfg(test)]
    pub(crate) fn look_up_by(
        &mut self,
        look_up: impl Fn(&str) -> Vec<SocketAddr> + Send + Sync + 'static,
    ) {
        let waker = Arc::clone(&self.shared.waker);
        *self = Self::with(waker, Box::new(look_up));
    }

    /// Returns whether every requested name has been looked up.
    #[cfg(test)]
    pub(crate) fn is_done(&self) -> bool {
        self.shared.lock().waiting.is_empty()
    }

    /// Requests the addresses of a name. Returns them if they were found shortly before. Otherwise
    /// [`next`](Self::next) returns them later.
    ///
    /// # Errors
    ///
    /// No thread is running and none could be started.
    pub(super) fn ask(
        &mut self,
        name: &str,
        id: Asker,
        now: Micros,
    ) -> io::Result<Option<Arc<Resolved>>> {
        self.late.retain(|(at, _)| now - *at < KEPT_FOR);
        let is_it = |(_, found): &(Micros, Arc<Resolved>)| found.name == name;
        if let Some(at) = self.late.iter().position(is_it)
            && let Some((_, found)) = self.late.remove(at)
        {
            return Ok(Some(found));
        }
        let mut work = self.shared.lock();
        if let Some(waiting) = work.waiting.get_mut(name) {
            waiting.push(id);
            return Ok(None);
        }
        if work.idle <= work.queue.len() && work.threads < THREADS {
            let started = self.start_thread();
            match started {
                Ok(()) => work.threads += 1,
                // The running threads will look it up.
                Err(_) if work.threads > 0 => {}
                Err(error) => return Err(error),
            }
        }
        work.waiting.insert(name.to_owned(), vec![id]);
        work.queue.push_back(name.to_owned());
        self.shared.changed.notify_one();
        Ok(None)
    }

    /// Withdraws the request of a client that no longer exists. A name that nobody else waits for
    /// and that no thread has taken is not looked up.
    pub(super) fn forget(&self, name: &str, id: Asker) {
        let mut work = self.shared.lock();
        let Some(waiting) = work.waiting.get_mut(name) else {
            return;
        };
        waiting.retain(|other| *other != id);
        if waiting.is_empty() && work.queue.iter().any(|queued| queued == name) {
            work.queue.retain(|queued| queued != name);
            work.waiting.remove(name);
        }
    }

    /// Notes that a client no longer waits. It may ask again, so its name stays in the queue.
    pub(super) fn give_up(&self, name: &str, id: Asker) {
        if let Some(waiting) = self.shared.lock().waiting.get_mut(name) {
            waiting.retain(|other| *other != id);
        }
    }

    /// Returns the next client that has an answer, and the answer.
    pub(super) fn next(&mut self, now: Micros) -> Option<(Asker, Arc<Resolved>)> {
        loop {
            if let Some(present) = &mut self.present
                && let Some(id) = present.waiting.pop()
            {
                return Some((id, Arc::clone(&present.found)));
            }
            let mut answer = self.answers.try_recv().ok()?;
            if answer.waiting.is_empty() && !answer.found.addrs.is_empty() {
                self.late.truncate(KEPT - 1);
                self.late.push_front((now, Arc::clone(&answer.found)));
            }
            // Answers go to the clients in the order of their requests.
            answer.waiting.reverse();
            self.present = Some(answer);
        }
    }

    fn start_thread(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("heartwheel-resolve".into())
            .spawn(move || shared.run())
            .map(drop)
    }
}

/// Tells the threads to end. They do so when the system's resolver returns.
impl Drop for Resolver {
    fn drop(&mut self) {
        let mut work = self.shared.lock();
        work.is_over = true;
        work.queue.clear();
        drop(work);
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = self.shared.lock();
        f.debug_struct("Resolver")
            .field("queued", &work.queue.len())
            .field("threads", &work.threads)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("nothing panics with the lock")
    }

    /// Looks up names until there has been no name for a while.
    fn run(&self) {
        while let Some(name) = self.take_name() {
            let addrs = (self.look_up)(&name);
            let mut work = self.lock();
            let waiting = work.waiting.remove(&name).unwrap_or_default();
            let found = Arc::new(Resolved { name, addrs });
            self.answer(Answer { found, waiting });
            drop(work);
        }
    }

    /// Waits for a name to look up. `None` means that the thread must end; it is no longer counted.
    fn take_name(&self) -> Option<String> {
        let mut work = self.lock();
        work.idle += 1;
        let is_empty = |work: &mut Work| work.queue.is_empty() && !work.is_over;
        (work, _) = self
            .changed
            .wait_timeout_while(work, IDLE, is_empty)
            .expect("nothing panics with the lock");
        work.idle -= 1;
        let name = work.queue.pop_front();
        if name.is_none() {
            work.threads -= 1;
        }
        name
    }

    /// Sends an answer to the loop. If the receiver is gone, so is the reactor, and nobody waits.
    fn answer(&self, answer: Answer) {
        if self.answers.send(answer).is_ok()
            && let Err(error) = self.waker.wake()
        {
            log::warn!("could not wake the loop: {error}");
        }
    }
}

/// Looks up a name with the system's resolver. Blocks.
fn system(name: &str) -> Vec<SocketAddr> {
    (name, 0)
        .to_socket_addrs()
        .map(Iterator::collect)
        .unwrap_or_default()
}

/// The limit of threads. A name server that does not answer keeps a thread busy for about half a
/// minute.
const THREADS: usize = 8;

/// How long a thread waits for the next name before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// How many answers are kept for clients that gave up waiting, and for how long.
const KEPT: usize = 64;
const KEPT_FOR: Micros = Micros::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use mio::{Poll, Token, Waker};

    use super::*;

    /// Look-ups that end when the test lets them.
    struct Gate {
        /// Names whose look-up may end; a name begins with `slow` if it must be here.
        open: Mutex<Vec<String>>,
        opened: Condvar,
        running: AtomicUsize,
        most: AtomicUsize,
        begun: Mutex<Vec<String>>,
    }

    impl Gate {
        fn look_up(&self, name: &str) -> Vec<SocketAddr> {
            self.begun.lock().unwrap().push(name.to_owned());
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            let open = self.open.lock().unwrap();
            let is_shut = |open: &mut Vec<String>| {
                name.starts_with("slow") && !open.iter().any(|other| other == name)
            };
            drop(self.opened.wait_while(open, is_shut).unwrap());
            self.running.fetch_sub(1, Ordering::SeqCst);
            vec![([127, 0, 0, 1], 0).into()]
        }

        fn open(&self, name: &str) {
            self.open.lock().unwrap().push(name.to_owned());
            self.opened.notify_all();
        }

        fn begun(&self) -> Vec<String> {
            self.begun.lock().unwrap().clone()
        }
    }

    fn resolver() -> (Resolver, Arc<Gate>, Poll) {
        let poll = Poll::new().expect("a selector");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let gate = Arc::new(Gate {
            open: Mutex::default(),
            opened: Condvar::new(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            begun: Mutex::default(),
        });
        let asked = Arc::clone(&gate);
        let resolver = Resolver::with(waker, Box::new(move |name| asked.look_up(name)));
        (resolver, gate, poll)
    }

    /// Names that keep all threads busy.
    const SLOW: [&str; THREADS] = [
        "slow0", "slow1", "slow2", "slow3", "slow4", "slow5", "slow6", "slow7",
    ];

    /// Makes a resolver whose threads look up what is slow, for the clients from zero on.
    fn busy_resolver() -> (Resolver, Arc<Gate>, Poll) {
        let (mut resolver, gate, poll) = resolver();
        for (name, id) in SLOW.into_iter().zip(0..) {
            ask(&mut resolver, name, id);
        }
        wait_until(|| gate.running.load(Ordering::SeqCst) == THREADS);
        (resolver, gate, poll)
    }

    #[track_caller]
    fn wait_until(mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "gave up");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks for a name that nobody has asked for lately.
    #[track_caller]
    fn ask(resolver: &mut Resolver, name: &str, id: u32) {
        let known = resolver.ask(name, Asker(id), Micros::ZERO);
        assert!(known.expect("a thread").is_none());
    }

    #[track_caller]
    fn next(resolver: &mut Resolver) -> Asker {
        let mut next = None;
        wait_until(|| {
            next = resolver.next(Micros::ZERO);
            next.is_some()
        });
        let (id, found) = next.expect("it was waited for");
        assert_eq!(found.addrs.len(), 1);
        id
    }

    #[test]
    fn thousands_of_clients_of_one_name_share_one_look_up() {
        let (mut resolver, gate, _poll) = resolver();
        for id in 0..3_000 {
            ask(&mut resolver, "slow", id);
        }
        gate.open("slow");
        for id in 0..3_000 {
            assert_eq!(next(&mut resolver), Asker(id));
        }
        assert_eq!(gate.begun(), ["slow"]);
        assert_eq!(resolver.shared.lock().threads, 1);
    }

    #[test]
    fn thousands_of_names_are_looked_up_by_a_few_threads_in_their_order() {
        let (mut resolver, gate, _poll) = busy_resolver();
        for id in 0..3_000 {
            ask(&mut resolver, &format!("name{id}"), 100 + id);
        }
        assert_eq!(gate.begun().len(), THREADS, "the rest wait");
        gate.open("slow3");
        for _ in 0..=3_000 {
            next(&mut resolver);
        }
        assert_eq!(gate.most.load(Ordering::SeqCst), THREADS);
        let order: Vec<_> = (0..3_000).map(|id| format!("name{id}")).collect();
        assert_eq!(gate.begun()[THREADS..], order);
        SLOW.iter().for_each(|name| gate.open(name));
    }

    #[test]
    fn a_name_that_nobody_waits_for_is_not_looked_up() {
        let (mut resolver, gate, _poll) = busy_resolver();
        for id in 100..102 {
            ask(&mut resolver, "shared", id);
            ask(&mut resolver, "gone", id);
        }
        resolver.forget("shared", Asker(100));
        for id in 100..102 {
            resolver.forget("gone", Asker(id));
        }
        gate.open("slow0");
        assert_eq!(next(&mut resolver), Asker(0));
        assert_eq!(next(&mut resolver), Asker(101));
        wait_until(|| resolver.shared.lock().idle == 1);
        assert!(!gate.begun().contains(&"gone".to_owned()));
        SLOW.iter().for_each(|name| gate.open(name));
    }

    #[test]
    fn what_is_found_too_late_serves_the_next_who_asks_within_a_minute() {
        let (mut resolver, gate, _poll) = resolver();
        for (round, name) in [(1, "slow1"), (2, "slow2")] {
            ask(&mut resolver, name, 1);
            resolver.give_up(name, Asker(1));
            gate.open(name);
            wait_until(|| {
                assert!(resolver.next(Micros::ZERO).is_none(), "nobody waits");
                !resolver.late.is_empty()
            });
            assert_eq!(gate.begun().len(), round);
            let mut late = |now| resolver.ask(name, Asker(1), now).expect("a thread");
            if round == 1 {
                let found = late(Micros::from_secs(59));
                assert_eq!(found.map(|found| found.addrs.len()), Some(1));
            } else {
                assert!(late(Micros::from_secs(60)).is_none());
            }
        }
    }

    #[test]
    fn threads_end_when_the_resolver_does() {
        let (mut resolver, gate, _poll) = resolver();
        ask(&mut resolver, "slow", 1);
        ask(&mut resolver, "quick", 2);
        assert_eq!(next(&mut resolver), Asker(2));
        let shared = Arc::downgrade(&resolver.shared);
        drop(resolver);
        gate.open("slow");
        wait_until(|| shared.strong_count() == 0);
    }
}
