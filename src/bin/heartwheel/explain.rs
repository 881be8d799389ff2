//! `heartwheel explain`: what a cause means, what to look at, and what to change.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use heartwheel::close::Cause;

use crate::values::closest;
use crate::{Failure, stream};

/// Says what a cause means, what to look at and what to change. Without one, lists them all
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The cause, as in events and metrics, such as path_dead
    cause: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let Some(typed) = &args.cause else {
        stream::print(all());
        return Ok(ExitCode::SUCCESS);
    };
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let causes = Cause::ALL.iter();
    let Some(cause) = causes.copied().find(|cause| cause.label() == typed) else {
        return Err(Failure::usage(format!(
            "there is no cause {typed:?}{}",
            meant(&typed)
        )));
    };
    let [means, look, change] = explained(cause);
    stream::print(format!(
        "{}\n\nIt means: {means}\n\nLook at: {look}\n\nChange: {change}\n",
        cause.label()
    ));
    Ok(ExitCode::SUCCESS)
}

fn all() -> String {
    let mut text = String::new();
    for &cause in Cause::ALL {
        let [means, ..] = explained(cause);
        // Writing to a string does not fail.
        writeln!(text, "{:<18} {means}", cause.label()).ok();
    }
    text
}

fn meant(typed: &str) -> String {
    let labels = Cause::ALL.iter().map(|cause| cause.label());
    match closest(typed, labels) {
        Some((label, alike)) if alike > 0.8 => format!("; did you mean {label}?"),
        _ => "; heartwheel explain lists them all".to_owned(),
    }
}

/// Returns what it means, what to look at, and what to change.
fn explained(cause: Cause) -> [&'static str; 3] {
    match cause {
        Cause::Silent => [
            "The peer said nothing for the whole timeout, and we send no pings there.",
            "last_in: when it said something last. A live client that has nothing to say looks the same as a dead one.",
            "Let interval be on, so that a live peer has something to answer; or a longer timeout.",
        ],
        Cause::PongTimeout => [
            "We sent pings, and no proof of life came within the timeout; the kernel says nothing more about why.",
            "pings_written against pings_answered, and proof: with message or pong, bytes alone prove nothing.",
            "If clients do not answer pings, proof = \"bytes\". If answers come late, a longer timeout.",
        ],
        Cause::PathDead => [
            "The peer's kernel does not acknowledge our bytes: the way to it is broken, or its machine is gone.",
            "unacked, retransmits and last_ack. Many at once from one network point to a router, a NAT or a firewall.",
            "An interval below what the path forgets (30 to 120s on many); nothing, where mobile clients lose their network.",
        ],
        Cause::PeerUnresponsive => [
            "The peer's kernel acknowledged everything, but its process says nothing: it hangs, is stopped, or does not answer pings.",
            "last_ack (recent) against last_proof (old); rtt before it fell silent.",
            "The client. If its library does not answer pings while it is busy, a longer timeout.",
        ],
        Cause::WriteStalled => [
            "The peer reads nothing: what we have for it made no progress for write_timeout.",
            "queued, window (0: its buffer is full) and last_out.",
            "A slow client needs less data or overflow = \"drop\"; a longer write_timeout only holds the memory longer.",
        ],
        Cause::SlowPeer => [
            "The peer was too slow: a message came below slow_floor or took longer than message_timeout, or it read a full queue that slowly.",
            "unfinished (bytes of the message) and queued. Many at once may be an attack that holds connections.",
            "slow_floor, slow_grace and message_timeout, if honest clients are that slow.",
        ],
        Cause::AppIdle => [
            "No message made progress for app_idle, though the peer was alive.",
            "messages of the connection. Pings and pongs are no messages.",
            "A longer app_idle, or off.",
        ],
        Cause::HandshakeTimeout => [
            "The opening handshake was not complete within handshake_timeout.",
            "bytes received: none from port scanners and health checks that only connect; some from slow networks and from attackers.",
            "A longer handshake_timeout for slow networks; health checks that ask for /healthz.",
        ],
        Cause::ConnectTimeout => [
            "A server that we dialed did not answer in time.",
            "Whether its address is right, and whether a firewall drops packets instead of refusing them.",
            "The firewall or the address; a longer connect timeout for very long ways.",
        ],
        Cause::CloseTimeout => [
            "The connection was closing, and the other side did not finish that within close_timeout.",
            "side: who began. Browsers that are closed in the middle often leave it so.",
            "Nothing, mostly. A longer close_timeout, if goodbyes matter.",
        ],
        Cause::PeerClosed => [
            "The peer said goodbye with a Close frame.",
            "close_code: 1000 and 1001 are ordinary ends.",
            "Nothing, unless the code tells of an error.",
        ],
        Cause::PeerEof => [
            "The peer ended the connection without a goodbye.",
            "age: very short ones are often probes. On lines and raw bytes it is the ordinary end.",
            "Nothing, mostly; on WebSocket the client could send Close first.",
        ],
        Cause::PeerReset => [
            "The peer, or something on the way, reset the connection: its process died, or it closed with data unread.",
            "age: resets at one and the same age come from a balancer or proxy with a limit of its own.",
            "The limit of that balancer, or an interval below it.",
        ],
        Cause::ProtocolError => [
            "The peer sent what the protocol forbids.",
            "reason: it names the rule. Often something that is no WebSocket client at all.",
            "The client; or the wire, if the wrong kind of client comes to this listener.",
        ],
        Cause::InvalidUtf8 => [
            "A text message was not UTF-8.",
            "What the client sends: bytes belong into binary messages.",
            "The client.",
        ],
        Cause::MessageTooBig => [
            "The peer sent or announced a message above max_message, or one that grew above it when it was inflated.",
            "unfinished and reason.",
            "A larger max_message, if such messages are honest. It is memory that any peer can make us hold.",
        ],
        Cause::PingFlood => [
            "The peer sent more pings than pings_per_second allows.",
            "pings_received.",
            "The client; or a larger pings_per_second.",
        ],
        Cause::PongFlood => [
            "The peer sent more unsolicited pongs than pongs_per_second allows.",
            "Whether it answers each ping many times.",
            "The client; or a larger pongs_per_second.",
        ],
        Cause::RateLimited => [
            "The peer sent more than messages_per_second or bytes_per_second allows, and excess is close.",
            "How many such ends there are, and from which addresses.",
            "excess = \"pause\" slows it down instead; or larger limits.",
        ],
        Cause::SendQueueFull => [
            "More was to be sent to the peer than its queue holds, and overflow is close.",
            "queued, window and rtt: a slow network, or a client that reads slowly.",
            "overflow = \"drop\" loses messages instead; a larger send_queue bears longer bursts.",
        ],
        Cause::MemoryLimit => [
            "All connections together held more than memory_limit, and this one held most.",
            "heartwheel conns --sort memory, and memory_pauses: reading stops before anybody is closed.",
            "A smaller max_message or send_queue, or a larger memory_limit.",
        ],
        Cause::TlsHandshake => [
            "The handshake of TLS failed: one side refused the other, or what came was no TLS.",
            "reason: the alert by its name. unknown_ca: the client does not trust our certificate; no_tls: plain bytes came.",
            "The certificate chain (cert needs the ones that sign it, too), or the scheme of the client's URL.",
        ],
        Cause::TlsError => [
            "TLS failed on an open connection, or the peer ended it without close_notify (truncated): bytes may be missing.",
            "reason. truncated is common with clients that die; anything else is a fault of the peer or of the path.",
            "Nothing for truncated; otherwise the client.",
        ],
        Cause::Refused => [
            "A limit of ours, the handler, or the server that we dialed refused the connection.",
            "reason: it names the limit. accept_pauses: whether places or descriptors ran out.",
            "max_connections, open_per_address, half_open_per_address and others, or ulimit -Hn.",
        ],
        Cause::LocalClose => [
            "We closed it: the program, or an operator with kick.",
            "close_code and reason.",
            "Nothing.",
        ],
        Cause::MaxLifetime => [
            "It reached max_lifetime.",
            "Whether clients dial again at once, so that it is not noticed.",
            "max_lifetime; it is spread by 10 % so that not all end together.",
        ],
        Cause::Drain => [
            "The server shuts down, or an operator drained it.",
            "clean: whether the goodbye was answered.",
            "A longer drain, if the clients that dial again are too many at once.",
        ],
        Cause::Replaced => [
            "A newer connection of the same user took its place.",
            "Whether a client dials twice.",
            "The client, if it should not.",
        ],
        Cause::IoError => [
            "The kernel reported another error.",
            "errno.",
            "That depends on the error; ENOBUFS and ENOMEM mean that the machine is short of memory.",
        ],
        _ => [
            "This version of the program has no words for it.",
            "Its evidence.",
            "Nothing.",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_words_for_each_cause() {
        for &cause in Cause::ALL {
            let [means, ..] = explained(cause);
            assert!(!means.contains("no words"), "{}", cause.label());
        }
        assert_eq!(all().lines().count(), Cause::ALL.len());
    }

    #[test]
    fn what_is_nearly_a_cause_is_told() {
        assert_eq!(meant("path_ded"), "; did you mean path_dead?");
        assert!(meant("xyz").contains("lists them all"));
    }
}
