//! `remuda`.
fn main() {}
