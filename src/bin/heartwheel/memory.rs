//! Returns memory of ended connections to the system.
//!
//! The GNU allocator returns only the end of its heap. One small block there keeps everything below
//! it. So the queues of a few peers that did not read would stay for good. Therefore the allocator
//! is asked, some time after an end, to look everywhere. That takes a tenth of a second for a
//! gigabyte, so a separate thread does it. The allocator is locked meanwhile, so the loop may have
//! to wait when it allocates. If many connections with long queues end, the allocator is asked
//! before too much is free.
#![allow(unsafe_code, reason = "malloc_trim has no safe wrapper")]

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Decides when to look.
#[derive(Debug)]
pub(crate) struct Memory {
    due: Option<Instant>,
    /// Bytes that were queued for connections which have ended since the last look.
    queued: u64,
    /// The least that was ever resident when we looked, bytes.
    floor: u64,
    /// Time from an end to the next look; longer where looking was in vain.
    pause: Duration,
    /// The look under way; returns what was resident before and after.
    look: Option<JoinHandle<(u64, u64)>>,
}

impl Memory {
    /// Takes what is resident now for what the program needs.
    pub(crate) fn new() -> Self {
        Self {
            due: None,
            queued: 0,
            floor: resident().unwrap_or(u64::MAX),
            pause: SHORTEST_PAUSE,
            look: None,
        }
    }

    /// Notes that a connection has ended, and what was queued for it, bytes.
    pub(crate) fn note_end(&mut self, queued: u64) {
        self.queued = self.queued.saturating_add(queued);
        if self.queued >= ENOUGH {
            self.due = Some(Instant::now());
        } else if self.due.is_none() {
            self.due = Some(Instant::now() + self.pause);
        }
    }

    /// Looks, if it is time; returns when to be called again although nothing happens.
    pub(crate) fn after_turn(&mut self) -> Option<Duration> {
        let left = self.due?.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(left);
        }
        if self.is_looking() {
            self.due = Some(Instant::now() + SHORT_PAUSE);
            return Some(SHORT_PAUSE);
        }
        self.due = None;
        self.queued = 0;
        self.begin_look();
        None
    }

    /// Says whether a look is under way. One that is over is taken into account.
    fn is_looking(&mut self) -> bool {
        let Some(look) = self.look.take_if(|look| look.is_finished()) else {
            return self.look.is_some();
        };
        let Ok((before, after)) = look.join() else {
            return false;
        };
        self.floor = self.floor.min(after);
        self.pause = if before.saturating_sub(after) >= WORTH {
            SHORTEST_PAUSE
        } else {
            LONGEST_PAUSE.min(self.pause * 2)
        };
        false
    }

    fn begin_look(&mut self) {
        let Some(before) = resident() else { return };
        if before < self.floor.saturating_add(WORTH) {
            self.floor = self.floor.min(before);
            return;
        }
        let look = thread::Builder::new().name("heartwheel-memory".into());
        let begun = look.spawn(move || {
            let began = Instant::now();
            give_back();
            let after = resident().unwrap_or(before);
            let given = before.saturating_sub(after);
            log::debug!("gave {given} bytes back within {:?}", began.elapsed());
            (before, after)
        });
        match begun {
            Ok(look) => self.look = Some(look),
            Err(error) => log::debug!("could not give memory back: {error}"),
        }
    }
}

/// Returns the bytes that this process has in memory and that are no file, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let figure = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = figure.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // Sound: glibc declares it so, it may be called at any time and by any thread, and it touches only
    // what is free.
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

/// Other allocators see to it themselves, or cannot.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

/// Less than this is not worth the time.
const WORTH: u64 = 4 * 1024 * 1024;

/// What may be free before it is given back at once: some milliseconds' work.
const ENOUGH: u64 = 32 * 1024 * 1024;

/// Time until the next look where the last one is still under way.
const SHORT_PAUSE: Duration = Duration::from_millis(5);

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(64);
