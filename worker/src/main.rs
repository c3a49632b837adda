//! `remuda-worker`.
fn main() {}
