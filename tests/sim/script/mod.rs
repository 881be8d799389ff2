//! What a seed makes of a world: hosts, what they speak and under which rules, and everything that goes
//! wrong.

mod acts;
mod terms;

use std::rc::Rc;

use heartwheel::proto::backoff::BackoffPolicy;
use heartwheel::proto::time::Micros;

use crate::dice::Dice;
use crate::model::Speech;
use crate::process::{Manner, Process, Program, Target, Terms};
use crate::world::path::{Direction, Path};
use crate::world::tcp::Sizes;
use crate::world::{Act, Command, Host, Pace, Sim, World};

/// A world as a seed has it: what is there, and what happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) hosts: Vec<HostPlan>,
    pub(crate) paths: Vec<Path>,
    pub(crate) sizes: Sizes,
    pub(crate) acts: Vec<(Micros, Act)>,
    /// When all that is wrong is put right, and everybody says goodbye.
    pub(crate) curtain: Micros,
}

/// A machine and its program.
#[derive(Clone, Debug)]
pub(crate) struct HostPlan {
    /// What its clock shows at the beginning.
    pub(crate) start: Micros,
    pub(crate) pace: Pace,
    pub(crate) has_figures: bool,
    pub(crate) program: Program,
}

impl Script {
    /// Throws the dice of a seed.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let clients = 1 + dice.index(4);
        let ports: Vec<Terms> = (0..1 + dice.index(3)).map(|_| dice.terms()).collect();
        let paths = (0..clients).map(|_| path(&mut dice)).collect();
        let mut hosts = vec![host(&mut dice, ports.clone(), Vec::new())];
        for client in 0..clients {
            let targets = (0..1 + dice.index(3))
                .map(|_| target(&mut dice, &ports, client))
                .collect();
            hosts.push(host(&mut dice, Vec::new(), targets));
        }
        if dice.one_in(6) {
            let busy = dice.pick(&[(20, 30), (50, 60), (50, 250)]);
            hosts[0].pace.busy = Some((Micros::from_millis(busy.0), Micros::from_millis(busy.1)));
        }
        let curtain = dice.millis(60_000, 400_000);
        let mut script = Self {
            seed,
            hosts,
            paths,
            sizes: sizes(&mut dice),
            acts: Vec::new(),
            curtain,
        };
        script.throw_acts(&mut dice);
        for host in &mut script.hosts {
            host.program.is_short = !dice.one_in(3);
        }
        if dice.one_in(4) {
            script.throw_hoards(&mut dice);
        }
        if dice.one_in(3) {
            for host in &mut script.hosts {
                host.program.manner.defer_odds = dice.pick(&[0, 1, 2, 5]);
            }
        }
        script
    }

    /// Makes the world, and starts what runs in it.
    pub(crate) fn begin(&self, is_traced: bool) -> Sim {
        let mut dice = Dice::new(!self.seed);
        let mut world = World::new(dice.next_u64(), is_traced);
        world.sizes = self.sizes;
        world.paths.clone_from(&self.paths);
        for (number, plan) in self.hosts.iter().enumerate() {
            let mut host = Host::new(NAMES[number], dice.fork(), plan.start, plan.program.tick);
            host.pace = plan.pace;
            host.has_figures = plan.has_figures;
            host.has_alarm = !plan.program.targets.is_empty();
            world.hosts.push(host);
        }
        let mut sim = Sim::new(world);
        for plan in &self.hosts {
            let program = Rc::new(plan.program.clone());
            sim.add_process(Rc::new(move |os| Process::new(os, &program).run()));
        }
        for host in 0..self.hosts.len() {
            sim.start(host);
        }
        for (at, act) in &self.acts {
            sim.plan(*at, act.clone());
        }
        sim
    }

    /// Runs it all, to the end.
    pub(crate) fn play(&self, sim: &mut Sim) {
        sim.run_to(self.curtain);
        for act in self.amends() {
            sim.act(act);
        }
        // What the stops held up is seen to first.
        sim.run_to(self.curtain + SETTLING);
        for host in 0..self.hosts.len() {
            sim.act(Act::Command(host, Command::Drain));
        }
        sim.run_to(self.curtain + SETTLING + FAREWELL);
        let world = sim.world();
        for (number, host) in world.hosts.iter().enumerate() {
            let left: Vec<_> = world.book.held_by(number).collect();
            assert!(left.is_empty(), "{} still holds {left:?}", host.name);
        }
    }

    /// Everything that puts the world right.
    fn amends(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for path in 0..self.paths.len() {
            for to in [0, 1] {
                acts.push(Act::Path {
                    path,
                    to,
                    is_down: false,
                });
            }
            acts.push(Act::Narrow { path, rate: None });
        }
        for host in 0..self.hosts.len() {
            acts.push(Act::WakeUp(host));
            acts.push(Act::Resume(host));
            acts.push(Act::PowerOn(host));
            acts.push(Act::Start(host));
            acts.push(Act::Command(host, Command::Resume));
        }
        acts
    }
}

fn host(dice: &mut Dice, ports: Vec<Terms>, targets: Vec<Target>) -> HostPlan {
    // Numbers that wrap are passed on the way.
    let edges = [0, 1 << 31, 1 << 32, 10 << 32, (1 << 48) / 1_000];
    let start = match dice.index(8) {
        edge @ 0..5 => Micros::from_millis(edges[edge]) - dice.millis(0, 90_000),
        5 => dice.millis(0, 1 << 40),
        _ => Micros::ZERO,
    };
    let tick = dice.pick(&[1, 10, 10, 10, 10, 20, 100, 250]);
    HostPlan {
        start,
        pace: Pace {
            wake: Micros::new(dice.pick(&[0, 100, 100, 5_000, 30_000])),
            breath_odds: dice.pick(&[0, 0, 1_000, 50, 8]),
            breath: Micros::new(dice.pick(&[200, 3_000, 40_000])),
            busy: None,
        },
        has_figures: !dice.one_in(4),
        program: Program {
            tick: Micros::from_millis(tick),
            ports,
            targets,
            manner: manner(dice),
            events: dice.pick(&[1, 2, 1_024, 1_024]),
            expiries: dice.pick(&[1, 2, 4_096, 4_096]),
            read: dice.pick(&[100, 4_096, 256 * 1_024]),
            memory: None,
            is_short: true,
        },
    }
}

fn manner(dice: &mut Dice) -> Manner {
    Manner {
        echoes: dice.one_in(2),
        slow_odds: dice.pick(&[0, 0, 100, 10]),
        longest: Micros::from_millis(dice.pick(&[5, 60, 120])),
        close_odds: dice.pick(&[0, 0, 0, 100]),
        refuse_odds: dice.pick(&[0, 0, 0, 3]),
        defer_odds: 0,
    }
}

fn target(dice: &mut Dice, ports: &[Terms], path: usize) -> Target {
    let port = dice.index(ports.len());
    let base = dice.millis(100, 2_000);
    Target {
        host: 0,
        port,
        path,
        terms: dice.terms_of(ports[port].speech),
        backoff: BackoffPolicy {
            min: dice.millis(10, 100),
            base,
            cap: base + dice.millis(0, 30_000),
            stable: dice.millis(1_000, 30_000),
        },
    }
}

fn path(dice: &mut Dice) -> Path {
    let longest = dice.pick(&[0, 1, 20, 100, 400]);
    let direction = |dice: &mut Dice| Direction {
        delay: dice.millis(0, longest),
        jitter: dice.millis(0, longest / 4),
        ..Direction::default()
    };
    Path {
        to: [direction(dice), direction(dice)],
    }
}

fn sizes(dice: &mut Dice) -> Sizes {
    Sizes {
        send: dice.pick(&[256, 4_096, 64 * 1_024]),
        receive: dice.pick(&[128, 4_096, 64 * 1_024]),
        segment: dice.pick(&[3, 100, 1_448, 1_448, 64 * 1_024]),
    }
}

impl Dice {
    /// Draws what a port speaks, and its rules.
    fn terms(&mut self) -> Terms {
        let speech = self.pick(&[
            Speech::WebSocket,
            Speech::WebSocket,
            Speech::Line,
            Speech::Binary,
            Speech::Raw,
            Speech::Own,
        ]);
        self.terms_of(speech)
    }
}

pub(crate) const NAMES: [&str; 5] = ["server", "client1", "client2", "client3", "client4"];

/// For what stops have held up.
const SETTLING: Micros = Micros::from_secs(2);

/// More than the longest close timeout, and what may delay it.
const FAREWELL: Micros = Micros::from_secs(40);
