//! Reading the configuration again: what is other than before is changed while connections live.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use heartwheel::PeerAddr;
use heartwheel::error::Error;
use heartwheel::reactor::{Context, HandleError, ListenAddr, ListenerId};

use crate::args::WholeFlags;
use crate::certs::{CertFlags, CertStore, Reloaded as Certificates};
use crate::listening::{Place, cannot_listen, demand_free};
use crate::plan::{Plan, Setup, Sources};
use crate::record::Record;
use crate::settings::Fault;
use crate::shards::{Handle, Order, Siblings};
use crate::shown::{self, Entry};
use crate::steps::{Listening, Step, Terms};

/// Reads the configuration again, in the first loop.
pub(crate) struct Reloader {
    sources: Sources,
    /// What was read last; of the whole program, what is in force.
    setup: Setup,
    certs: CertStore,
    siblings: Siblings,
    /// What other loops had no room for yet.
    orders: Vec<(Handle, Order)>,
    /// How many listeners there have been.
    listeners: usize,
}

/// What was changed, and what the first loop has still to say.
pub(crate) struct Reloaded {
    certificates: Certificates,
    pub(crate) window: Duration,
    changes: Vec<Change>,
    /// Listeners that were opened, closed and changed.
    counts: [u64; 3],
    /// Listeners that were opened, with a name that a client may ask for.
    pub(crate) opened: Vec<(Arc<Plan>, PeerAddr, Option<String>)>,
}

/// One value that is other than before.
struct Change {
    /// The listener, or the whole program.
    of: Option<String>,
    key: &'static str,
    from: String,
    to: String,
    needs_restart: bool,
}

/// What is other than before.
struct Other {
    coming: Vec<Terms>,
    changed: Vec<Terms>,
    /// Numbers of listeners.
    gone: Vec<usize>,
    changes: Vec<Change>,
}

/// A listener that is opened, and nowhere told of yet.
struct Opened {
    terms: Terms,
    addr: PeerAddr,
    /// Where the other loops listen.
    others: Vec<ListenAddr>,
}

impl Reloader {
    pub(crate) fn new(
        sources: Sources,
        setup: Setup,
        certs: CertStore,
        siblings: Siblings,
    ) -> Self {
        Self {
            sources,
            listeners: setup.plans.len(),
            setup,
            certs,
            siblings,
            orders: Vec::new(),
        }
    }

    /// Returns when certificates expire; see [`CertStore::ends`].
    pub(crate) fn certificates(&self) -> Vec<(String, u64)> {
        self.certs.ends()
    }

    /// Returns what is in force.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Sees to what is due once a turn; returns when to be called again although nothing happens.
    pub(crate) fn after_turn(&mut self) -> Option<Duration> {
        let look = self.certs.after_turn();
        self.offer_orders();
        let retry = (!self.orders.is_empty()).then_some(RETRY);
        look.into_iter().chain(retry).min()
    }

    /// Reads everything again, and changes what is other than before. If anything is wrong, nothing changes.
    pub(crate) fn reload(
        &mut self,
        cx: &mut Context<'_, ()>,
        listening: &mut Vec<Listening>,
    ) -> Result<Reloaded, String> {
        let setup = self.sources.read().map_err(|faults| in_one_line(&faults))?;
        let Other {
            coming,
            changed,
            gone,
            changes,
        } = self.compare(&setup, listening)?;
        let certificates = self.certs.reload()?;
        let opened = open_all(cx, coming, self.siblings.len(), listening)?;

        // From here on nothing is refused.
        self.listeners += opened.len();
        let counts = [opened.len(), gone.len(), changed.len()].map(|count| count as u64);
        let steps = || {
            let changed = changed.iter().cloned().map(Step::Change);
            changed.chain(gone.iter().copied().map(Step::Close))
        };
        follow(cx, steps(), listening);
        let mut told = Vec::new();
        let handles = self.siblings.handles();
        let mut of_siblings: Vec<_> = handles.iter().map(|_| Vec::new()).collect();
        for one in opened {
            let name = self.certs.example_name(one.terms.plan.certs.as_ref());
            for (addr, of_loop) in one.others.into_iter().zip(&mut of_siblings) {
                let terms = one.terms.clone();
                of_loop.push(Step::Open { terms, addr });
            }
            told.push((one.terms.plan, one.addr, name));
        }
        for (handle, opened) in handles.iter().zip(of_siblings) {
            let order = Order::Follow(opened.into_iter().chain(steps()).collect());
            self.orders.push((handle.clone(), order));
        }
        self.offer_orders();
        let window = setup.whole.drain;
        self.take_over(setup);
        Ok(Reloaded {
            certificates,
            window,
            changes,
            counts,
            opened: told,
        })
    }

    /// Finds out what is other than before, and what listeners need for it.
    fn compare(&mut self, setup: &Setup, listening: &[Listening]) -> Result<Other, String> {
        for warning in &setup.warnings {
            log::warn!("{warning}");
        }
        let (kept, new, gone) = match_up(&setup.plans, listening);
        let mut other = Other {
            coming: Vec::new(),
            changed: Vec::new(),
            gone,
            changes: whole_changes(&self.setup.whole, &setup.whole),
        };
        for (plan, one) in kept {
            demand_same_socket(plan, &one.plan)?;
            let changes = listener_changes(&one.plan, plan);
            if !changes.is_empty() {
                other.changes.extend(changes);
                other.changed.push(self.terms(one.number, plan)?);
            }
        }
        for plan in new {
            let number = self.listeners + other.coming.len();
            other.coming.push(self.terms(number, plan)?);
        }
        Ok(other)
    }

    fn terms(&mut self, number: usize, plan: &Plan) -> Result<Terms, String> {
        let tls = self.certs.config(plan.certs.as_ref(), plan.flag, plan.wire);
        Ok(Terms {
            number,
            plan: Arc::new(plan.clone()),
            tls: tls.map_err(|failure| failure.message)?,
            is_shared: !self.siblings.is_empty() && matches!(plan.place, Place::Tcp(_)),
        })
    }

    /// Notes what holds from now on.
    fn take_over(&mut self, setup: Setup) {
        let used = |flags: &CertFlags| {
            let mut used = setup.plans.iter().filter_map(|plan| plan.certs.as_ref());
            used.any(|used| used == flags)
        };
        self.certs.retain(used);
        // The rest stays as it is until a restart, and is told again if it is other then.
        let mut whole = self.setup.whole.clone();
        whole.log_level = setup.whole.log_level;
        whole.drain = setup.whole.drain;
        log::set_max_level(whole.log_level);
        self.setup = Setup { whole, ..setup };
    }

    /// Offers other loops what they have still to do, in its order.
    fn offer_orders(&mut self) {
        let mut full: Vec<(Handle, Order)> = Vec::new();
        for (handle, order) in mem::take(&mut self.orders) {
            if let Err(error) = handle.command(order)
                && error.error == HandleError::Full
            {
                full.push((handle, error.command));
            }
        }
        self.orders = full;
    }
}

/// Changes listeners of this loop.
pub(crate) fn follow(
    cx: &mut Context<'_, ()>,
    steps: impl IntoIterator<Item = Step>,
    listening: &mut Vec<Listening>,
) {
    for step in steps {
        if let Err(error) = step.take(cx, listening) {
            log::error!("a listener does not follow the new configuration: {error}");
        }
    }
}

/// Finds for each plan the listener that is there already. Returns those, the plans that are new, and the numbers
/// of the listeners that nobody wants any more.
fn match_up<'a>(
    plans: &'a [Plan],
    listening: &[Listening],
) -> (Vec<(&'a Plan, Listening)>, Vec<&'a Plan>, Vec<usize>) {
    let mut left: Vec<_> = listening.iter().filter(|one| !one.is_closed).collect();
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    for plan in plans {
        let is_same = |one: &&Listening| one.plan.flag == plan.flag && one.plan.place == plan.place;
        match left.iter().position(is_same) {
            Some(place) => kept.push((plan, left.remove(place).clone())),
            None => new.push(plan),
        }
    }
    let gone = left.iter().map(|one| one.number);
    (kept, new, gone.collect())
}

/// The kernel has taken these when the listener was opened.
fn demand_same_socket(new: &Plan, old: &Plan) -> Result<(), String> {
    match new.socket == old.socket {
        true => Ok(()),
        false => Err(format!(
            "tcp_user_timeout and tcp_keepalive of {} cannot be changed while it listens; restart, or give it \
             another address",
            new.name()
        )),
    }
}

/// Opens all or none, in the first loop.
fn open_all(
    cx: &mut Context<'_, ()>,
    coming: Vec<Terms>,
    siblings: usize,
    listening: &mut Vec<Listening>,
) -> Result<Vec<Opened>, String> {
    let before = listening.len();
    let opened = coming
        .into_iter()
        .map(|terms| open(cx, terms, siblings, listening));
    let opened: Result<Vec<_>, _> = opened.collect();
    if opened.is_err() {
        for one in listening.drain(before..) {
            cx.close_listener(one.id);
        }
    }
    opened
}

fn open(
    cx: &mut Context<'_, ()>,
    terms: Terms,
    siblings: usize,
    listening: &mut Vec<Listening>,
) -> Result<Opened, String> {
    let flag = terms.plan.flag;
    let refused = |error| cannot_listen(flag, error).message;
    let asked: ListenAddr = match &terms.plan.place {
        Place::Tcp(addr) => (*addr).into(),
        Place::Unix(path) => ListenAddr::Unix(path.clone()),
        Place::Descriptor(number) => {
            return Err(format!(
                "fd:{number} can be listened on from the start only; restart"
            ));
        }
    };
    if let (Place::Tcp(addr), true) = (&terms.plan.place, terms.is_shared) {
        let addr = *addr;
        demand_free(addr).map_err(|source| {
            refused(Error::Listen {
                addr: addr.into(),
                source,
            })
        })?;
    }
    let name = asked.name();
    let id = terms.open(cx, asked, listening).map_err(refused)?;
    let addr = cx.local_addr(id).map_or(name, Into::into);
    let others = (0..siblings).map(|_| place_of(cx, id, &addr));
    let others = others.collect::<io::Result<_>>();
    let others = others.map_err(|error| format!("cannot share {addr}: {error}"))?;
    Ok(Opened {
        terms,
        addr,
        others,
    })
}

/// Returns where another loop listens: at the same port, or at the same socket.
fn place_of(cx: &Context<'_, ()>, id: ListenerId, addr: &PeerAddr) -> io::Result<ListenAddr> {
    match (addr.socket_addr(), cx.listener_fd(id)) {
        (None, Some(socket)) => Ok(socket.try_clone_to_owned()?.into()),
        (Some(addr), _) => Ok(addr.into()),
        (None, None) => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Lists what is other for the whole program.
fn whole_changes(old: &WholeFlags, new: &WholeFlags) -> Vec<Change> {
    let other = differences(&shown::whole(old), &shown::whole(new));
    let changes = other.into_iter().map(|(key, from, to)| Change {
        of: None,
        key,
        from,
        to,
        needs_restart: !matches!(key, "drain" | "log_level"),
    });
    changes.collect()
}

/// Lists what is other for a listener.
fn listener_changes(old: &Plan, new: &Plan) -> Vec<Change> {
    let other = differences(&shown::listener(old), &shown::listener(new));
    let changes = other.into_iter().map(|(key, from, to)| Change {
        of: Some(new.name()),
        key,
        from,
        to,
        needs_restart: false,
    });
    changes.collect()
}

fn differences(old: &[Entry], new: &[Entry]) -> Vec<(&'static str, String, String)> {
    let pairs = old.iter().zip(new);
    let other = pairs.filter(|(old, new)| old.1 != new.1);
    let shown = other.map(|(old, new)| (new.0, old.1.bare(), new.1.bare()));
    shown.collect()
}

fn in_one_line(faults: &[Fault]) -> String {
    let said: Vec<_> = faults.iter().map(Fault::to_string).collect();
    said.join("; ")
}

impl Reloaded {
    /// Says what was changed: each value, and a sum.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        let [opened, closed, changed] = self.counts;
        let sum = Record::new("reloaded")
            .number("certificates", self.certificates.certificates as u64)
            .number("changed", self.certificates.changed as u64)
            .number("listeners_opened", opened)
            .number("listeners_closed", closed)
            .number("listeners_changed", changed);
        self.changes.iter().map(Change::record).chain([sum])
    }
}

impl Change {
    fn record(&self) -> Record {
        let of = self.of.as_deref().unwrap_or("all");
        let record = Record::new("changed")
            .quoted("listener", of)
            .word("key", self.key)
            .quoted("from", &self.from)
            .quoted("to", &self.to);
        match self.needs_restart {
            true => record.word("takes_effect", "at_restart"),
            false => record,
        }
    }
}

/// Time after which a loop may have room again.
const RETRY: Duration = Duration::from_millis(2);
