//! The plan: from what is known of tests to the order and the cuts in which they are handed out. Pure.

pub mod order;
