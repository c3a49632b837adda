//! How fast two keepers run `/bin/true`, against `std::process` in two threads, by turns.
//!
//! `cargo test --release -p remuda-worker --test warden_rate -- --ignored --nocapture`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use remuda_worker::warden::{Keeper, KeeperEvent, Options, Unit, Warden};

const COUNT: u64 = 2500;

fn plain() -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..COUNT {
                    let mut command = Command::new("/bin/true");
                    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                    assert!(command.status().expect("the measurement").success());
                }
            });
        }
    });
    2.0 * COUNT as f64 / begin.elapsed().as_secs_f64()
}

/// Processor time of a process, without its children, in seconds.
fn cpu(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the measurement");
    stat.split(' ').next().expect("the measurement").parse::<f64>().expect("a number") / 1e9
}

async fn run(keeper: &mut Keeper) {
    for id in 0..COUNT {
        keeper.run(Unit::new(id, ["/bin/true"]).env("REMUDA_TASK", id.to_string())).expect("the measurement");
    }
    let mut done = 0;
    while done < COUNT {
        if let KeeperEvent::Exited(exited) = keeper.next_event().await.expect("the measurement") {
            assert_eq!(exited.code, Some(0));
            done += 1;
        }
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn rate() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_remuda-worker"));
    let warden = Warden::start(Options { program, capacity: 2 }).await.expect("the measurement");
    let mut first = warden.keeper(0).await.expect("the measurement");
    let mut second = warden.keeper(1).await.expect("the measurement");
    for keeper in [&first, &second] {
        keeper.base(std::env::vars_os(), Path::new("/tmp")).expect("the measurement");
    }
    let mut ratios = Vec::new();
    for round in 0..7 {
        let plain = plain();
        let begin = Instant::now();
        tokio::join!(run(&mut first), run(&mut second));
        let keepers = 2.0 * COUNT as f64 / begin.elapsed().as_secs_f64();
        println!("round {round}: plain {plain:.0}/s, keepers {keepers:.0}/s, ratio {:.3}", keepers / plain);
        ratios.push(keepers / plain);
    }
    let cpu = (cpu(first.pid()) + cpu(second.pid())) * 1e6 / (COUNT * 14) as f64;
    println!("processor time of the keepers: {cpu:.0} us a unit");
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3}", ratios[ratios.len() / 2]);
    for pid in [warden.pid(), first.pid(), second.pid()] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the measurement");
        let fields = status.lines().filter(|line| line.starts_with("Rss") || line.starts_with("VmRSS"));
        println!("{pid}: {}", fields.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", "));
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the measurement");
        let pss: Vec<_> =
            rollup.lines().filter(|line| line.starts_with("Pss:") || line.starts_with("Private_D")).collect();
        println!("    {pss:?}");
    }
    warden.shutdown().await;
}

/// How long a gibibyte takes through a keeper, and through a plain pipe into `cat`.
#[tokio::test]
#[ignore = "a measurement"]
async fn gibibyte() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_remuda-worker"));
    let warden = Warden::start(Options { program, capacity: 1 }).await.expect("a warden");
    let mut keeper = warden.keeper(0).await.expect("a keeper");
    keeper.base(std::env::vars_os(), Path::new("/tmp")).expect("sent");
    for live in [false, false, true, true] {
        let begin = Instant::now();
        let plain = Command::new("sh").args(["-c", "head -c 1073741824 /dev/zero | cat >/dev/null"]).status();
        assert!(plain.expect("a status").success());
        let plain = begin.elapsed();
        let mut unit = Unit::new(1, ["head", "-c", "1073741824", "/dev/zero"]);
        unit.live = live;
        keeper.run(unit).expect("sent");
        let exited = loop {
            if let Some(KeeperEvent::Exited(exited)) = keeper.next_event().await {
                break exited;
            }
        };
        println!("plain {plain:?}, keeper {} ms, live {live}", exited.wall_us / 1000);
    }
    warden.shutdown().await;
}
