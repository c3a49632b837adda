//! A test without libtest: it is one test, and lists itself as nextest asks for.

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|a| a == "--list") {
        if !arguments.iter().any(|a| a == "--ignored") {
            println!("custom: test");
        }
        return;
    }
    assert_eq!(ledger::add(1, 1), 2);
}
