//! The cause that silence ends with, by the table of causes: what the kernel says of the socket decides,
//! where it says anything.

use heartwheel::close::{Cause, Evidence, KernelFigures};

/// Returns the cause for a peer that was pinged, has kept its socket open and has read nothing since: its
/// kernel acknowledges all the same.
pub(crate) fn silence_cause(evidence: &Evidence) -> Cause {
    if let Some(figures) = evidence.kernel {
        assert_eq!((figures.unacked, figures.unsent), (0, 0), "{evidence:?}");
    }
    cause_by_table(
        u64::from(evidence.pings_due),
        evidence.bytes_queued,
        evidence.kernel.as_ref(),
    )
}

/// Returns the cause for a peer that sent no bytes since the ping in question; `queued` are bytes that
/// the kernel has not taken.
pub(crate) fn cause_by_table(pings_due: u64, queued: u64, kernel: Option<&KernelFigures>) -> Cause {
    if pings_due == 0 {
        return Cause::Silent;
    }
    let Some(figures) = kernel else {
        return Cause::PongTimeout;
    };
    let is_waiting = figures.unacked > 0 || figures.unsent > 0;
    let is_small = figures.unacked == 0 && figures.window < figures.unsent.min(figures.mss);
    if (is_waiting || queued > 0) && (figures.window == 0 || is_small) {
        Cause::WriteStalled
    } else if is_waiting && figures.retransmits > 0 {
        Cause::PathDead
    } else if !is_waiting {
        Cause::PeerUnresponsive
    } else {
        Cause::PongTimeout
    }
}
