//! What only the kernel can do for a socket: its figures, which are read when a session decides whether
//! a peer is dead, and reads into memory that was never written.
//!
//! Here is all the `unsafe` of the library, but for one hint to the processor: there is no safe
//! wrapper for `TCP_INFO` and `TIOCOUTQ`, nor for a read that appends a limited number of bytes to a
//! vector.

#[cfg(all(feature = "sockets", target_os = "linux"))]
use std::time::Duration;

use mio::net::TcpStream;

use crate::close::KernelFigures;

/// Returns the kernel's figures; `None` if the system has none, or lacks some that we need.
#[cfg(all(feature = "sockets", target_os = "linux"))]
pub(super) fn figures(stream: &TcpStream) -> Option<KernelFigures> {
    let info = TcpInfo::of(stream)?;
    let repeats = info.u8_at(RETRANSMITS)?.max(info.u8_at(BACKOFF)?);
    Some(KernelFigures {
        unacked: info.u32_at(UNACKED)?,
        retransmits: repeats.max(info.is_vain()?.into()).into(),
        window: info.u32_at(WINDOW)?,
        mss: info.u32_at(MSS)?,
        unsent: info.u32_at(BYTES_UNSENT)?,
        queued: queued(stream)?,
        last_ack: Duration::from_millis(info.u32_at(LAST_ACK_MS)?.into()),
        rtt: Duration::from_micros(info.u32_at(RTT)?.into()),
    })
}

/// Appends at most `most` bytes that the socket has; zero bytes mean the end. The vector grows to what is
/// asked for if it must.
#[cfg(feature = "sockets")]
#[allow(
    unsafe_code,
    reason = "only all spare capacity of a vector can be filled safely"
)]
pub(super) fn read_onto(
    stream: &TcpStream,
    bytes: &mut Vec<u8>,
    most: usize,
) -> std::io::Result<usize> {
    bytes.reserve(most);
    let len = bytes.len();
    let (read, _) = rustix::io::read(stream, &mut bytes.spare_capacity_mut()[..most])?;
    let count = read.len();
    // SAFETY: the kernel has written the first `count` bytes behind `len`, which the capacity includes.
    unsafe { bytes.set_len(len + count) };
    Ok(count)
}

/// Returns how many bytes the kernel keeps until they are acknowledged. The counters of `TCP_INFO`
/// cannot tell: they include the SYN of a connection that we dialed, and they include bytes that
/// could not be sent.
#[cfg(all(feature = "sockets", target_os = "linux"))]
#[allow(unsafe_code, reason = "ioctl has no safe wrapper for TIOCOUTQ")]
fn queued(stream: &TcpStream) -> Option<u32> {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and TIOCOUTQ writes one int to
    // the pointer, which the kernel does not keep.
    let status = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status != 0 {
        return None;
    }
    u32::try_from(bytes).ok()
}

/// Returns `None`: the figures of this system are not read.
#[cfg(not(all(feature = "sockets", target_os = "linux")))]
pub(super) fn figures(_stream: &TcpStream) -> Option<KernelFigures> {
    None
}

/// `struct tcp_info` of linux/tcp.h as bytes. New fields are only added at its end, and the kernel
/// returns how many bytes it knows. So an older kernel just lacks the later figures.
#[cfg(all(feature = "sockets", target_os = "linux"))]
struct TcpInfo {
    bytes: [u8; 256],
    len: usize,
}

#[cfg(all(feature = "sockets", target_os = "linux"))]
impl TcpInfo {
    #[allow(unsafe_code, reason = "getsockopt has no safe wrapper for TCP_INFO")]
    fn of(stream: &TcpStream) -> Option<Self> {
        use std::os::fd::AsRawFd;

        let mut bytes = [0; 256];
        let mut len = 256;
        // SAFETY: the descriptor is open for as long as `stream` is borrowed, `bytes` has the 256 bytes
        // that `len` announces, any bytes are a valid `[u8; 256]`, and the kernel keeps neither pointer.
        let status = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                bytes.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        (status == 0).then_some(Self {
            bytes,
            len: usize::try_from(len).unwrap_or(0),
        })
    }

    /// Returns whether no byte is on its way because the bytes could not be sent at all. The
    /// back-off would tell, too, but each packet from the peer resets it, and such packets may
    /// still arrive.
    fn is_vain(&self) -> Option<bool> {
        let under_way = self
            .u64_at(BYTES_SENT)?
            .saturating_sub(self.u64_at(BYTES_RETRANSMITTED)?)
            .saturating_sub(self.u64_at(BYTES_ACKED)?);
        let is_waiting = self.u32_at(UNACKED)? == 0 && self.u32_at(BYTES_UNSENT)? > 0;
        Some(is_waiting && under_way > 0)
    }

    fn u8_at(&self, at: usize) -> Option<u8> {
        self.known().get(at).copied()
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let field = self.known().get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*field))
    }

    fn u64_at(&self, at: usize) -> Option<u64> {
        let field = self.known().get(at..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*field))
    }

    /// Returns the bytes that the kernel wrote.
    fn known(&self) -> &[u8] {
        &self.bytes[..self.len.min(self.bytes.len())]
    }
}

// Offsets in `struct tcp_info`.
#[cfg(all(feature = "sockets", target_os = "linux"))]
mod offset {
    /// The number of timeouts in a row without an acknowledgement.
    pub(super) const RETRANSMITS: usize = 2;
    /// How often the timer was doubled. Probes of a closed window count, too.
    pub(super) const BACKOFF: usize = 4;
    /// The segment size for sending.
    pub(super) const MSS: usize = 16;
    /// In segments.
    pub(super) const UNACKED: usize = 24;
    pub(super) const LAST_ACK_MS: usize = 56;
    /// Smoothed, in µs.
    pub(super) const RTT: usize = 68;
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const BYTES_UNSENT: usize = 144;
    pub(super) const BYTES_SENT: usize = 200;
    pub(super) const BYTES_RETRANSMITTED: usize = 208;
    /// Since Linux 5.4.
    pub(super) const WINDOW: usize = 228;
}

#[cfg(all(feature = "sockets", target_os = "linux"))]
use offset::*;

#[cfg(all(feature = "sockets", target_os = "linux"))]
#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;

    fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let ours = std::net::TcpStream::connect(listener.local_addr().expect("it is bound"));
        let (theirs, _) = listener.accept().expect("we have dialed");
        let ours = ours.expect("the listener is there");
        ours.set_nonblocking(true).expect("it can be");
        (TcpStream::from_std(ours), theirs)
    }

    /// Waits until the figures are as asked.
    fn wait_for(stream: &TcpStream, done: impl Fn(&KernelFigures) -> bool) -> KernelFigures {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let figures = figures(stream).expect("this kernel has them");
            if done(&figures) {
                return figures;
            }
            assert!(Instant::now() < deadline, "{figures:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_a_reading_peer_was_sent_is_acknowledged() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(b"hello").expect("there is room");
        theirs.read_exact(&mut [0; 5]).expect("it arrives");
        let figures = wait_for(&ours, |figures| figures.unacked == 0);
        assert_eq!((figures.unsent, figures.queued), (0, 0));
        assert_eq!(figures.retransmits, 0);
        assert!(figures.window > 0);
    }

    #[test]
    fn a_peer_that_does_not_read_closes_its_window_over_bytes_unsent() {
        let (mut ours, _theirs) = pair();
        let bytes = [0; 64 * 1024];
        while ours.write(&bytes).is_ok() {}
        let figures = wait_for(&ours, |figures| figures.window == 0 && figures.unacked == 0);
        assert!(figures.unsent > 0);
        assert_eq!(figures.queued, figures.unsent);
    }
}
