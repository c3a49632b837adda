//! Prints a sum.

fn main() {
    let numbers: Vec<i64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    println!("{}", numbers.into_iter().fold(0, ledger::add));
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums_nothing() {
        assert_eq!(0, Vec::<i64>::new().into_iter().fold(0, ledger::add));
    }
}
