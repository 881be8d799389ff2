//! A directory of its own for a process that litters.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Removed when it is dropped.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = std::env::temp_dir().join(format!("heartwheel-{process}-{count}"));
        fs::create_dir(&place).unwrap();
        Self(place)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever was killed a moment ago may not have written its last file.
        let deadline = Instant::now() + LAST_WORDS;
        while let Err(error) = fs::remove_dir_all(&self.0) {
            if error.kind() == ErrorKind::NotFound || Instant::now() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

const LAST_WORDS: Duration = Duration::from_secs(10);
