//! Hints to the processor about memory that is about to be used.
//!
//! With many idle connections, none of them is in the processor's cache when its turn comes. To wait
//! for its memory takes longer than to handle its heartbeat. So a loop names the next one before it
//! makes a system call for the present one: the memory arrives meanwhile.

/// Asks the processor to bring the memory of a value into its cache. Does not wait for it, and reads
/// nothing: the value need not exist.
///
/// Does nothing on processors other than x86-64: Rust does not offer their instruction for it yet.
#[cfg_attr(
    target_arch = "x86_64",
    allow(unsafe_code, reason = "the instruction has no safe wrapper")
)]
#[inline]
pub(crate) fn prefetch<T>(value: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let start = value.cast::<i8>();
        // It may begin within a line, and end in one more.
        for line in 0..=size_of::<T>() / CACHE_LINE {
            // SAFETY: the instruction takes any address, and brings nothing into the program.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * CACHE_LINE)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Bytes that a processor brings into its cache at a time.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_may_be_named() {
        prefetch(&0u8);
        prefetch(&[0u64; 100]);
        prefetch(std::ptr::null::<u64>());
        prefetch(std::ptr::without_provenance::<[u8; 200]>(usize::MAX));
    }
}
