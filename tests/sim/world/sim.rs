//! The world and its processes together: what runs them, and what a script may do to them.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

use corosensei::{Coroutine, CoroutineResult, Yielder};
use heartwheel::proto::time::Micros;

use super::path::Direction;
use super::{Command, Event, Hardship, HostId, Os, World};

/// What a script does to the world.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// One direction of a path, by the side it leads to, lets nothing through, or does again.
    Path {
        path: usize,
        to: usize,
        is_down: bool,
    },
    /// A path takes so long from now on, each way.
    Delay {
        path: usize,
        delay: Micros,
    },
    /// A path carries so many bytes a second.
    Narrow {
        path: usize,
        rate: Option<u64>,
    },
    Stop(HostId),
    Resume(HostId),
    Sleep(HostId),
    WakeUp(HostId),
    Jump(HostId, Micros),
    Kill(HostId),
    PowerOff(HostId),
    PowerOn(HostId),
    Start(HostId),
    Command(HostId, Command),
}

/// A process with a stack of its own: it is left wherever it asks the system for something.
type Task = Coroutine<(), (), ()>;

/// Runs a host's process.
pub(crate) type Program = Rc<dyn Fn(Os<'_>)>;

/// A world that runs.
pub(crate) struct Sim {
    world: Rc<RefCell<World>>,
    programs: Vec<Program>,
    tasks: Vec<Option<Task>>,
    acts: Vec<Act>,
}

impl Sim {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world: Rc::new(RefCell::new(world)),
            programs: Vec::new(),
            tasks: Vec::new(),
            acts: Vec::new(),
        }
    }

    /// Says what runs on the next host.
    pub(crate) fn add_process(&mut self, program: Program) {
        self.programs.push(program);
        self.tasks.push(None);
    }

    /// Plans an act.
    pub(crate) fn plan(&mut self, at: Micros, act: Act) {
        let number = self.acts.len();
        self.acts.push(act);
        self.world_mut().schedule(at, Event::Act(number));
    }

    /// Runs until true time is `end`.
    pub(crate) fn run_to(&mut self, end: Micros) {
        loop {
            let next = self.world_mut().next_event(end);
            let Some(event) = next else { break };
            match event {
                Event::Packet(to, packet) => self.world_mut().handle_packet(to, packet),
                Event::Timer(sock) => self.world_mut().handle_timer(sock),
                Event::Room(sock) => self.world_mut().handle_room(sock),
                Event::Wake(host, wake) => {
                    let goes_on = self.world_mut().handle_wake(host, wake);
                    if goes_on {
                        self.resume(host);
                    }
                }
                Event::Act(number) => {
                    let act = self.acts[number].clone();
                    self.act(act);
                }
            }
        }
        self.world_mut().now = end;
    }

    /// Does what a script asks for.
    pub(crate) fn act(&mut self, act: Act) {
        let mut world = self.world.borrow_mut();
        world.trace(|| format!("script: {act:?}"));
        world.note_trouble(&act);
        match act {
            Act::Path { path, to, is_down } => world.paths[path].to[to].is_down = is_down,
            Act::Delay { path, delay } => {
                // A question may have left before, and its answer after.
                let either = |direction: &Direction| direction.delay.min(delay);
                let [there, back] = world.paths[path].to.each_ref().map(either);
                world.note_shortest(path, there + back);
                for direction in &mut world.paths[path].to {
                    direction.delay = delay;
                }
            }
            Act::Narrow { path, rate } => {
                for direction in &mut world.paths[path].to {
                    direction.rate = rate;
                }
            }
            Act::Stop(host) => world.stop(host),
            Act::Resume(host) => world.resume(host),
            Act::Sleep(host) => world.fall_asleep(host),
            Act::WakeUp(host) => world.wake_up(host),
            Act::Jump(host, span) => world.jump(host, span),
            Act::Kill(host) => {
                world.meet(Hardship::Kill);
                world.kill(host);
                drop(world);
                self.tasks[host] = None;
            }
            Act::PowerOff(host) => {
                world.meet(Hardship::PowerLoss);
                world.set_power(host, false);
                drop(world);
                self.tasks[host] = None;
            }
            Act::PowerOn(host) => world.set_power(host, true),
            Act::Start(host) => {
                drop(world);
                self.start(host);
            }
            Act::Command(host, command) => world.command(host, command),
        }
    }

    /// Starts a host's process, if it does not run and its machine does.
    pub(crate) fn start(&mut self, host: HostId) {
        let (is_alive, has_kernel) = {
            let one = &self.world().hosts[host];
            (one.is_alive(), one.has_kernel())
        };
        if is_alive || !has_kernel {
            return;
        }
        self.world_mut().start(host);
        let (world, program) = (Rc::clone(&self.world), Rc::clone(&self.programs[host]));
        let run = move |yielder: &Yielder<(), ()>, ()| program(Os::new(world, host, yielder));
        self.tasks[host] = Some(Coroutine::new(run));
        self.resume(host);
    }

    pub(crate) fn world(&self) -> Ref<'_, World> {
        self.world.borrow()
    }

    pub(crate) fn world_mut(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    fn resume(&mut self, host: HostId) {
        if let Some(task) = &mut self.tasks[host]
            && let CoroutineResult::Return(()) = task.resume(())
        {
            self.tasks[host] = None;
        }
    }
}
