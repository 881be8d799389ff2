//! A chat with rooms; each room is a topic.
//!
//! `cargo run --example chat` listens for WebSockets on 127.0.0.1:9001 and for lines on 127.0.0.1:9002;
//! other addresses may follow `--`. `nc 127.0.0.1 9002` is a client, and so is a page of three lines. What
//! does not begin with a slash is said in the room; commands are:
//!
//! - `/nick NAME` changes the name that others see;
//! - `/join ROOM` enters a room, and leaves the one before;
//! - `/leave` leaves the room;
//! - `/who` tells who is in the room;
//! - `/rooms` lists the rooms.

use std::error::Error;
use std::net::SocketAddr;
use std::{env, io};

use heartwheel::{
    Cause, ConnId, Context, HeartbeatConfig, ListenerConfig, LoopHandle, Message, Reactor,
    ReactorConfig, SharedMessage, WireFactory,
};

type Cx<'a> = Context<'a, Member>;

/// What the chat knows of a connection.
#[derive(Debug, Default)]
pub struct Member {
    nick: String,
    room: Option<String>,
}

/// Counts who has come.
struct Chat(u64);

impl heartwheel::Handler for Chat {
    type Data = Member;

    fn on_open(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        self.0 += 1;
        let nick = format!("guest{}", self.0);
        tell(cx, id, &format!("* welcome, {nick}"));
        if let Some(member) = cx.data_mut(id) {
            member.nick = nick;
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, id: ConnId, message: Message<'_>) {
        let Some(text) = message.as_text() else {
            return tell(cx, id, "* only text, please");
        };
        // A terminal may end its lines with a carriage return too.
        let text = text.trim_end();
        let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
        match command {
            "/nick" => change_nick(cx, id, rest),
            "/join" => join(cx, id, rest),
            "/leave" => leave(cx, id),
            "/who" => list_members(cx, id),
            "/rooms" => list_rooms(cx, id),
            _ if command.starts_with('/') => tell(cx, id, "* no such command"),
            _ => say(cx, id, text),
        }
    }

    fn on_closing(&mut self, cx: &mut Cx<'_>, id: ConnId, _: Cause) {
        let (nick, room) = nick_and_room(cx, id);
        if let Some(room) = room {
            cx.unsubscribe(id, &room);
            publish(cx, &room, &format!("* {nick} is gone"));
        }
    }
}

/// Says something to one of them.
fn tell(cx: &mut Cx<'_>, id: ConnId, text: &str) {
    // Whoever does not read has a full queue, and misses it.
    let _ = cx.send(id, Message::text(text));
}

/// Says something to all in a room.
fn publish(cx: &mut Cx<'_>, room: &str, text: &str) {
    let message = SharedMessage::new(Message::text(text));
    if let Err(error) = cx.publish(room, &message) {
        eprintln!("not said in {room}: {error}");
    }
}

fn nick_and_room(cx: &Cx<'_>, id: ConnId) -> (String, Option<String>) {
    let member = cx.data(id);
    member.map_or_else(Default::default, |member| {
        (member.nick.clone(), member.room.clone())
    })
}

fn say(cx: &mut Cx<'_>, id: ConnId, text: &str) {
    match nick_and_room(cx, id) {
        (nick, Some(room)) => publish(cx, &room, &format!("{nick}: {text}")),
        (_, None) => tell(cx, id, "* you are in no room: /join ROOM"),
    }
}

fn change_nick(cx: &mut Cx<'_>, id: ConnId, nick: &str) {
    if !is_name(nick) {
        return tell(cx, id, "* a name has 1 to 32 letters or digits");
    }
    let (before, room) = nick_and_room(cx, id);
    if let Some(member) = cx.data_mut(id) {
        member.nick = nick.to_owned();
    }
    let news = format!("* {before} is now {nick}");
    match room {
        Some(room) => publish(cx, &room, &news),
        None => tell(cx, id, &news),
    }
}

fn join(cx: &mut Cx<'_>, id: ConnId, room: &str) {
    if !is_name(room) {
        return tell(cx, id, "* a name has 1 to 32 letters or digits");
    }
    let (nick, before) = nick_and_room(cx, id);
    if before.as_deref() == Some(room) {
        return tell(cx, id, "* you are there");
    }
    leave(cx, id);
    if let Err(error) = cx.subscribe(id, room) {
        return tell(cx, id, &format!("* {error}"));
    }
    if let Some(member) = cx.data_mut(id) {
        member.room = Some(room.to_owned());
    }
    publish(cx, room, &format!("* {nick} has come to {room}"));
}

fn leave(cx: &mut Cx<'_>, id: ConnId) {
    let room = cx.data_mut(id).and_then(|member| member.room.take());
    if let Some(room) = room {
        let (nick, _) = nick_and_room(cx, id);
        publish(cx, &room, &format!("* {nick} has left {room}"));
        // Whoever leaves still gets what was said before.
        cx.unsubscribe(id, &room);
    }
}

fn list_members(cx: &mut Cx<'_>, id: ConnId) {
    let (_, room) = nick_and_room(cx, id);
    let members = cx.connections().filter_map(|other| cx.data(other));
    let there = members.filter(|member| room.is_some() && member.room == room);
    let nicks: Vec<_> = there.map(|member| member.nick.as_str()).collect();
    let list = format!("* here: {}", nicks.join(" "));
    tell(cx, id, &list);
}

fn list_rooms(cx: &mut Cx<'_>, id: ConnId) {
    let rooms = cx.all_topics();
    let mut rooms: Vec<_> = rooms
        .map(|(room, count)| format!("{room} ({count})"))
        .collect();
    rooms.sort();
    tell(cx, id, &format!("* rooms: {}", rooms.join(" ")));
}

/// Peers choose names, so they are short.
fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.chars().count()) && name.chars().all(char::is_alphanumeric)
}

/// Serves WebSockets on one address and lines on another one. `ready` is told the real addresses, and gets a
/// handle that can stop the chat.
pub fn serve(
    addrs: [SocketAddr; 2],
    ready: impl FnOnce([SocketAddr; 2], LoopHandle<Member>),
) -> Result<(), heartwheel::Error> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    let web = reactor.listen(ListenerConfig::new(addrs[0], WireFactory::WebSocket))?;
    let mut lines = ListenerConfig::new(addrs[1], WireFactory::Line);
    // People who type answer no pings.
    lines.heartbeat = HeartbeatConfig {
        interval: None,
        timeout: None,
        ..HeartbeatConfig::tcp()
    };
    let lines = reactor.listen(lines)?;
    let bound = [web, lines].map(|id| reactor.local_addr(id).expect("it listens"));
    ready(bound, reactor.handle());
    reactor.run(&mut Chat(0))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut addrs = [([127, 0, 0, 1], 9001), ([127, 0, 0, 1], 9002)].map(SocketAddr::from);
    for (addr, given) in addrs.iter_mut().zip(env::args().skip(1)) {
        *addr = given.parse().map_err(io::Error::other)?;
    }
    serve(addrs, |[web, lines], _| {
        println!("listening ws {web}, lines {lines}")
    })?;
    Ok(())
}
