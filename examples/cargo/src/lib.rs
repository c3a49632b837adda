//! Small sums.

/// Adds.
///
/// ```
/// assert_eq!(ledger::add(1, 2), 3);
/// ```
///
/// ```
/// // wrong on purpose
/// assert_eq!(ledger::add(1, 2), 4);
/// ```
///
/// ```ignore
/// ledger::not_yet();
/// ```
pub fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds() {
        println!("some words that only a failure would show");
        assert_eq!(add(2, 2), 4);
    }

    #[test]
    fn adds_wrongly() {
        println!("the ledger says {}", add(2, 2));
        assert_eq!(add(2, 2), 5, "two and two");
    }

    #[test]
    #[ignore = "needs a bank"]
    fn needs_a_bank() {
        panic!("there is no bank");
    }

    #[test]
    #[should_panic(expected = "overflow")]
    fn overflows() {
        i64::MAX.checked_add(1).expect("overflow");
    }

    #[test]
    #[should_panic]
    fn never_panics() {}

    #[test]
    fn returns_an_error() -> Result<(), String> {
        Err("not today".into())
    }
}
