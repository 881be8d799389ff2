//! A whole connection in the loop that holds it, fed with whatever may happen to it.

mod application;
mod codec;
mod law;
mod observer;
mod plan;
mod reader;
mod rig;

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use heartwheel::close::{Cause, CloseCode};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::proto::websocket::{Opcode, encode};
use heartwheel::proto::wire::Role;

use plan::{Ending, Plan, Step, WireChoice};
use rig::Rig;

/// Arbitrary bytes as the settings of a connection and what happens to it, step by step.
pub fn session(data: &[u8]) {
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let _told = Told(&plan);
    let Some(mut rig) = Rig::new(&plan) else {
        return;
    };
    let given = data.len() as u64;
    let counted = allocation_counter::measure(|| run(&mut rig, &plan));
    // What limits there are allow less than this, the books kept here included.
    let allowed = 6 * 1024 * 1024 + 512 * given;
    assert!(
        counted.bytes_max <= allowed,
        "{counted:?} for {given} bytes"
    );
}

fn run(rig: &mut Rig, plan: &Plan<'_>) {
    for step in &plan.steps {
        take(rig, step);
        rig.settle();
        if rig.is_ended {
            return;
        }
        rig.check_rest();
    }
    end(rig, plan.ending);
}

/// Tells the plan when it fails.
struct Told<'a>(&'a Plan<'a>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:#?}", self.0);
        }
    }
}

fn take(rig: &mut Rig, step: &Step<'_>) {
    match *step {
        Step::Noise(bytes) => rig.arrive(bytes),
        Step::Message { .. } | Step::Pings(..) | Step::Pong { .. } | Step::Farewell { .. } => {
            let bytes = frames(rig, step);
            rig.arrive(&bytes);
        }
        Step::Cut(count) => rig.lose(count.into()),
        Step::Chunk(most) => {
            let most = if most == 0 { usize::MAX } else { most.into() };
            rig.far.set_chunk(most);
        }
        Step::Unnoticed => rig.is_unnoticed = true,
        Step::Pass(millis) => pass(rig, Micros::from_millis(millis.into())),
        Step::PassLong(secs) => pass(rig, Micros::from_secs(secs.into())),
        Step::PassToDeadline => pass_to(rig, Micros::ZERO),
        Step::PassAlmost(less) => pass_to(rig, Micros::new(u64::from(less) * 100 + 1)),
        Step::Fire => {
            rig.due();
            rig.turn();
        }
        Step::Stall(millis) => rig.stall(Micros::from_millis(millis.into())),
        Step::Send {
            is_text,
            is_shared,
            byte,
            len,
        } => send(rig, is_text, is_shared, byte, len),
        Step::SendExact(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => rig.send(Message::text(text), false),
            Err(_) => rig.send(Message::binary(bytes), false),
        },
        Step::Probe => rig.ping(),
        Step::Close {
            which,
            code,
            reason,
        } => {
            let causes = [Cause::LocalClose, Cause::Replaced];
            let cause = causes[usize::from(which) % causes.len()];
            rig.close(cause, CloseCode::new(code), reason);
        }
        Step::Pause => rig.pause(),
        Step::Resume => rig.resume(),
        Step::Room(room) => rig.set_room(room.into()),
        Step::Flow => rig.set_room(usize::MAX),
        Step::Block => rig.set_room(0),
        Step::Connected => rig.connect(),
        Step::Handshake { is_refused } => rig.shake_hands(is_refused),
        Step::Policy => rig.change_policy(),
        Step::Eof => rig.end_input(),
        Step::Reset => rig.fail(RESET),
        Step::Fail { is_path: true } => rig.fail(TIMED_OUT),
        Step::Fail { is_path: false } => rig.fail(BROKEN),
    }
}

/// The bytes of well-formed frames, as the peer would send them.
fn frames(rig: &Rig, step: &Step<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match *step {
        Step::Message {
            is_text,
            is_continuation,
            is_unfinished,
            payload,
            times,
        } => {
            let kind = match (is_continuation, is_text) {
                (true, _) => Opcode::Continuation,
                (false, true) => Opcode::Text,
                (false, false) => Opcode::Binary,
            };
            for _ in 0..=times % 16 {
                write(rig, kind, !is_unfinished, payload, &mut out);
            }
        }
        Step::Pings(payload, times) => {
            let payload = &payload[..payload.len().min(125)];
            for _ in 0..=times {
                write(rig, Opcode::Ping, true, payload, &mut out);
            }
        }
        Step::Pong { back, is_forged } => {
            let pings = &rig.observer.pings;
            let newest = pings.iter().rev().nth(back.into());
            let mut token = newest.cloned().unwrap_or_default();
            if is_forged {
                token.push(back);
            }
            write(rig, Opcode::Pong, true, &token, &mut out);
        }
        Step::Farewell { code, reason } => {
            let mut body = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
            body.extend_from_slice(reason.as_bytes());
            body.truncate(125);
            write(rig, Opcode::Close, true, &body, &mut out);
        }
        _ => {}
    }
    out
}

/// Appends one frame of the wire, where it has such.
fn write(rig: &Rig, kind: Opcode, is_final: bool, payload: &[u8], out: &mut Vec<u8>) {
    match rig.wire {
        WireChoice::WebSocket => {
            let mask = (rig.role == Role::Server).then_some([1, 2, 3, 4]);
            encode(is_final, kind, payload, mask, out);
        }
        WireChoice::Line => match kind {
            Opcode::Ping => out.extend_from_slice(b"PING\n"),
            Opcode::Pong => out.extend_from_slice(b"PONG\n"),
            _ => {
                out.extend_from_slice(payload);
                out.extend_from_slice(if is_final { b"\r\n" } else { b"" });
            }
        },
        WireChoice::Binary => match kind {
            Opcode::Ping => out.push(1),
            Opcode::Pong => out.push(2),
            _ => {
                out.push(0);
                let len = u32::try_from(payload.len()).expect("a short payload");
                out.extend_from_slice(&(len + u32::from(!is_final)).to_be_bytes());
                out.extend_from_slice(payload);
            }
        },
        WireChoice::Raw => out.extend_from_slice(payload),
        WireChoice::Own => write_own(kind, payload, out),
    }
}

fn write_own(kind: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let mut token = payload.to_vec();
    token.resize(4, 0);
    match kind {
        Opcode::Ping => out.push(b'?'),
        Opcode::Pong if payload.is_empty() => return out.push(b'-'),
        Opcode::Pong => out.push(b'!'),
        Opcode::Close if payload.is_empty() => return out.push(b'.'),
        Opcode::Close => out.push(b'x'),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            let len = payload.len().min(255);
            out.extend_from_slice(&[b'm', u8::try_from(len).expect("at most 255")]);
            return out.extend_from_slice(&payload[..len]);
        }
    }
    out.extend_from_slice(&token);
}

fn send(rig: &mut Rig, is_text: bool, is_shared: bool, byte: u8, len: u16) {
    // A message of very many fragments takes long and shows nothing more.
    let most = rig.limits.max_fragment.saturating_mul(64);
    let payload = vec![byte & 0x7f; usize::from(len).min(most)];
    let message = match std::str::from_utf8(&payload) {
        Ok(text) if is_text => Message::text(text),
        Ok(_) | Err(_) => Message::binary(&payload),
    };
    rig.send(message, is_shared);
}

fn pass(rig: &mut Rig, span: Micros) {
    rig.pass_until(rig.now() + span);
    rig.notice();
}

/// Lets time pass up to the next deadline, less that.
fn pass_to(rig: &mut Rig, less: Micros) {
    let due = rig.due();
    if due < Micros::MAX {
        rig.pass_until(due - less);
    }
    rig.notice();
}

/// Brings the connection to its end, which must come in time.
fn end(rig: &mut Rig, ending: Ending) {
    rig.resume();
    rig.set_room(usize::MAX);
    rig.far.set_chunk(usize::MAX);
    rig.notice();
    rig.settle();
    if rig.is_ended {
        return;
    }
    let times = rig.times();
    let close = times.close_timeout.max(times.close_total);
    let phases = times.connect_timeout + times.handshake_timeout + close;
    let mut allowed = phases + Duration::from_secs(1);
    match ending {
        Ending::Close => rig.close(Cause::LocalClose, CloseCode::NORMAL, "done"),
        Ending::Eof => rig.end_input(),
        Ending::Silence => {
            let Some(timeout) = times.timeout else {
                return;
            };
            let interval = times.interval.unwrap_or_default();
            allowed += timeout * 2 + interval * 3 + times.write_timeout.unwrap_or_default();
        }
    }
    let phase = rig.phase();
    rig.settle();
    let until = rig.now() + Micros::from(allowed);
    while !rig.is_ended && rig.due() <= until {
        let due = rig.due();
        rig.pass_until(due);
    }
    assert!(
        rig.is_ended,
        "still there {allowed:?} after {ending:?}, {phase:?} then"
    );
}

/// What sockets fail with, as Linux numbers it.
const BROKEN: i32 = 5;
const RESET: i32 = 104;
const TIMED_OUT: i32 = 110;
