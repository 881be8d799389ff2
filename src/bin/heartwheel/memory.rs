//! Memory that connections have set free, given back to the system.
//!
//! The GNU allocator gives back only what lies at the end of its heap: one small block there keeps all
//! that is below it, and the queues of a few peers that did not read would stay for good. So some time
//! after an end it is asked to look everywhere.
#![allow(unsafe_code, reason = "malloc_trim has no safe wrapper")]

use std::time::{Duration, Instant};

/// Decides when to look.
#[derive(Debug)]
pub(crate) struct Memory {
    due: Option<Instant>,
    /// The least that was ever resident when we looked, bytes.
    floor: u64,
    /// Time from an end to the next look; longer where looking was in vain.
    pause: Duration,
}

impl Memory {
    /// Takes what is resident now for what the program needs.
    pub(crate) fn new() -> Self {
        Self {
            due: None,
            floor: resident().unwrap_or(u64::MAX),
            pause: SHORTEST_PAUSE,
        }
    }

    /// Notes that a connection has ended.
    pub(crate) fn note_end(&mut self) {
        if self.due.is_none() {
            self.due = Some(Instant::now() + self.pause);
        }
    }

    /// Looks, if it is time; returns when to be called again although nothing happens.
    pub(crate) fn after_turn(&mut self) -> Option<Duration> {
        let left = self.due?.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(left);
        }
        self.due = None;
        self.look();
        None
    }

    fn look(&mut self) {
        let Some(before) = resident() else { return };
        if before < self.floor.saturating_add(WORTH) {
            self.floor = self.floor.min(before);
            return;
        }
        let began = Instant::now();
        give_back();
        let after = resident().unwrap_or(before);
        let given = before.saturating_sub(after);
        log::debug!("gave {given} bytes back within {:?}", began.elapsed());
        self.floor = self.floor.min(after);
        self.pause = if given >= WORTH {
            SHORTEST_PAUSE
        } else {
            LONGEST_PAUSE.min(self.pause * 2)
        };
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
    // Sound: glibc declares it so, it may be called at any time, and it touches only what is free.
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

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(64);
