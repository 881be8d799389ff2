//! What happens to a world, and what its applications do meanwhile.

use heartwheel::close::Cause;
use heartwheel::proto::time::Micros;

use super::Script;
use crate::dice::Dice;
use crate::world::{Act, Command, HostId};

impl Script {
    pub(super) fn throw_acts(&mut self, dice: &mut Dice) {
        let blows = dice.pick(&[0, 1, 2, 4, 8]);
        for _ in 0..blows {
            let at = dice.span(Micros::ZERO, self.curtain);
            self.throw_blow(dice, at);
        }
        let words = dice.pick(&[0, 5, 20, 60]);
        for _ in 0..words {
            let at = dice.span(Micros::ZERO, self.curtain);
            let act = Act::Command(dice.index(self.hosts.len()), self.throw_word(dice));
            self.acts.push((at, act));
        }
        if dice.one_in(6) {
            for _ in 0..dice.pick(&[1, 2, 8]) {
                self.close_listener(dice);
            }
        }
    }

    /// The server closes a listener, and opens it again later, or at once.
    fn close_listener(&mut self, dice: &mut Dice) {
        let at = dice.span(Micros::ZERO, self.curtain);
        let (which, lasts) = (dice.below(1 << 32), dice.pick(&[0, 10, 3_000, 30_000]));
        let again = at + dice.millis(0, lasts);
        let act = Act::Command(0, Command::CloseListener { which });
        self.acts.push((at, act));
        self.acts
            .push((again.min(self.curtain), Act::Command(0, Command::Listen)));
    }

    /// Memory is short on the server, whose application holds more and more for its connections.
    pub(super) fn throw_hoards(&mut self, dice: &mut Dice) {
        self.hosts[0].program.memory = Some(1 << 20);
        for _ in 0..dice.pick(&[5, 20, 60]) {
            let at = dice.span(Micros::ZERO, self.curtain);
            let size = dice.pick(&[0, 50_000, 300_000, 600_000]);
            let which = dice.below(1 << 32);
            self.acts
                .push((at, Act::Command(0, Command::Hoard { which, size })));
        }
    }

    /// Something goes wrong, and perhaps right again.
    fn throw_blow(&mut self, dice: &mut Dice, at: Micros) {
        let path = dice.index(self.paths.len());
        let host = dice.index(self.hosts.len());
        let lasts = match dice.index(4) {
            0 => dice.millis(50, 2_000),
            1 | 2 => dice.millis(1_000, 40_000),
            _ => Micros::from_secs(100_000),
        };
        match dice.index(13) {
            0 | 1 => {
                for to in [0, 1] {
                    self.cut(path, to, at, at + lasts);
                }
            }
            2 | 3 => self.cut(path, dice.index(2), at, at + lasts),
            4 => {
                let delay = dice.millis(0, 20_000);
                let before = self.paths[path].to[0].delay;
                self.both(
                    at,
                    Act::Delay { path, delay },
                    at + lasts,
                    Act::Delay {
                        path,
                        delay: before,
                    },
                );
            }
            5 => {
                let rate = Some(1_000 + dice.below(100_000));
                self.both(
                    at,
                    Act::Narrow { path, rate },
                    at + lasts,
                    Act::Narrow { path, rate: None },
                );
            }
            6 | 7 => self.both(at, Act::Stop(host), at + lasts, Act::Resume(host)),
            8 => self.both(at, Act::Sleep(host), at + lasts, Act::WakeUp(host)),
            9 => {
                let span = dice.millis(10, 100_000);
                self.acts.push((at, Act::Jump(host, span)));
            }
            10 => self.both(at, Act::Kill(host), at + lasts, Act::Start(host)),
            11 => self.lose_power(dice, host, at, at + lasts),
            _ => self.pause_within(dice, at, at + lasts),
        }
    }

    /// The server stops reading while a client's long message is on its way.
    fn pause_within(&mut self, dice: &mut Dice, at: Micros, again: Micros) {
        let (client, which, size) = (
            1 + dice.index(self.paths.len()),
            dice.below(1 << 32),
            200_000,
        );
        let send = Act::Command(client, Command::Send { which, size });
        self.acts.push((at, send));
        let soon = at + dice.millis(0, 500);
        for which in 0..MOST_PAUSED {
            let pause = Act::Command(0, Command::Pause { which });
            self.both(soon, pause, again, Act::Command(0, Command::Resume));
        }
    }

    fn lose_power(&mut self, dice: &mut Dice, host: HostId, at: Micros, again: Micros) {
        self.both(at, Act::PowerOff(host), again, Act::PowerOn(host));
        let started = again + dice.millis(0, 5_000);
        self.acts.push((started, Act::Start(host)));
    }

    fn cut(&mut self, path: usize, to: usize, from: Micros, until: Micros) {
        let act = |is_down| Act::Path { path, to, is_down };
        self.both(from, act(true), until, act(false));
    }

    fn both(&mut self, at: Micros, act: Act, later: Micros, other: Act) {
        self.acts.push((at, act));
        if later < self.curtain {
            self.acts.push((later, other));
        }
    }

    /// The application does something.
    fn throw_word(&self, dice: &mut Dice) -> Command {
        let which = dice.below(1 << 32);
        match dice.index(20) {
            0 => Command::Close {
                which,
                cause: dice.pick(&[Cause::LocalClose, Cause::Replaced]),
            },
            1 | 2 => Command::Ping { which },
            3 => Command::Pause { which },
            4 | 5 => Command::Resume,
            6 => {
                let ports = &self.hosts[0].program.ports;
                let speech = ports[dice.index(ports.len())].speech;
                // A policy that fits one wire may be asked for on another; the application looks.
                Command::Policy {
                    which,
                    heartbeat: Box::new(dice.heartbeat_of(speech)),
                }
            }
            7 => Command::Redial,
            8 | 9 => Command::Stray { which },
            10 => Command::Burst {
                which,
                size: dice.index(3_001),
                count: 2 + dice.index(20),
            },
            _ => {
                let most = dice.pick(&[0, 100, 3_000, 3_000, 40_000, 200_000]);
                Command::Send {
                    which,
                    size: dice.index(most + 1),
                }
            }
        }
    }
}

/// Connections that the server stops reading at once: more than clients hold, as a rule.
const MOST_PAUSED: u64 = 8;
