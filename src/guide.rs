//! Documentation only: how heartbeats are judged, why each default is what it is, and how the crate is
//! put together.

pub mod architecture {
    //! How the crate is put together, and why.
    //!
    //! # Layers
    //!
    //! Imports point down this list and never up, and no files import each other in a circle;
    //! `tests/layers.rs` holds the sources to both.
    //!
    //! ```text
    //! 7  src/bin/heartwheel     the program: public API only               feature `cli`
    //! 6  reactor                the wait: one mio poll, foreign sources
    //! 5  event_loop             connections, turn, budgets, admission, clients: over any system
    //! 4  sys                    what a loop stands on: the traits; and mio, sockets, clocks, names
    //! 3  proto::{session, heartbeat}                                       time -> verdicts
    //! 2  proto::{http, line, binary, websocket, codec, message, outbox}    bytes <-> frames, no time
    //! 1  proto::{wheel, ring, pool, utf8, authority, backoff, policy}, and assembly, flags, copy: structures, no protocol
    //! 0  config, error, close, stats, proto::{time, wire}                  vocabulary
    //! ```
    //!
    //! Everything in [`proto`](crate::proto) is sans-I/O: bytes and times go in, bytes, deadlines and
    //! verdicts come out. No sockets, no clock, no log, no threads. The same code runs under the reactor
    //! and on virtual time, where a test holds 100 000 connections for ten minutes in seconds.
    //!
    //! The loop names neither mio nor a clock. It asks a [`System`](crate::sys::System) for everything: sockets
    //! to read, write and accept, the time, addresses of names. [`Native`](crate::sys::Native) is that of the
    //! machine, and the one by default, so that an embedder's types do not mention it. The simulator has
    //! another, over a network on virtual time, and gives each process a stack of its own: wherever the loop
    //! asks for something, time may pass, packets may arrive, and the process may be stopped or killed. So
    //! what `tests/sim` judges is the loop that runs in production. It hears what was decided by way of
    //! [`Probe`](crate::sys::Probe)s, which are nothing at all where nobody listens.
    //!
    //! # The way of a byte
    //!
    //! From a peer that sends a message to the answer of a handler, one function below the other where one
    //! calls the other:
    //!
    //! ```text
    //! reactor      Reactor::turn            waits, and hands the events on
    //! event_loop   EventLoop::turn          goes through them
    //!                handle_conn_event      finds the connection, notes what is ready
    //!                read                   until it would block, or its budget is over
    //! sys              Socket::read         into the ring
    //! proto            Session::handle_bytes    a proof of life, perhaps
    //!                  decode
    //! proto              Session::decode    a frame: message, ping, pong, close
    //!                    Handler::on_message
    //!                      Context::send
    //! proto                  Session::send  a frame into the queue
    //!                settle_input           the ring goes back
    //!                  flush
    //! sys                Socket::write
    //! proto              Session::handle_written
    //! ```
    //!
    //! # The way of an expiry
    //!
    //! ```text
    //! event_loop   EventLoop::turn
    //!                expire
    //! proto            Wheel::advance           the keys that are due
    //!                  handle_expiry            one of them, step by step:
    //! proto              Session::handle_expiry     tells the next step and hears what was found; for
    //!                                           a ping: flush, wait
    //!                                           silence: read once, figures, flush, wait
    //!                                           output that stands still: write once, flush, wait
    //!                                           nothing yet: wait
    //! sys                Socket::read, has_waiting_bytes, write, figures
    //! proto              Wheel::schedule        the end of it
    //!                flush_dirty
    //! proto            Session::socket_action   keep, end the output, close, reset
    //!                reap_doomed
    //!                  Handler::on_close        once, with the evidence
    //! ```
    //!
    //! # One turn
    //!
    //! [`Reactor::turn`](crate::reactor::Reactor::turn) has eight steps. All but the first are
    //! listed in `event_loop/turn.rs`; `input.rs` beside it reads, `expire.rs` does what is due, `output.rs`
    //! writes, `reap.rs` lets go:
    //!
    //! 1. wait, at most until the next deadline;
    //! 2. read the clock: what follows happens then;
    //! 3. events: sockets, commands of other threads, what earlier turns left unread, then listeners,
    //!    each within a budget of bytes, numbers or time; what a connection's own input makes its
    //!    callbacks queue for it leaves as soon as that input is handled;
    //! 4. expiries: the wheel's due keys are collected first and handled then; put off, for one turn in a
    //!    row at most, while the wait filled its event buffer or unread input is carried over. A ping leaves
    //!    when it is found due, so that all of a tick share one set of buffers. After the keys come the
    //!    embedder's timers and the closes that a drain has due;
    //! 5. dials that are due;
    //! 6. flush every connection on the dirty list: those that others sent to;
    //! 7. reap the connections on the doomed list, each reported exactly once, 256 in a turn at most and
    //!    for 2 ms; and free what large buffers are no longer needed, 32 MiB of them at most and for 3 ms,
    //!    for the system takes 80 µs or more to take a MiB back;
    //! 8. report.
    //!
    //! Of many idle connections none lies in the processor's cache. So the next sixteen that have events,
    //! or are due, are looked at together before the first of them is handled. Within the turn the clock
    //! is read after each read, for a proof of life is stamped no earlier, and for every sixteenth ping.
    //!
    //! Steps 6 and 7 are repeated while their callbacks make work for each other, four times at most;
    //! the rest waits for the next turn, which then does not sleep.
    //!
    //! Callbacks only mark: a send fills a queue, a close sets a phase. Nothing is freed and no callback
    //! starts within a callback, so a callback may close anyone, itself included. Only one thing there
    //! makes system calls: a send that its queue has no room for first offers what waits there to the kernel
    //! (`event_loop/output.rs`). What handlers of other connections send is written in step 6, so that the
    //! queue of a peer that reads may be full only because the turn is not over. A refusal stands until
    //! the next wait, whatever the events of the last one say of room: a connection has at most one refused
    //! write a turn, and `send_queue_full` means that a burst exceeded queue and socket buffer. The work lists are
    //! popped one by one, and the events of a wait are counted off, so that a panic in a callback costs
    //! its own connection and no other.
    //!
    //! # Inside another loop
    //!
    //! An outer loop sleeps until the selector's descriptor is readable or the next timeout is over. One that
    //! waits for edges hears of an event once, when it comes, and never again of one that a turn has left in
    //! the selector or in a list of its own. So every state that a turn can end in has one of two properties.
    //! Either the wait took fewer events than it had room for, which means all there were, since every
    //! source is registered edge-triggered, and no list holds work; what comes later is a new edge. Or the
    //! next timeout is zero: after a wait that was full, interrupted or failed; while input, commands, names
    //! looked up, connections to accept, expiries, output, ends or buffers to free are left over; and after
    //! a panic in a callback. `tests/embedding/nesting.rs` turns only when it is told to, in each of these
    //! states.
    //!
    //! # A connection
    //!
    //! A slab entry: the socket, a [`Session`](crate::proto::session::Session), the embedder's data.
    //! Its name, [`ConnId`](crate::reactor::ConnId), is slot and generation and is the poll token too;
    //! a stale name or a late event finds nothing. A generation comes back after 2^32 connections.
    //!
    //! A session joins a wire and a [`Heartbeat`](crate::proto::heartbeat::Heartbeat). While something
    //! is in transit it borrows one box of buffers: the ring of received bytes, the
    //! [`Outbox`](crate::proto::outbox::Outbox), the decoder's state, and the record of its end. Idle, it
    //! has given that back and holds a null pointer. Only one connection reads at a time, so it reads
    //! into a buffer of the largest class, warm from the last one; what it leaves behind moves to the
    //! smallest that holds it. During a callback the ring steps out of the slab,
    //! so that the handler sees the message in place while it may touch every connection.
    //!
    //! A socket is registered once, for both directions, edge-triggered; readiness is remembered as
    //! flags. A heartbeat round trip is one write and one read.
    //!
    //! # Memory
    //!
    //! An idle connection takes 144 bytes of user space, 160 with a peer over IPv6, and nothing else:
    //!
    //! | part | bytes |
    //! | --- | ---: |
    //! | heartbeat: stamps of proof, bytes, question and next ping, numbers of pings, round-trip times, phase | 72 |
    //! | session: when it began, its phase's end, debts of control frames, policy, wire, two pointers | 40 |
    //! | descriptor | 4 |
    //! | peer's address | 6 |
    //! | listener or client that it came from | 4 |
    //! | what is known of the socket, lists that it is on | 2 |
    //! | node of the wheel | 16 |
    //!
    //! The embedder's data comes on top, and is nothing for `()`. What can be told from elsewhere is not
    //! kept: a connection's generation is the place of its phase in the golden-ratio sequence, which has
    //! every fraction once before it repeats. What few need is kept apart: addresses of IPv6 in a table (16
    //! bytes; those with a scope in a map besides), an own codec and the time of the last message, where
    //! `app_idle` asks for it, in a box. A peer that comes over IPv4 to a listener for both families has an
    //! IPv4 address. Tests list every field and hold the sums.
    //!
    //! Slab, wheel and table of addresses reserve room for `max_connections` at the start. That is address
    //! space: a page costs memory once the first connection is in it, and nothing is ever copied, so that
    //! the millionth connection is taken in as fast as the first (`benches/growth.rs`). Pages that a crowd has
    //! touched stay for the next one. The tables that
    //! count connections by address cannot be reserved like that, since a hash touches all pages at once.
    //! They are 64 small ones, of which one at a time grows; an address takes 48 bytes at most, and a table
    //! that a flood has left nearly empty shrinks.
    //!
    //! What is given back goes to the allocator. That of GNU gives back to the system only what lies at
    //! the end of its heap, so `heartwheel serve` asks it, some time after connections have ended and if
    //! it is worth it, to look everywhere (`malloc_trim`), on a thread of its own, since that takes a tenth
    //! of a second for a gigabyte; an embedder may want to do the same. Its loop can still be made to wait,
    //! by an allocation, because the allocator is locked meanwhile.
    //!
    //! # Who comes in
    //!
    //! A connection is judged when it is accepted, before it has a slot, in this order: the room in all, the
    //! share of its address, its address's numbers and rate, the listener's rate. The room is
    //! `max_connections`, or what descriptors allow: the limit of the process, less those that are not
    //! connections, looked at for each batch of newcomers, for an embedder may raise it at any time. One
    //! descriptor of the group is kept back. Where the kernel has none for a newcomer, that one is given up,
    //! the newcomer taken in, told 503 and closed, and it is taken back: Linux says that there is no
    //! descriptor before it looks whether anybody waits, so that only then is it known whether somebody
    //! does.
    //!
    //! An address may hold so many times what is left (`share_per_address`). A fixed part would let two
    //! addresses take all, and a part of what is held would let the first one in nowhere; this needs two
    //! counts, and however many take all that they may there is room for one more.
    //!
    //! Half-open connections of a loop stand in queues by address, the oldest first, which makes way where
    //! there are too many. Who opens or ends leaves its place in the queue behind; such places are swept
    //! out once they are more than the others, so that each connection costs the same however many there
    //! are, and an open one nothing. The limit is of the group, the queues are each loop's own: where none of
    //! an address's is in this loop nobody has to go, so that it may exceed its limit by one for each other
    //! loop. One that comes to the front while the answer to its plain request is leaving counts no more: it
    //! is bounded as every goodbye is, and by the share of its address.
    //!
    //! Of a WebSocket request the host and the origin are held against
    //! [`ListenerConfig::web`](crate::reactor::ListenerConfig::web) before the handler sees it; SECURITY.md
    //! says why.
    //!
    //! # Several loops
    //!
    //! A loop is single-threaded, and stays so. Loops of a [`Group`](crate::reactor::Group) run side by
    //! side, each with its own selector, wheel, slab and listening sockets (`SO_REUSEPORT` deals the
    //! connections out), and meet only where a connection comes or goes: its place among
    //! `max_connections` is an atomic count, the table of addresses and the rates of new connections lie
    //! under one mutex. Nothing is shared on the way of a message or a ping. A name carries its loop's
    //! number. `heartwheel serve --shards N` is such a group: its loops tell each other of broadcasts
    //! and of the wish to end through [`LoopHandle`](crate::reactor::LoopHandle), and write to one journal.
    //!
    //! # Time
    //!
    //! Core time is [`Micros`](crate::proto::time::Micros) since the loop's group began, passed in as a
    //! [`Moment`](crate::proto::time::Moment), which also says how late the loop is in its present turn.
    //!
    //! What the loop was late must not cost a peer its connection, and must not keep the dead. Each loop
    //! has one [`Lateness`](crate::proto::lateness::Lateness), which lies beside the sessions and knows no
    //! clock. It keeps *intervals of lateness*: each runs from when a wait should have ended, or its turn
    //! began if that was sooner, plus the larger of the tick and 10 ms, to the end of the turn.
    //!
    //! - A deadline that blames a peer (silence, write, connect, handshake, close, the total time of a
    //!   message) is put off by the longest single interval since it was armed. An interval that had begun
    //!   before counts from then on. For silence that is T - I at most (T where the interval is off), for
    //!   the others their own length, and six days for all.
    //! - A deadline that falls into an interval counts from the end of it.
    //! - Silence is two deadlines, T after the last proof and T - I after a ping was written. Each is put
    //!   off for what the loop was late since its own beginning, and both must have passed. Reading that
    //!   went on after a pause is a third one, where the proof must be read.
    //! - What counts a peer's rate (floods of pings and pongs, the floor of `slow_peer`) is credited with
    //!   all of the lateness since then. That is no verdict of death.
    //! - The ping grid, `app_idle`, lifetimes and user timers are not put off.
    //!
    //! The longest one, and not the sum: a loop that is busy for good would find the dead later and later.
    //! It is enough, since what peers sent meanwhile waits in their sockets, and each is read before it is
    //! judged. So a loop whose turns take no longer than P finds a dead peer within T, a tick and about 3 P
    //! however long it has been busy. `forgiveness` in the record of an end tells by how much its deadline
    //! was put off.
    //!
    //! A machine that sleeps stops that clock and not its peers. Each turn compares it with the boot-time
    //! clock (Linux); where they have come apart by a second, every client probes its peer at once, and one
    //! that waits to dial forgets its failures. A timer on the boot-time clock, which only a loop with
    //! clients has, ends the wait that the sleep fell into. A server needs nothing: its deadlines go on
    //! where they stood, and its sockets are read first.
    //!
    //! The wall clock is looked at for the dates of HTTP alone (`Date`, `Retry-After`), in one file: who sets it
    //! changes no deadline.
    //!
    //! A session's stamps are wrapping milliseconds, rounded up: four bytes each. A session is visited
    //! at least every ten hours, and moves stamps on before they could wrap. Where time goes on by a day or
    //! more at once, because the process was stopped or nobody turned the loop, every session is told of it
    //! first, from when until when, and moves all its stamps.
    //!
    //! # Ends
    //!
    //! The first cause wins, and the evidence is taken at that moment, whole: bytes queued, ages, pings,
    //! our own delay. What follows depends on it:
    //!
    //! - A peer judged dead gets a reset, and its slot is free in the same turn. So does, when its time
    //!   is over, one that has not taken our output: an orderly end would tell it that it has all, and
    //!   the kernel would hold what is left for minutes.
    //! - Our own orderly ends (`local_close`, `drain`, `max_lifetime`, `app_idle`, `replaced`), an answer
    //!   to an HTTP request, and the end of input on wires without a Close or behind such a request: what
    //!   is queued leaves first,
    //!   as long as it makes progress. None for the write timeout ends it, and so does `close_total`, or a
    //!   drain's window. The close timeout, for the peer's answer, runs from when the kernel accepted the
    //!   last byte; `close_total` bounds that too.
    //! - A peer that broke a rule, floods us, is too slow or lets its queue fill up: what the socket takes
    //!   at once still leaves. From its first refusal on the Close goes at the next border of frames, the
    //!   rest is dropped, and the close timeout is a total, output included.
    //! - The peer's Close is answered as soon as practical, and the current message is sent before (RFC
    //!   6455, 5.5.1). So, if the socket has refused output, whole messages behind that one are dropped;
    //!   if not, they leave too. A peer that reads on gets the same patience as above.
    //! - Where the wire has a Close frame the connection ends once both have spoken. The server ends TCP,
    //!   the client waits for that (RFC 6455, 7.1.1). Where a peer talks on behind its Close, the server
    //!   only ends its own direction, as below.
    //! - Plain wires, and peers that broke a rule: behind the last byte our direction ends, input is
    //!   discarded until the peer's ends too, or until the close timeout. A plain close with unread input
    //!   would be a reset, and could take our last words with it.
    //! - An error of the socket, or the end of a WebSocket's input without a Close frame: at once.
    //!
    //! `local_close` and `peer_closed` whose goodbye runs out of time become `close_timeout`, with a
    //! reset; every other cause stays what it was and is marked not clean.
    //!
    //! An end that cut a message is not clean, whoever said goodbye how:
    //! [`Evidence::is_cut`](crate::close::Evidence::is_cut). It tells the bytes of ours that never left,
    //! and those read of a message of the peer's that was not whole when the cause arose. What arrives of
    //! that one later is discarded, as all messages behind a goodbye.
    //!
    //! # Messages under way
    //!
    //! `app_idle` counts from the last progress of a message, either way: bytes read of one that is not
    //! whole, bytes of one that the kernel accepted. Heartbeats are none, not even a `PING` that comes in
    //! pieces. Connections without that limit keep no stamp for it.
    //!
    //! # What the kernel knows
    //!
    //! At a verdict of silence, and wherever a connection is reset, `TCP_INFO` and the length of the send
    //! queue are read once (Linux; a dead peer is rare). In this order:
    //!
    //! 1. the peer's window has no room for what waits, here or in the kernel: `write_stalled`. A window
    //!    with room for less than the next segment is as good as closed;
    //! 2. bytes were sent again and again without an acknowledgement, or the kernel tries again and again
    //!    and cannot even send them (link down, no route, a firewall of ours): `path_dead`, also if our
    //!    ping has not reached the kernel because the same bytes fill it;
    //! 3. a ping is still in our own output, or still behind data in the kernel's queue although it had
    //!    the time that a slow path gets: `write_stalled`;
    //! 4. bytes were read since the ping, but not the proof that was asked for: `pong_timeout`;
    //! 5. everything is acknowledged: `peer_unresponsive`;
    //! 6. none of it, or no figures: `pong_timeout`.
    //!
    //! Where our ping is still behind data, in our own output or in the kernel's queue, and
    //! acknowledgements have come since it was queued or written, the path is slow and not dead: the peer
    //! has one more write timeout, at most the timeout, once in either place. Without figures, output that
    //! the kernel accepted meanwhile stands for acknowledgements of what is in our own. Output that
    //! stalls for the write timeout is `path_dead` too where the same figures say so.
    //!
    //! The kernel itself gives a connection up after a quarter of an hour, or sooner where
    //! [`SocketOptions`](crate::reactor::SocketOptions) ask for it. That is `path_dead` with the kernel's
    //! number and without figures, for it has thrown the queue away; routers and firewalls that answered
    //! meanwhile are in that number.
    //!
    //! A control frame waits for the rest of one frame and for what the kernel holds already. That is kept
    //! small by `TCP_NOTSENT_LOWAT`: 16 KiB not sent and the burst that is being filled, 64 KiB at most,
    //! beside what is under way. `tests/netns` measures it on a link of 1 Mbit/s with 8 MiB waiting. Where a
    //! message finds the send queue full, the kernel may hold as much as the socket's buffer takes, from then
    //! on until the queue has been empty: a message that is lost, or a healthy peer that is closed, is worse
    //! than a ping that waits.
    //!
    //! # Timers
    //!
    //! One node in the [`Wheel`](crate::proto::wheel::Wheel) for each connection: the nearest of its
    //! deadlines. Traffic writes a timestamp and does not touch the wheel; when the node comes due, the
    //! session says what is really due, and when to come again.
    //!
    //! Waits that events cut short again and again, while the next deadline stays the same, go without
    //! a timeout: the deadline is in a timer that the selector watches, so that the kernel does not set
    //! and cancel one for every message.
    //!
    //! # Where this differs from what one might expect
    //!
    //! - The first 10 ms of a turn, or its first tick if that is longer, count as on time. A turn keeps its
    //!   reading below that: 1 ms for the callbacks of one connection, 4 ms for those with events, 4 ms for
    //!   those that earlier turns left over; the latter come last, so that a peer who says little does
    //!   not wait for one who says much.
    //! - While a budget leaves bytes of a connection unread no silence is judged: where any byte is proof,
    //!   those are, and else the proof may lie behind them, which puts the verdict off by T - I at most.
    //! - A ping that left within a tick (and the slack) of its due time counts from its due time, not
    //!   from its writing: the wheel's rounding is ours to bear, and must not make a verdict later
    //!   where the tick does not divide the interval. It never costs the peer more than half of T - I.
    //! - A ping that our own lateness made late is forgiven once. The deadline of the proof is put off for
    //!   that lateness already, so T - I after the ping is a deadline too, but is not put off again: a busy
    //!   loop would find the dead a turn later.
    //! - Slack rounds due times to multiples of twice the slack, so that pings of many connections share
    //!   a wake-up without any of them knowing of the others.
    //! - After a stop of the whole process, pings long overdue are passed over once, so that they stay
    //!   spread; the silence they would have probed waits for the next one.
    //! - A Close that blames the peer overtakes queued messages only once the socket has refused output.
    //!   Before that, what was sent in the same callback arrives before the goodbye.
    //! - A client that dials the address and port with which another client of the reactor is shaking hands
    //!   waits for its turn, because RFC 6455, 4.1, allows one connection at a time to be connecting.
    //!   `takes_turns` switches that off.
    //! - A redirect stops a client, which tells the new address; `follow` has it go there. Of the credentials
    //!   that are given as headers only `Authorization`, `Cookie` and `Proxy-Authorization` are known to be
    //!   such, and are left out at another scheme, host or port.
    //! - Looking up a name has the connect timeout for itself; TCP has it once more, for each address.
    //! - A connection on which plain HTTP requests were answered is never "rejected", whatever ends it: the
    //!   record tells the cause. While nothing of another request has come it ends without a word, and not
    //!   with 408, 429 or 503, which a client could take for the answer to what it is just about to ask.
    //! - Chunked bodies are refused with 411, as RFC 9112, 6.3, allows. Requests that are sent before the
    //!   answer to the one before are answered in turn; where the socket does not take an answer, the next
    //!   one is the last, so that nobody queues more than two.
    //! - A line feed alone ends no line of an HTTP head, though RFC 9112 would allow it, and a Host with a
    //!   comma is refused, though RFC 3986 would not: both are what requests are smuggled with.
    //! - One ping is timed at a time, as TCP times segments (RFC 6298): older tokens need no storage, and
    //!   a round trip longer than the interval is still measured truly.
}

pub mod liveness {
    //! What "alive" means here, and what a verdict promises.
    //!
    //! With interval I and timeout T, a peer is judged silent when no proof of life came for T, and not
    //! before a ping had T - I to be answered. The verdict is never early, and late by at most a tick
    //! plus what the loop itself was late: three of its longest turns, however long it has been busy.
    //! Before it is spoken, that very socket is read once more, as before
    //! a verdict on a handshake, a goodbye, a slow message or none for too long. A verdict about output is
    //! spoken only after the kernel has refused a write in this turn.
    //!
    //! Proof of life is any byte by default ([`Proof`](crate::config::Proof)). What we write ourselves
    //! never is. A peer that only receives, and answers pings, stays for ever.
    //!
    //! # Why the defaults
    //!
    //! | setting | default | because |
    //! | --- | --- | --- |
    //! | interval, TCP | 10 s | two lost answers still leave time within T |
    //! | interval, WebSocket | 30 s | below the 60 s at which many middleboxes forget an idle mapping |
    //! | timeout | 2 to 2.5 intervals | one lost answer must not kill |
    //! | write timeout | 10 s | output without any progress means that nobody reads |
    //! | handshake timeout | 5 s in total | dripped heads must not hold a slot |
    //! | close timeout | 3 s from our last byte | a goodbye is a courtesy |
    //! | close total | 5 min | what is queued leaves first; who reads a byte now and then must not stay for ever |
    //! | tick | 10 ms | 8192 slots of it cover a timeout of a minute in one turn of the wheel |
    //! | slack | 1 % of I, at most 50 ms | pings share wake-ups, deadlines do not move |
    //! | message | 16 MiB | memory grows with bytes received, never with a length declared |
    //! | half-open per address | 256, then the oldest goes | heads cost memory before anyone has said who they are; who only waits must not keep out who goes on |
    //! | share per address | 94 % while alone | others must find room; two get 48 % each, and there is always some left |
    //! | open, and new a second, per address | 10 000, loopback exempt | far beyond an office behind one address, far below a flood |
    //! | send queue | max(1 MiB, 2 × message) | a slow reader is the sender's decision: drop or close |
}
