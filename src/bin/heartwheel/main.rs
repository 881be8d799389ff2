//! The `heartwheel` program.
fn main() {}
