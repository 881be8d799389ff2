//! Documentation only: how to embed a loop, the architecture of the crate, how heartbeats are judged,
//! and the reason for each default.

pub mod embedding;

pub mod architecture {
    //! The architecture of the crate, and the reasons for it.
    //!
    //! # Layers
    //!
    //! A module may import only from the modules below it in this list. No files import each other
    //! in a circle. `tests/layers.rs` checks both rules.
    //!
    //! ```text
    //! 8  src/bin/heartwheel     the program: public API only               feature `cli`
    //! 7  reactor                the wait: one mio poll, foreign sources
    //! 6  event_loop             connections, turn, budgets, admission, clients: over any system
    //! 5  sys                    what a loop stands on: the traits; and mio, sockets, clocks, names
    //! 4  tls                    certificates, keys and roots -> configurations of rustls     feature `tls`
    //! 3  proto::{session, heartbeat}                                       time -> verdicts
    //! 2  proto::{http, line, binary, websocket, codec, line_codec, message, outbox}    bytes <-> frames, no time
    //! 1  proto::{wheel, ring, pool, utf8, authority, backoff, policy}, and assembly, bucket, shares, tally, flags, copy, received: structures, no protocol
    //! 0  config, error, close, stats, proto::{time, wire}                  vocabulary
    //! ```
    //!
    //! Everything in [`proto`](crate::proto) is sans-I/O: bytes and times go in; bytes, deadlines
    //! and verdicts come out. It has no sockets, no clock, no log and no threads. The same code
    //! runs under the reactor and on virtual time. A test holds 100 000 connections for ten virtual
    //! minutes in seconds.
    //!
    //! The loop uses neither mio nor a clock. It asks a [`System`](crate::sys::System) for
    //! everything: to read, write and accept, for the time, and for addresses of names.
    //! [`Native`](crate::sys::Native) is the system of the machine. It is the default type
    //! parameter, so an embedder's types do not mention it. The simulator has another system, with
    //! a network on virtual time. It gives each process its own stack: whenever the loop asks for
    //! something, time may pass, packets may arrive, and the process may be stopped or killed. So
    //! `tests/sim` tests the loop that runs in production. A [`Probe`](crate::sys::Probe) tells the
    //! simulator what the loop decided. Without a listener, a probe costs nothing.
    //!
    //! # The tree
    //!
    //! ```text
    //! src/bin/heartwheel    the program
    //!   settings            what was configured, as text, and where it was written
    //!   admin               what operators and monitoring ask
    //! src/reactor           the wait on mio, and foreign sources
    //! src/event_loop        the loop: connections, one turn, the handler's side, several loops as a group
    //!   listen              who comes: listeners, limits, refusals
    //!   client              who is dialed: targets, names, order, backoff
    //! src/sys               what a loop runs on: the traits, and the operating system behind them
    //! src/tls               certificates, keys and roots, for rustls; knows no socket
    //! src/proto             the core without I/O
    //!   session             one connection: phases, decisions, steps for the loop, output, ends
    //!   heartbeat, lateness when to ping, who is silent, and how late the loop itself was
    //!   http                heads, bodies, exchanges; knows no WebSocket
    //!   websocket           frames
    //!     handshake         the opening handshake, by requests and responses of http
    //!   wheel, ring, ...    structures
    //! src/stats             counters and histograms
    //! ```
    //!
    //! Between the socket of a connection and its session there may be a [`Layer`](crate::sys::Layer),
    //! such as [`Tls`](crate::sys): it changes the bytes on their way, and may have a handshake of its
    //! own. A plain connection has none. The session keeps the layer for the loop
    //! ([`Session::keep_aside`](crate::proto::session::Session::keep_aside)), since a word of its own would
    //! make every slot larger. Bytes that the kernel counts and bytes that the session counts are told apart
    //! where both meet, in [`Received`](crate::sys::Received) and [`Sent`](crate::sys::Sent): a proof of
    //! life, progress of output and budgets go by the kernel's. `tests/sealed_stream.rs` runs the loop over a
    //! toy with records of its own, `tests/tls_layer.rs` over TLS.
    //!
    //! # The program
    //!
    //! Flags are the keys of a file and the variables of the environment by another name, so what a value
    //! means is decided in one place: the parser of its flag (`args.rs`, `flags.rs`). `settings` reads the three
    //! as text, each value with its origin. `plan.rs` puts them together, one plan for each listener, and has the
    //! library check them; nothing is opened before. `serve.rs` opens them, `check.rs` and `config.rs` only
    //! tell of them. At SIGHUP the first loop does all of that again, compares the plans by the values that
    //! `shown.rs` would print, and has each loop take the steps between them (`reload.rs`, `steps.rs`).
    //!
    //! The admin listener is one for WebSocket, in the first loop, whose plain requests the handler answers. What the
    //! other loops know they are asked for by commands (`admin/ask.rs`), while the request waits as any that is
    //! answered later. A list of connections is made by a timer that is due at once, a part at a time, so that
    //! each turn has sockets and pings in between (`admin/desk.rs`).
    //!
    //! # Answers that come later
    //!
    //! A handler may take its time to let a connection in, or to answer a plain HTTP request
    //! ([`Decision::Later`](crate::reactor::Decision::Later)). The session then waits in the phase of
    //! its opening handshake: `proto/session/deferral.rs`. The request stays in front of the ring of
    //! received bytes, where it is parsed again once the handler has decided. So nothing is copied, its
    //! memory is counted as that of any input, and what the client sent behind it follows in order.
    //! A table of the loop (`event_loop/deferrals.rs`) knows by slot who waits, and keeps what the handler has
    //! decided until a step of the turn acts on it (`deciding.rs`). No other connection pays for that.
    //!
    //! On a wire without an opening handshake, a connection that waits has not opened. It counts as
    //! half-open from then on.
    //!
    //! Reading is paused meanwhile, and early bytes wait in the kernel. Unlike in other pauses, an event
    //! that reports the end of input or an error makes the loop read, as far as the ring has room, for
    //! the end lies behind those bytes. If there are more of them, the end is found later. A WebSocket client
    //! that waits to be let in and ends its output has left. Who has asked plainly may still read the
    //! answer, and on the other wires the end of input means that all of it has come: they wait on, and find
    //! the end again behind what they deliver. A peer that has gone altogether cannot be told from those
    //! before something is written to it. So it may hold its place among those that wait until the handshake
    //! timeout, and each address holds only so many of them, as they count as half-open.
    //!
    //! The handshake timeout goes on, and is put off for lateness of the loop as for any handshake,
    //! because a late loop hears of the decision late. But it blames nobody but us: the socket is not
    //! looked at before, a WebSocket client is answered 503 and not 408, and the reason says that the
    //! application did not answer in time. `handshake_timeout` stays the cause, because a cause names the
    //! deadline that was over.
    //!
    //! # The way of a byte
    //!
    //! From a peer's message to the handler's answer. Each function stands below the one that calls
    //! it:
    //!
    //! ```text
    //! reactor      Reactor::turn            waits, and hands the events on
    //! event_loop   EventLoop::turn          goes through them
    //!                handle_conn_event      finds the connection, notes what is ready
    //!                read                   until it would block, or its budget is over
    //! sys              Socket::read, or Layer::read      into the ring
    //! proto            Session::handle_bytes    a proof of life, perhaps
    //!                  decode
    //! proto              Session::decode    a frame: message, ping, pong, close
    //!                    Handler::on_message
    //!                      Context::send
    //! proto                  Session::send  a frame into the queue
    //!                settle_input           the ring goes back
    //!                  flush
    //! sys                Socket::write, or Layer::write
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
    //! sys                Socket::read, has_waiting_bytes, write, figures; the same of a Layer
    //! proto              Wheel::schedule        the end of it
    //!                flush_dirty
    //! proto            Session::socket_action   keep, end the output, close, reset
    //!                  Handler::on_closing      once, with the cause
    //!                reap_doomed
    //!                  Handler::on_close        once, with the evidence
    //! ```
    //!
    //! # The short way of a heartbeat
    //!
    //! Nearly all work of a loop with many idle connections is pings that are due and pongs that answer
    //! them. A connection at rest, which has borrowed nothing, takes a shorter way for both. It needs no
    //! buffers of its own, no queue and no steps:
    //!
    //! ```text
    //! event_loop   EventLoop::turn
    //!                read, hear             once, into the ring that the loop keeps for this
    //! proto            Session::handle_bytes, decode_answer    the newest ping's pong, and no byte more
    //!                  Handler::on_pong
    //!
    //!                expire, beat
    //! proto            Session::begin_beat      the ping, if one is due for no special reason
    //! sys              Socket::write            from where it was encoded
    //! proto            Session::end_beat        it has left: the next deadline
    //! proto            Wheel::schedule
    //! ```
    //!
    //! Whatever else there is goes the general way from there on: other bytes lie in the ring, and a
    //! ping that does not leave whole is queued. What a ping or a pong means is decided in
    //! `proto/heartbeat.rs` for both ways. A property test lets two sessions live through the same, one
    //! on each way, and the simulator's worlds run with either.
    //!
    //! # One turn
    //!
    //! [`Reactor::turn`](crate::reactor::Reactor::turn) has eight steps. `event_loop/wait.rs` says how
    //! long the first may last, and `turn.rs` lists the others. Beside them, `input.rs` reads,
    //! `expire.rs` does what is due, `output.rs` writes, `reap.rs` removes connections that have
    //! ended, and `shutdown.rs` ends the loop. `core.rs` holds the state that they work on, and
    //! `clock.rs` reads the loop's time. `progress.rs` keeps how far the turn has come: after a panic
    //! of a callback, the next turn goes on from there. The steps:
    //!
    //! 1. Wait, at most until the next deadline.
    //! 2. Read the clock. What follows happens at that time.
    //! 3. Handle events: input for which the last turn had no time, sockets, commands of other
    //!    threads, input that is still left, then listeners. If a connection's own
    //!    input makes a callback send to it, that output is written as soon as the input is
    //!    handled.
    //! 4. Handle expiries. First collect all due keys of the wheel, then handle them. This step is
    //!    put off, for at most one turn in a row, while the wait filled its event buffer or unread
    //!    input is carried over. A ping is written when it is found due. If a connection may
    //!    be dead, its socket must be looked at before the verdict, which takes several system
    //!    calls. So that many deaths at once delay no ping, these looks come after the pings. Then
    //!    come the embedder's timers and the closes of a drain.
    //! 5. Dial the clients that are due. Hand broadcasts out to the next connections; see
    //!    [below](#broadcasts).
    //! 6. Flush the connections on the dirty list: those to which others sent something.
    //! 7. Reap the connections on the doomed list. Each is reported exactly once. Also free large
    //!    buffers that are not needed: the system takes 80 µs or more to take back one MiB.
    //! 8. Report.
    //!
    //! No turn should take more than 10 ms for reasons of ours, however much there is to do. So
    //! each step does a limited part of its work, at least one piece, and leaves the rest in its
    //! list for the next turn, which does not sleep. The limits are:
    //!
    //! | work | most in one turn |
    //! | --- | --- |
    //! | reading | 3 ms, and 1 ms for input left; 1 ms while pings are left over |
    //! | commands of other threads; accepting; dials; timers | 2 ms each |
    //! | pings and other things that are due | 3 ms; half the time since when some are left over, if that is more |
    //! | looks at connections that may be dead | 2 ms |
    //! | broadcasts, also those to the subscribers of a topic | 1024 connections, 2 ms |
    //! | closes of a drain | 256 connections |
    //! | connections that take over what their listener was changed to | 1024 connections |
    //! | flushing | 3 ms |
    //! | reaping | 256 connections, 2 ms |
    //! | freeing buffers | 32 MiB, 2 ms |
    //!
    //! If the turn has taken 5 ms already, each later step but pings and looks gets only a sixteenth of
    //! what that was (`event_loop/progress.rs`). A callback of the embedder is never cut short. `cargo bench --bench
    //! turns` shows the lengths of turns under load. `tests/turns` counts the pieces on a clock that
    //! moves whenever the loop looks at it.
    //!
    //! With many idle connections, none of them is in the processor's cache. So the loop touches
    //! the next sixteen connections together before it handles the first of them, if there are more
    //! than a few. Within a turn the loop reads the clock after each read, because a proof of life
    //! must not be stamped earlier, and at every sixteenth ping.
    //!
    //! Steps 6 and 7 repeat while their callbacks make work for each other, at most four times.
    //!
    //! Callbacks only mark: a send fills a queue, a close sets a phase. Nothing is freed and no
    //! callback starts within a callback. So a callback may close any connection, including its
    //! own. Only one call there makes system calls: a send to a full queue first offers the queue
    //! to the kernel (`event_loop/output.rs`). Without that, a queue could be full only because the
    //! turn is not over: what handlers of other connections send is written in step 6. If the
    //! kernel refuses, the loop does not try again until the next wait, even if an event of the
    //! last wait says that there is room. So a connection has at most one refused write a turn, and
    //! `send_queue_full` means that a burst exceeded queue plus socket buffer.
    //!
    //! The loop pops its work lists one by one and counts the events that it has handled. So a
    //! panic in a callback costs its own connection and no other.
    //!
    //! # Broadcasts
    //!
    //! A broadcast to 100 000 connections takes a second or more, most of it in the kernel. So
    //! [`Context::broadcast`](crate::reactor::Context::broadcast) only notes the message. Each turn
    //! hands it out to some connections (`event_loop/broadcast.rs`), and the wait between two such
    //! turns has a timeout of zero. Sockets and pings have their turn meanwhile.
    //!
    //! One cursor goes round over the slots, for all broadcasts under way together. A broadcast
    //! begins where the cursor is, and is over when the cursor is there again. At each slot the
    //! cursor queues all broadcasts under way, in their order, and writes them at once. So a
    //! connection gets several broadcasts with one write, and each uses the buffers that the one
    //! before it gave back. With one cursor for each broadcast, a burst of small ones would cost a
    //! write for each of them and each connection.
    //!
    //! The recipients are those that were open at the call, and the order for each of them is the
    //! order of the calls. No slot stores anything for that. A table holds the exceptions: for the
    //! slot of a connection that opened while broadcasts were under way, the number of the first
    //! broadcast that it gets. If something is sent to a connection, or it is closed, before the
    //! cursor has come to it, it gets at that moment what it is still owed, and is put in the table
    //! too. An entry is dropped when the cursor comes to its slot.
    //!
    //! # Topics
    //!
    //! A table holds the members of each topic, another one the topics of each connection that has any
    //! (`event_loop/topics.rs`). Neither the slot nor the session of a connection knows of topics; those
    //! of an ended connection are looked up once, when it is reaped, if there are topics at all. To
    //! unsubscribe costs the same whatever the size of the topic: the last member takes the free place.
    //! Both tables are kept in 64 parts, because a map with a million keys takes a tenth of a second to
    //! grow, and the loop would stand still. What they take counts against the memory limit: names once,
    //! memberships for their connection.
    //!
    //! [`Context::publish`](crate::reactor::Context::publish) to at most 256 subscribers queues the
    //! message for each of them at once, some 100 µs (`event_loop/publish.rs`). So ten thousand topics
    //! of ten subscribers cost ten sends each, and whoever subscribes to several topics gets their
    //! messages with one write. A message to more subscribers is a broadcast that goes over the topic's
    //! members instead of all slots. It is in one list with the broadcasts to all. The oldest one of
    //! the list says which connection comes next, and that connection gets all that it is owed, in the
    //! order of the list. Each membership holds the number of the first message that it is still owed:
    //! so it gets none from before it subscribed, and none twice. A message is over when nobody is left
    //! to whom it is owed. Members are visited from the last to the first: who fills the place of one
    //! that has left comes from above, where it has been visited, or stays ahead.
    //!
    //! # Inside another loop
    //!
    //! An outer loop sleeps until the selector's descriptor is readable or the next timeout is
    //! over. An edge-triggered outer loop hears of an event only once, when it comes. It does not
    //! hear again of events that a turn left in the selector or in a list. So at the end of a turn,
    //! one of two things is true:
    //!
    //! - The wait took fewer events than it had room for, and no list holds work. All sources are
    //!   registered edge-triggered, so the selector is empty and any later event is a new edge.
    //! - The next timeout is zero. This is so after a wait that was full, interrupted or failed;
    //!   while work is left (input, commands, found names, connections to accept, expiries, output,
    //!   ends, or buffers to free); and after a panic in a callback.
    //!
    //! `tests/embedding/nesting.rs` tests each of these states with a loop that turns only when it
    //! is told to.
    //!
    //! # A connection
    //!
    //! A connection is a slab entry: the socket, a [`Session`](crate::proto::session::Session), and
    //! the embedder's data. Its id, [`ConnId`](crate::reactor::ConnId), is slot and generation, and
    //! is the poll token too. A stale id or a late event finds nothing. A generation repeats after
    //! 2^32 connections.
    //!
    //! A session joins a wire and a [`Heartbeat`](crate::proto::heartbeat::Heartbeat). While bytes
    //! are in transit it borrows one box of buffers: the ring of received bytes, the
    //! [`Outbox`](crate::proto::outbox::Outbox), the decoder's state, and the record of its end. An
    //! idle session has returned the box and holds a null pointer. Only one connection reads at a
    //! time. It reads into a buffer of the largest class, which is still in the cache from the last
    //! read. What it does not consume moves to the smallest buffer that holds it. During a callback
    //! the ring is outside of the slab, so that the handler sees the message in place and can still
    //! reach every connection.
    //!
    //! A socket is registered once, edge-triggered, for both directions; flags remember its
    //! readiness. A heartbeat round trip is one write and one read.
    //!
    //! # Memory
    //!
    //! An idle connection takes 144 bytes of user space (160 with a peer over IPv6), and nothing
    //! else:
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
    //! The embedder's data is added to that; `()` takes nothing. Three rules keep the sum small:
    //!
    //! - What can be computed is not stored. A connection's generation is the place of its ping
    //!   phase in the golden-ratio sequence, which contains every fraction once before it repeats.
    //! - What is rare is stored elsewhere. IPv6 addresses are in a table (16 bytes each), and those
    //!   with a scope also in a map. An embedder's codec, and the time of the last message if
    //!   `app_idle` is on, are in a box.
    //! - A peer that comes over IPv4 has an IPv4 address, even on a listener for both families.
    //!
    //! Tests list every field and check the sums.
    //!
    //! Slab, wheel and the table of addresses reserve room for `max_connections` at the start. That
    //! reserves only address space: a page costs memory from its first connection on. Nothing is
    //! copied later, so the millionth connection is accepted as fast as the first
    //! (`benches/growth.rs`). Pages that were used once stay for later connections. The tables that
    //! count connections by address cannot be reserved like that, because a hash touches all pages
    //! at once. There are 64 small tables, and only one grows at a time. An address takes at most
    //! 48 bytes. A table that is nearly empty after a flood shrinks.
    //!
    //! What is not idle is counted: `event_loop/budget.rs` asks a connection what it holds whenever
    //! its input or output has been handled, and changes the sum by the difference. So nothing has to
    //! be counted back, and a connection that has returned its box is not counted at all. Bytes that
    //! many queues share count once, in the pool. Connections that hold something are in classes by
    //! how much, a quarter of a power of two wide (`holders.rs`). To find the largest takes one look
    //! at the highest class, and to move one to another class takes constant time. The place of a
    //! connection in its class is in its box.
    //!
    //! With a [limit](crate::config::ReactorConfig::memory_limit), reading stops near it for
    //! connections that have grown and hold more than the average. Each pause ends after a second,
    //! and the next read takes at most one budget: so a message that needs little more can be
    //! complete, and peers that all wait for each other do not wait for ever. Silence counts during
    //! such a pause as during a pause of the embedder. At the limit the largest ends, and what it held
    //! is freed at once: its Close (1013, "try again later") follows at most the rest of a frame of 64
    //! KiB. 1009 would say that the message is too big whenever it comes, and 1008 that the peer broke
    //! a rule. A callback that sends to very many connections meets the limit within the callback.
    //! Each loop of a group has an equal share of the limit, so that loops need not wait for each
    //! other.
    //!
    //! Freed memory goes to the allocator. The GNU allocator returns only the end of its heap to
    //! the system. So `heartwheel serve` calls `malloc_trim` some time after connections have
    //! ended, if it is worth it. It does that on a separate thread, because it takes a tenth of a
    //! second for a gigabyte. An embedder may do the same. The loop may still have to wait if it
    //! allocates meanwhile, because the allocator is locked.
    //!
    //! # Who comes in
    //!
    //! A connection is judged when it is accepted, before it has a slot. The checks are, in this
    //! order: free places, the share of its address, the number and rate of its address, the rate
    //! of the listener.
    //!
    //! The number of places is `max_connections`, or what descriptors allow: the limit of the
    //! process minus the descriptors that are not connections. The limit is read for each batch of
    //! new connections, because an embedder may raise it at any time. The group keeps one
    //! descriptor in reserve. If the kernel has no descriptor for a new connection, the reserve is
    //! closed, the connection is accepted, answered 503 and closed, and the reserve is opened
    //! again. This is the only way to know whether a connection waits at all, because Linux reports
    //! a lack of descriptors before it looks.
    //!
    //! `share_per_address` is a ratio to the places that are still free. A fixed share would let
    //! two addresses take everything. A share of the places in use would not let the first address
    //! in. The ratio needs only two counts, and there is always room for one more connection.
    //!
    //! Each loop keeps its half-open connections in queues by address, the oldest first. If an
    //! address has too many, its oldest is closed. A connection that opens or ends leaves its place
    //! in the queue. Such places are removed once they are more than the others. So each connection
    //! costs the same, however many there are, and an open connection costs nothing. The limit is
    //! for the group, but each loop has its own queues. If an address has no half-open connection
    //! in this loop, nothing is closed, so the address may exceed its limit by one for each other
    //! loop. A connection that comes to the front while the answer to its plain request is leaving
    //! is no longer counted. Other limits apply to it: those of every closing connection, and the
    //! share of its address.
    //!
    //! A proxy comes for many, so none of its own connections counts for its address. The client
    //! counts once it is known: behind a header of the PROXY protocol, or with the fields of a
    //! request. Until the header is whole, its connection is `Connecting` and the handshake timeout
    //! runs, put off as for every deadline that blames a peer: by the longest interval in which the
    //! loop was late, at most by its own length, and never before one more look at the socket. The
    //! header is peeked at, and only its own bytes are taken. So the bytes behind it stay where the
    //! session or TLS reads them; and a connection whose header has not begun
    //! holds no buffer. What has come of a header, and where the requests of a kept connection come
    //! from, lies in a table by slot. The client's address takes the proxy's place in the table of
    //! peers, so a connection without a proxy takes no byte more.
    //!
    //! While the loop drains or is full, a listener may take guests
    //! ([`ListenerConfig::answer_when_full`](crate::reactor::ListenerConfig)): connections beyond
    //! the number of places, which may ask plainly and never open. Their number is a constant, so that
    //! the slab never grows. The oldest makes way for the next, after its bytes were read: a crowd
    //! of clients that dial again keeps no health check out. As long as as many have ended as there
    //! may be, accepting waits for the end of the turn.
    //!
    //! The host and the origin of a WebSocket request are checked against
    //! [`ListenerConfig::web`](crate::reactor::ListenerConfig::web) before the handler sees it.
    //! SECURITY.md explains why.
    //!
    //! # Opening and closing listeners
    //!
    //! Listeners can be opened, changed and closed at any time: on the
    //! [`Reactor`](crate::reactor::Reactor) between two turns, and on the
    //! [`Context`](crate::reactor::Context) in a callback. A change applies to later connections.
    //! To change the address or an option of the socket, close the listener and listen again: the
    //! address is free at once.
    //!
    //! ```
    //! use heartwheel::{ListenerConfig, Reactor, ReactorConfig, WireFactory};
    //!
    //! let mut reactor = Reactor::<()>::new(ReactorConfig::default())?;
    //! let config = |addr| ListenerConfig::new(addr, WireFactory::Line);
    //! let first = reactor.listen(config(([127, 0, 0, 1], 0).into()))?;
    //! let addr = reactor.local_addr(first).expect("it is open");
    //!
    //! // Later connections may send larger messages.
    //! let mut changed = config(addr);
    //! changed.limits.max_message = 1 << 20;
    //! assert!(reactor.set_listener(first, changed)?);
    //!
    //! // Connections of the first listener stay, and nobody else is accepted.
    //! assert!(reactor.close_listener(first));
    //!
    //! // Another listener has another id. The old one finds nothing.
    //! let second = reactor.listen(config(addr))?;
    //! assert_eq!(reactor.local_addr(first), None);
    //! assert_eq!(reactor.local_addr(second), Some(addr));
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! When a listener closes, the kernel resets the connections that wait to be accepted. A client
    //! may see such a reset right after it has connected, and should dial again. No setting avoids
    //! this. If no connection may be lost, open the new listener first, on another address or with
    //! `reuse_port` on the same one, then send clients there, and close the old listener last.
    //!
    //! # Several loops
    //!
    //! A loop is single-threaded. Loops of a [`Group`](crate::reactor::Group) run side by side.
    //! Each has its own selector, wheel, slab and listening sockets; `SO_REUSEPORT` distributes new
    //! connections. Loops meet only when a connection begins or ends: `max_connections` is checked
    //! with an atomic count, and one mutex holds the table of addresses and the rates of new
    //! connections. Messages to a connection and pings share nothing between loops. An id contains its
    //! loop's number.
    //!
    //! What is published for a topic goes to all loops that have topics. Each loop has a lane, a list
    //! behind a mutex, for what the others publish (`event_loop/lane.rs`). A callback only notes a
    //! message for the others; once in a turn all that is noted goes into their lanes, with one lock
    //! and at most one wake for each (`event_loop/siblings.rs`). A lane holds 16 MiB, and what a full
    //! lane does not take waits in the loop that published it, another 16 MiB; then publishing is
    //! refused. A lane is emptied whatever its loop has to pass on itself, so loops cannot wait for
    //! each other in a circle. A loop without topics is told nothing: one that has ended its
    //! connections, and turns no more, holds nobody up.
    //!
    //! `heartwheel serve --shards N` is such a group. Its loops send broadcasts, and the request to
    //! end, to each other through [`LoopHandle`](crate::reactor::LoopHandle). They write to one
    //! journal.
    //!
    //! # Time
    //!
    //! Core time is [`Micros`](crate::proto::time::Micros) since the loop's group was made. It is
    //! passed in as a [`Moment`](crate::proto::time::Moment), which also says how late the loop is
    //! in its present turn.
    //!
    //! A delay of the loop must not cost a peer its connection, and must not keep dead peers. Each
    //! loop has one [`Lateness`](crate::proto::lateness::Lateness), beside the sessions and without
    //! a clock. It keeps *intervals of lateness*. An interval starts when a wait should have ended
    //! (or when its turn began, if that was earlier) plus the larger of one tick and 10 ms. It ends
    //! with the turn.
    //!
    //! - A deadline that blames a peer (silence, write, connect, handshake, close, the total time
    //!   of a message) is put off by the longest single interval since it was armed. An interval
    //!   that began before counts from then on. The limit is T - I for silence (T if the interval
    //!   is off), the deadline's own length for the others, and six days for all.
    //! - A deadline that falls into an interval counts from the end of it.
    //! - Silence has two deadlines: T after the last proof, and T - I after a ping was written.
    //!   Each is put off by the lateness since its own beginning, and both must have passed. If the
    //!   proof must be read, there is a third one, counted from when reading resumed after a pause.
    //! - What counts a peer's rate (floods of pings and pongs, both floors of `slow_peer`) is
    //!   credited with the sum of the lateness. That is no verdict of death.
    //! - The ping schedule, `app_idle`, lifetimes and user timers are not put off.
    //!
    //! The longest interval counts, not the sum. With the sum, a loop that is always busy would
    //! find dead peers later and later. The longest is enough, because a peer's bytes wait in its
    //! socket and each socket is read before its verdict. So a loop whose turns take at most P
    //! finds a dead peer within T plus a tick plus about 3 P, however long it has been busy.
    //! `forgiveness` in the record of an end says by how much its deadline was put off.
    //!
    //! When the machine sleeps, that clock stops, but the peers go on. Each turn compares the clock
    //! with the boot-time clock (Linux). If they differ by a second, every client pings its server
    //! at once, and a client that waits to dial forgets its failures. A loop with clients has a
    //! timer on the boot-time clock, which ends the wait during which the machine slept. A server
    //! needs nothing: its deadlines go on where they stood, and its sockets are read first.
    //!
    //! The wall clock is used only for HTTP dates (`Date`, `Retry-After`), in one file. Setting it
    //! changes no deadline.
    //!
    //! A session's stamps are wrapping milliseconds, rounded up, four bytes each. A session is
    //! visited at least every ten hours and moves its stamps on before they can wrap. If time jumps
    //! by a day or more, because the process was stopped or nobody turned the loop, every session
    //! is first told the beginning and the end of the jump, and moves all its stamps.
    //!
    //! # Compression
    //!
    //! A compressor takes 380 KB and a decompressor 48, so a connection has none of its own. A
    //! compressed message is first put together as any other, and when it is whole, the loop's only
    //! decompressor inflates it. If that takes more than 256 KiB, the connection takes the decompressor
    //! along, and waits for the next step in line with those that have input left. The limit on messages
    //! is obeyed byte by byte, so a short message cannot become more than a long one could be. Messages
    //! that are sent are compressed in one go, which is why long ones are not compressed.
    //!
    //! Behind each message an empty block is added that is marked as the last one. Only if the message was
    //! complete does the stream end right there; otherwise the block is taken for something else.
    //!
    //! Where messages may refer to earlier ones (context takeover), all that matters between two messages
    //! is the end of what was sent: a compressor's hash tables can be built from it, and each message ends
    //! at a byte. So a connection keeps that end and hands it to the compressor with the next
    //! message: of what was received up to 32 KiB, as agreed, and of what was sent 4 KiB, because the
    //! compressor takes some 40 µs to read even that, and a longer one gains little. A broadcast refers to
    //! nothing, so that all recipients share its bytes, and becomes part of what each has sent.
    //!
    //! What compression costs is counted as work of the connection that causes it, in the same unit as its
    //! frames and bytes.
    //!
    //! # Ends
    //!
    //! The first cause wins. All evidence is taken at that moment: bytes queued, ages, pings, our
    //! own delay. The cause decides what follows:
    //!
    //! - A peer that counts as dead gets a reset, and its slot is free in the same turn. The same
    //!   happens to a peer that did not take our output, when its time is over. An orderly end
    //!   would tell that peer that it has everything, and the kernel would hold the rest for
    //!   minutes.
    //! - After one of our own orderly ends (`local_close`, `drain`, `max_lifetime`, `app_idle`,
    //!   `replaced`), after the last answer to HTTP requests, and after the end of input on a wire
    //!   without Close: queued output leaves first, as long as it makes progress. It ends when
    //!   there was no progress for the write timeout, when `close_total` is over, or with a drain's
    //!   window. The close timeout, for the peer's answer, runs from when the kernel accepted the
    //!   last byte. `close_total` limits that too.
    //! - After a peer broke a rule, flooded us, was too slow or let its queue fill up: what the
    //!   socket accepts at once still leaves. After the first refusal, Close is sent at the next
    //!   frame boundary and the rest is dropped. The close timeout is then a total, output
    //!   included.
    //! - The peer's Close is answered as soon as practical, after the current message (RFC 6455,
    //!   5.5.1). If the socket has refused output, the complete messages after that one are
    //!   dropped; otherwise they leave too. A peer that goes on reading gets the same time as
    //!   above.
    //! - On a wire with Close frames, the connection ends when both sides have sent theirs. The
    //!   server ends TCP, and the client waits for that (RFC 6455, 7.1.1). If a peer goes on
    //!   sending after its Close, the server only ends its own direction, as below.
    //! - On other wires, and for peers that broke a rule: after the last byte our direction ends.
    //!   Input is discarded until the peer's direction ends too, or until the close timeout.
    //!   Closing with unread input would cause a reset, and could destroy our last bytes.
    //! - After an error of the socket, or the end of a WebSocket's input without a Close frame, the
    //!   connection ends at once.
    //!
    //! If the goodbye of `local_close` or `peer_closed` runs out of time, the cause becomes
    //! `close_timeout`, with a reset. Every other cause stays, and the end is marked as not clean.
    //!
    //! An end that cut a message is not clean:
    //! [`Evidence::is_cut`](crate::close::Evidence::is_cut). The evidence gives the bytes of ours
    //! that never left, and the bytes read of a message of the peer's that was incomplete when the
    //! cause arose. Later bytes of that message are discarded, as are all messages after a goodbye.
    //!
    //! # Messages under way
    //!
    //! `app_idle` counts from the last progress of a message in either direction: bytes read of an
    //! incomplete message, or bytes of a message that the kernel accepted. Heartbeats do not count,
    //! not even a `PING` that comes in pieces. Connections without that limit store no time for it.
    //!
    //! # What the kernel knows
    //!
    //! At a verdict of silence, and when a connection is reset, `TCP_INFO` and the length of the
    //! send queue are read once (Linux). Dead peers are rare, so this costs little. The first rule
    //! that fits decides:
    //!
    //! 1. The peer's window has no room for waiting bytes, ours or the kernel's: `write_stalled`. A
    //!    window with less room than the next segment counts as closed.
    //! 2. Bytes were retransmitted without an acknowledgement, or the kernel tried several times
    //!    and could not send them (link down, no route, our own firewall): `path_dead`. This is so
    //!    even if our ping has not reached the kernel because the same bytes fill it.
    //! 3. A ping is still in our own output, or still behind data in the kernel's queue although it
    //!    had the extra time of a slow path: `write_stalled`.
    //! 4. Bytes were read since the ping, but not the required proof: `pong_timeout`.
    //! 5. Everything is acknowledged: `peer_unresponsive`.
    //! 6. Otherwise, or without figures: `pong_timeout`.
    //!
    //! If our ping is still behind data, and acknowledgements came since it was queued or written,
    //! the path is slow and not dead. The peer then has one more write timeout, at most the
    //! timeout, once for our own output and once for the kernel's queue. Without figures, output
    //! that the kernel accepted counts as acknowledged. Output that stalls for the write timeout is
    //! `path_dead` too if the figures say so.
    //!
    //! The kernel itself gives up a connection after about 15 minutes, or earlier with
    //! [`SocketOptions`](crate::reactor::SocketOptions). That is `path_dead` with the kernel's
    //! error number and without figures, because the kernel has discarded its queue. The number
    //! includes what routers and firewalls answered meanwhile.
    //!
    //! A control frame is delayed by at most the frame in progress plus 64 KiB of unsent data in
    //! the kernel. `TCP_NOTSENT_LOWAT` limits that to 16 KiB of unsent data plus the burst being
    //! written. Data in flight adds to it. `tests/netns` measures this on a link of 1 Mbit/s with 8
    //! MiB waiting. After a message found the send queue full, the kernel may hold as much as the
    //! socket's buffer takes, until the queue has been empty. A lost message, or a healthy peer
    //! that is closed, would be worse than a late ping.
    //!
    //! # Timers
    //!
    //! Each connection has one node in the [`Wheel`](crate::proto::wheel::Wheel): the nearest of
    //! its deadlines. Traffic writes a timestamp and does not touch the wheel. When the node
    //! expires, the session says what is really due and when to expire next.
    //!
    //! If events end several waits early and the next deadline stays the same, the loop puts the
    //! deadline into a timer that the selector watches. The waits then need no timeout, and the
    //! kernel does not set and cancel a timer for every message.
    //!
    //! # Where this differs from what one might expect
    //!
    //! - The first 10 ms of a turn (or its first tick, if that is longer) count as on time. A turn
    //!   keeps its reading below that: 3 ms in all, and 1 ms more for connections with
    //!   input left if those with events took all. One connection has 1 ms of it for its callbacks.
    //! - A connection's share is 128 steps. A decoded frame, a callback, a message that a callback
    //!   sends, and a KiB that was read are a step each. So a broadcast counts its recipients. A
    //!   connection that used up its share is heavy, until all that it sends at once takes less.
    //!   Heavy connections are read after all others, at least one in each turn. A connection for
    //!   which a turn had no time is read first in the next turn. So a peer that sends little does
    //!   not wait for those that send much, however many they are. Steps are counted, and not
    //!   measured by a clock, so that a stop of the process makes nobody heavy.
    //! - `messages_per_second` and `bytes_per_second` are token buckets that exist only while something
    //!   is owed: the first message makes them, and the next timer after all is paid frees them. A
    //!   pause by a limit is a pause as the embedder makes it, and reading goes on when both allow
    //!   it. Time in which we did not read counts as time in which the peer sent evenly, but a pause
    //!   by the limit itself does not.
    //! - While a budget leaves bytes of a connection unread, its silence is not judged. If any byte
    //!   is proof, these bytes are proof. Otherwise the proof may be among them, which puts the
    //!   verdict off by at most T - I.
    //! - A ping written within one tick (plus the slack) of its due time counts from its due time,
    //!   not from its writing. The rounding of the wheel is ours and must not make a verdict later.
    //!   It never costs the peer more than half of T - I.
    //! - A ping that our own lateness delayed is forgiven once. The deadline of the proof is put
    //!   off for that lateness already. So T - I after the ping is a deadline too, but it is put off
    //!   only for what a later interval is longer than that delay. Otherwise a busy loop would find
    //!   dead peers one turn later.
    //! - Slack rounds due times to multiples of twice the slack. So pings of many connections share
    //!   a wake-up, and no connection needs to know of another.
    //! - After the whole process was stopped, pings that are long overdue are skipped once, so that
    //!   pings stay spread. The next ping tests the silence instead. A wait counts as such a stop if
    //!   it ends more than 250 ms late, and if the loop was on time in the 3 s before it. A loop
    //!   that is late again and again is busy, and skips no ping.
    //! - A Close that blames the peer overtakes queued messages only after the socket has refused
    //!   output. Before that, what was sent in the same callback arrives before the Close.
    //! - A client waits while another client of the reactor is in its opening handshake with the
    //!   same address and port, because RFC 6455, 4.1, allows only one connecting connection at a
    //!   time. It hears `AwaitsTurn`. `handshakes_at_once` allows more, and `takes_turns` switches
    //!   that off.
    //! - A Close with 1012, 1013 or 1008 makes a client wait longer, by the table of
    //!   [`delay_after_close`](crate::proto::backoff::delay_after_close). 1008 does not stop it: the
    //!   connection was open, so the server knew who it was.
    //! - A redirect stops a client, which reports the new address. With `follow` the client goes
    //!   there. Of headers that the embedder adds, only `Authorization`, `Cookie` and
    //!   `Proxy-Authorization` are known to be credentials. They are left out after a redirect to
    //!   another scheme, host or port.
    //! - The look-up of a name has the connect timeout for itself. TCP has it again, for each
    //!   address.
    //! - A connection on which plain HTTP requests were answered is never "rejected", whatever ends
    //!   it; its record has the cause. If nothing of a further request has come, it ends without an
    //!   answer. A 408, 429 or 503 could be taken for the answer to a request that the client is
    //!   about to send.
    //! - Chunked bodies are refused with 411, as RFC 9112, 6.3, allows. Requests that are sent
    //!   before the previous answer are answered in order. If the socket does not take an answer,
    //!   the next request is the last, so that nobody queues more than two answers.
    //! - A line feed alone does not end a line of an HTTP head, though RFC 9112 would allow it. A
    //!   Host with a comma is refused, though RFC 3986 would allow it. Both are used to smuggle
    //!   requests.
    //! - One ping is timed at a time, as TCP times segments (RFC 6298). So older tokens need no
    //!   storage, and a round trip longer than the interval is still measured correctly.
}

pub mod liveness {
    //! What "alive" means here, and what a verdict promises.
    //!
    //! Let I be the interval and T the timeout. A peer is silent if no proof of life came for T, and if a
    //! ping had at least T - I to be answered. The verdict is never early. It is late by at most one
    //! tick plus the loop's own delay, which is bounded by three of its longest turns, even if the loop
    //! is always busy. Two things make it later, each by one interval at most: the process was
    //! stopped when a ping was due, and that ping was skipped; or with `ping_when = idle` the last
    //! proof of life came shortly after a ping was due.
    //!
    //! Before such a verdict, the socket is read once more. The same is done before a verdict on an
    //! opening handshake, a goodbye, a slow message or an idle application. A verdict about output is
    //! given only after the kernel refused a write in this turn.
    //!
    //! By default any received byte is proof of life ([`Proof`](crate::config::Proof)). What we write is
    //! never proof. A peer that only receives, and answers pings, stays connected for ever.
    //!
    //! # Why the defaults
    //!
    //! | setting | default | because |
    //! | --- | --- | --- |
    //! | interval, TCP | 10 s | within T, one answer may be lost and a second one still arrives |
    //! | interval, WebSocket | 30 s | below the 60 s at which many middleboxes forget an idle mapping |
    //! | timeout | 2 to 2.5 intervals | one lost answer must not end a connection |
    //! | write timeout | 10 s | output without any progress means that nobody reads |
    //! | handshake timeout | 5 s in total | a head that comes byte by byte must not hold a slot |
    //! | close timeout | 3 s from our last byte | an unanswered goodbye must not hold a slot for long |
    //! | close total | 5 min | queued output leaves first; a peer that reads a byte now and then must not stay for ever |
    //! | tick | 10 ms | 8192 slots of it cover a timeout of a minute in one turn of the wheel |
    //! | slack | 1 % of I, at most 50 ms | pings share wake-ups, deadlines do not move |
    //! | message | 16 MiB, `serve` 1 MiB | memory grows with bytes received, never with a length declared; few servers need more than 1 MiB |
    //! | memory limit | none, `serve` half of the machine or control group | a library cannot know what else its process needs; a program can |
    //! | half-open per address | 256, then the oldest is closed | request heads cost memory before the peer is known; idle peers must not keep others out |
    //! | share per address | 94 % while no other address is connected | others must find room: two addresses get 48 % each, and a place is always free |
    //! | open, and new a second, per address | 10 000, loopback exempt | far more than an office behind one address needs, far less than a flood |
    //! | messages and bytes a second | off; 10 messages with `serve --mode broadcast` | what is much depends on the application, but a message to everybody is never cheap |
    //! | send queue | max(1 MiB, 2 × message) | a slow reader is the sender's decision: drop or close |
}
