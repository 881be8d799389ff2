#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heartwheel_fuzz::fuzzing::tunnel(data));
