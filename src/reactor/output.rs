//! Writing: what is queued leaves as far as the kernel takes it, and a refusal stands until the next wait.

use super::conn::{FlushOutcome, Ready};
use super::core::Core;
use super::socket;

impl<D> Core<D> {
    /// Offers the queue of a connection to the kernel, because a message has no room in it: it may be full
    /// only because the turn has not come to its end. Within a callback this is the one system call; it runs
    /// no callback and frees nothing. Not while a refusal stands.
    pub(super) fn offer(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if conn.ready.has(Ready::Refused) || conn.ready.has(Ready::Broken) {
            return;
        }
        // The event that tells of room may be one of those that this turn has still to come to.
        conn.ready.insert(Ready::Writable);
        self.refresh_now();
        // The callback goes on.
        self.is_behind = true;
        self.write(key);
    }

    /// Writes what is queued for a connection until it is gone or the kernel takes no more. What becomes of
    /// the connection is only marked.
    pub(super) fn write(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        let was_refused = conn.ready.has(Ready::Refused);
        let outcome = conn.flush(&mut self.env, self.now);
        if !was_refused && conn.ready.has(Ready::Refused) {
            self.refused.push(key);
        }
        if let FlushOutcome::Failed(error) = outcome {
            self.write_failed(key, &error);
        }
    }

    /// Lets refused writes be tried again, before a wait.
    pub(super) fn forget_refusals(&mut self) {
        for key in self.refused.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.ready.remove(Ready::Refused);
            }
        }
    }

    /// A write failed. What the peer said before is still to be read; the reading then ends it, or a
    /// second failure does.
    fn write_failed(&mut self, key: usize, error: &std::io::Error) {
        let conn = &mut self.conns[key];
        let is_reset = error.kind() == std::io::ErrorKind::ConnectionReset;
        if conn.ready.has(Ready::Reset) || conn.ready.has(Ready::Eof) || conn.session.is_paused() {
            conn.fail(self.now, error);
            return;
        }
        if is_reset {
            conn.ready.insert(Ready::Reset);
        }
        conn.ready.insert(Ready::Broken);
        conn.ready.insert(Ready::Readable);
        conn.ready.insert(Ready::Doubtful);
        if !is_reset && !socket::is_reset(error) {
            conn.fail(self.now, error);
            return;
        }
        self.carry(key);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    use crate::close::Phase;
    use crate::config::ReactorConfig;
    use crate::proto::message::Message;
    use crate::proto::session::Due;
    use crate::reactor::conn::Ready;
    use crate::reactor::{ClientConfig, ConnId, Context, Handler, Reactor, WireFactory};

    #[derive(Default)]
    struct Opened(Option<ConnId>);

    impl Handler for Opened {
        type Data = ();

        fn on_open(&mut self, _: &mut Context<'_, ()>, id: ConnId) {
            self.0 = Some(id);
        }
    }

    /// The event that tells of room may not have been handed out yet: the loop was busy with others.
    #[test]
    fn output_that_was_not_offered_in_this_turn_is_not_judged() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let mut config = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        config.heartbeat.write_timeout = Some(Duration::from_millis(1));
        reactor.connect(config).expect("a sound configuration");
        let mut opened = Opened::default();
        let id = loop {
            if let Some(id) = opened.0 {
                break id;
            }
            let limit = Some(Duration::from_secs(10));
            reactor
                .turn(&mut opened, limit)
                .expect("the selector works");
        };
        let core = &mut reactor.core;
        let key = id.index();
        core.conns[key].ready.remove(Ready::Writable);
        let sent = core.conns[key]
            .session
            .send(&mut core.env, core.now, Message::text("hello"));
        assert_eq!(sent, Ok(()));
        while core.conns[key]
            .session
            .handle_timeout(&mut core.env, core.now)
            != Due::Stalled
        {
            core.refresh_now();
        }
        core.handle_expiry(&mut opened, id);
        assert_eq!(core.conns[key].session.phase(), Phase::Open);
        let (mut peer, _) = listener.accept().expect("it was dialed");
        let mut read = [0; 6];
        peer.read_exact(&mut read).expect("it was written");
        assert_eq!(&read, b"hello\n");
    }
}
