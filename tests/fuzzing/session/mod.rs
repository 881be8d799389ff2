//! A whole session, fed with whatever may happen to it.

mod codec;
mod law;
mod observer;
mod plan;
mod reader;
mod rig;
mod socket;

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use heartwheel::close::{Cause, CloseCode, Phase};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::proto::websocket::{Opcode, encode};
use heartwheel::proto::wire::Role;

use plan::{Ending, Plan, Step, WireChoice};
use rig::Rig;

/// Arbitrary bytes as the settings of a session and what happens to it, step by step.
pub fn session(data: &[u8]) {
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let given = data.len() as u64;
    let counted = allocation_counter::measure(|| run(&plan));
    // What limits there are allow less than this, the books kept here included.
    let allowed = 6 * 1024 * 1024 + 512 * given;
    assert!(
        counted.bytes_max <= allowed,
        "{counted:?} for {given} bytes"
    );
}

fn run(plan: &Plan<'_>) {
    let _told = Told(plan);
    let Some(mut rig) = Rig::new(plan) else {
        return;
    };
    for step in &plan.steps {
        let (had_output, at) = (rig.session.has_output(), rig.now.at);
        take(&mut rig, step);
        if rig.is_ended {
            return;
        }
        // Where time has passed, it was noted on the way.
        if rig.now.at == at {
            rig.note_output(had_output);
        }
        rig.settle();
        rig.pass_until(rig.now.at);
    }
    end(&mut rig, plan.ending);
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
        Step::Noise(bytes) => arrive(rig, bytes),
        Step::Message { .. } | Step::Pings(..) | Step::Pong { .. } | Step::Farewell { .. } => {
            let bytes = frames(rig, step);
            arrive(rig, &bytes);
        }
        Step::Cut(count) => {
            let left = rig.socket.arrived.len().saturating_sub(count.into());
            rig.socket.arrived.truncate(left);
        }
        Step::Chunk(most) => {
            rig.socket.chunk = if most == 0 { usize::MAX } else { most.into() };
        }
        Step::Unnoticed => rig.socket.is_unnoticed = true,
        Step::Pass(millis) => pass(rig, Micros::from_millis(millis.into())),
        Step::PassLong(secs) => pass(rig, Micros::from_secs(secs.into())),
        Step::PassToDeadline => pass_to(rig, Micros::ZERO),
        Step::PassAlmost(less) => pass_to(rig, Micros::new(u64::from(less) * 100 + 1)),
        Step::Fire => rig.expire(),
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
        Step::Probe => rig.session.ping(&mut rig.env, rig.now),
        Step::Close {
            which,
            code,
            reason,
        } => {
            let causes = [Cause::LocalClose, Cause::Drain, Cause::Replaced];
            let cause = causes[usize::from(which) % causes.len()];
            rig.close(cause, CloseCode::new(code), reason);
            // The goodbye is waited for, paused or not.
            rig.read();
        }
        Step::Pause => rig.session.handle_pause(rig.now),
        Step::Resume => {
            rig.resume();
            rig.read();
        }
        Step::Room(room) => set_room(rig, room.into()),
        Step::Flow => set_room(rig, usize::MAX),
        Step::Block => set_room(rig, 0),
        Step::Connected => rig.connected(),
        Step::Handshake { is_refused } => {
            rig.handshake(is_refused);
            rig.read();
        }
        Step::Policy => rig.change_policy(),
        Step::Eof => {
            rig.socket.is_ended = true;
            rig.read();
        }
        Step::Reset => {
            rig.socket.is_reset = true;
            rig.read();
        }
        Step::Fail { is_path: true } => rig.session.handle_path_error(rig.now, Some(110)),
        Step::Fail { is_path: false } => rig.session.handle_io_error(rig.now, Some(5), false),
    }
}

fn arrive(rig: &mut Rig, bytes: &[u8]) {
    if rig.socket.is_ended || rig.socket.arrived.len() > MOST_WAITING {
        return;
    }
    rig.socket.arrived.extend_from_slice(bytes);
    if !std::mem::take(&mut rig.socket.is_unnoticed) {
        rig.read();
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
            let mask = (rig.session.role() == Role::Server).then_some([1, 2, 3, 4]);
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

fn set_room(rig: &mut Rig, room: usize) {
    rig.socket.room = room;
    rig.socket.is_writable = true;
    rig.session.handle_writable();
}

fn pass(rig: &mut Rig, span: Micros) {
    rig.pass_until(rig.now.at + span);
}

/// Lets time pass up to the next deadline, less that.
fn pass_to(rig: &mut Rig, less: Micros) {
    let due = rig.firing();
    if due < Micros::MAX {
        rig.pass_until(due - less);
    }
}

/// Brings the session to its end, which must come in time.
fn end(rig: &mut Rig, ending: Ending) {
    rig.resume();
    set_room(rig, usize::MAX);
    rig.read();
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
        Ending::Eof => {
            rig.socket.is_ended = true;
            rig.read();
        }
        Ending::Silence => {
            let Some(timeout) = times.timeout else {
                return;
            };
            let interval = times.interval.unwrap_or_default();
            allowed += timeout * 2 + interval * 3 + times.write_timeout.unwrap_or_default();
        }
    }
    let is_connecting = rig.session.phase() == Phase::Connecting;
    rig.settle();
    let until = rig.now.at + Micros::from(allowed);
    while !rig.is_ended && rig.firing() <= until {
        rig.pass_until(rig.firing());
    }
    assert!(
        rig.is_ended,
        "still there {allowed:?} after {ending:?}, connecting: {is_connecting}"
    );
}

/// Bytes that wait unread at most.
const MOST_WAITING: usize = 64 * 1024;
