//! Output: bounded, binary, tagged, and never in the way of the child.

use std::time::Duration;

use remuda_worker::warden::{Keeper, KeeperEvent, Stream, whole};

use crate::support::{Witness, exited, next, python, sh, started, warden};

/// The largest resident set of a keeper that has run something, in KiB.
async fn settled_kib(keeper: &mut Keeper) -> u64 {
    keeper.run(sh(0, "echo x")).expect("sent");
    exited(keeper).await;
    peak_kib(keeper.pid())
}

/// The largest resident set of a process so far, in KiB.
fn peak_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a status");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_gibibyte_is_bounded_and_keeps_both_ends() {
    let (_warden, mut keeper) = warden().await;
    let before = settled_kib(&mut keeper).await;
    let mut unit = sh(1, "printf first; head -c 1073741824 /dev/zero; printf last");
    (unit.head, unit.tail) = (1000, 500);
    keeper.run(unit).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!(exited.code, Some(0));
    assert_eq!(exited.output.len(), 1500);
    assert!(exited.output.starts_with(b"first\0") && exited.output.ends_with(b"\0last"));
    assert_eq!(exited.dropped_bytes, (1 << 30) + 9 - 1500);
    let grown = peak_kib(keeper.pid()).saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_whole_output_is_in_files_and_not_in_memory() {
    let (_warden, mut keeper) = warden().await;
    let dir = tempfile::tempdir().unwrap();
    let before = settled_kib(&mut keeper).await;
    let mut unit = sh(1, "printf first; printf early >&2; head -c 268435456 /dev/zero; printf last; printf late >&2");
    (unit.head, unit.tail, unit.whole) = (1000, 500, Some(dir.path().join("1-0")));
    keeper.run(unit).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.output.len(), exited.whole.streams.len(), &exited.whole.error), (1500, 2, &None));
    let out = whole::path(&dir.path().join("1-0"), Stream::Out);
    assert_eq!(std::fs::metadata(&out).unwrap().len(), (256 << 20) + 9);
    let err = std::fs::read(whole::path(&dir.path().join("1-0"), Stream::Err)).unwrap();
    assert_eq!(err, b"earlylate");
    let grown = peak_kib(keeper.pid()).saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_folder_that_is_not_there_hinders_nobody() {
    let (_warden, mut keeper) = warden().await;
    let mut unit = sh(1, "head -c 1000000 /dev/zero; printf last; exit 4");
    (unit.head, unit.tail, unit.whole) = (1000, 500, Some("/nowhere/at/all".into()));
    keeper.run(unit).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.code, exited.output.len(), exited.dropped_bytes), (Some(4), 1500, 1_000_004 - 1500));
    assert!(exited.whole.streams.is_empty() && exited.whole.error.unwrap().starts_with("/nowhere/at/all.out cannot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn streams_are_tagged_and_bytes_survive() {
    let (_warden, mut keeper) = warden().await;
    let script = "printf '\\377\\376\\000a' ; exec 1>&-; printf '\\200err' >&2; exit 3";
    keeper.run(sh(1, script)).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!(exited.code, Some(3));
    let mut out = Vec::new();
    let mut err = Vec::new();
    let mut rest = &exited.output[..];
    for piece in &exited.pieces {
        let (now, later) = rest.split_at(usize::try_from(piece.len).unwrap());
        rest = later;
        if piece.stream == Stream::Out { out.extend(now) } else { err.extend(now) }
    }
    assert_eq!((out.as_slice(), err.as_slice()), (&b"\xff\xfe\0a"[..], &b"\x80err"[..]));
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_child_may_close_its_output_and_go_on() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let body = "echo before; exec >&- 2>&-; echo closed >&9; read x <go; exit 6";
    keeper.run(sh(1, &witness.script(body))).unwrap();
    witness.ready(1);
    std::fs::write(witness.dir.path().join("go"), "x\n").unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.code, exited.output.as_slice()), (Some(6), &b"before\n"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_grandchild_with_the_pipe_does_not_delay_the_end() {
    let (_warden, mut keeper) = warden().await;
    let script = "(setsid sleep 1000 &); echo main; exit 0";
    keeper.run(sh(1, script)).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.code, exited.output.as_slice()), (Some(0), &b"main\n"[..]));
    assert_eq!(exited.strays, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn everything_written_before_the_end_is_kept() {
    let (_warden, mut keeper) = warden().await;
    for id in 0..50 {
        let mut unit = python(id, "import os; os.write(1, b'x' * 60000); os._exit(0)");
        unit.head = 100_000;
        keeper.run(unit).unwrap();
    }
    for _ in 0..50 {
        assert_eq!(exited(&mut keeper).await.output.len(), 60000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pieces_are_timed() {
    let (_warden, mut keeper) = warden().await;
    let script = "import os, time; os.write(1, b'a'); time.sleep(0.5); os.write(1, b'b')";
    keeper.run(python(1, script)).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!(exited.pieces.len(), 2);
    assert!(exited.pieces[1].ms >= exited.pieces[0].ms + 200, "{:?}", exited.pieces);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn live_output_arrives_while_it_runs_and_can_be_switched() {
    let (_warden, mut keeper) = warden().await;
    let witness = Witness::new();
    let mut unit = sh(1, &witness.script("echo one; read x <go; echo two"));
    unit.live = true;
    keeper.run(unit).unwrap();
    started(&mut keeper).await;
    let KeeperEvent::Output { id, stream, bytes, .. } = next(&mut keeper).await else { panic!() };
    assert_eq!((id, stream, bytes.as_slice()), (1, Stream::Out, &b"one\n"[..]));
    keeper.live(1, false).unwrap();
    keeper.tail(1).unwrap();
    let KeeperEvent::Tail { bytes, pieces, .. } = next(&mut keeper).await else { panic!() };
    assert_eq!((bytes.as_slice(), pieces.len()), (&b"one\n"[..], 1));
    std::fs::write(witness.dir.path().join("go"), "x\n").unwrap();
    let KeeperEvent::Exited(exited) = next(&mut keeper).await else { panic!("switched off") };
    assert_eq!(exited.output, b"one\ntwo\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_begins_to_look_sees_what_nobody_has_seen_and_nothing_twice() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let script = "mkfifo more; echo one; echo a >&9; read x <go; echo two; echo b >&9; read x <more; echo three";
    keeper.run(sh(1, &witness.script(script))).unwrap();
    started(&mut keeper).await;
    for (n, printed, go) in [(1, &b"one\n"[..], "go"), (2, b"two\n", "more")] {
        witness.ready(n);
        keeper.live(1, false).unwrap(); // somebody looks at another job
        keeper.live(1, true).unwrap();
        let KeeperEvent::Output { bytes, dropped, .. } = next(&mut keeper).await else { panic!() };
        assert_eq!((bytes.as_slice(), dropped), (printed, 0));
        keeper.live(1, false).unwrap();
        keeper.tail(1).unwrap();
        let KeeperEvent::Tail { .. } = next(&mut keeper).await else { panic!("switched off") };
        std::fs::write(witness.dir.path().join(go), "x\n").unwrap();
    }
    let KeeperEvent::Exited(exited) = next(&mut keeper).await else { panic!("switched off") };
    assert_eq!(exited.output, b"one\ntwo\nthree\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_does_not_read_delays_nobody_and_is_told_what_it_missed() {
    let (_warden, mut keeper) = warden().await;
    let before = settled_kib(&mut keeper).await;
    let mut witness = Witness::new();
    let mut unit = sh(1, &witness.script("head -c 300000000 /dev/zero; echo done >&9; read x <go; echo end"));
    unit.live = true;
    keeper.run(unit).unwrap();
    // Blocks this thread, and with it the task that reads the keeper's socket.
    witness.ready(1);
    std::fs::write(witness.dir.path().join("go"), "x\n").unwrap();
    let (mut received, mut missed) = (0, 0);
    let exited = loop {
        match next(&mut keeper).await {
            KeeperEvent::Output { bytes, dropped, .. } => {
                received += bytes.len() as u64;
                missed += dropped;
            }
            KeeperEvent::Exited(exited) => break exited,
            _ => {}
        }
    };
    assert!(exited.output.ends_with(b"end\n"));
    assert!(missed > 0 && received > 0);
    assert!(received + missed <= 300_000_004);
    let grown = peak_kib(keeper.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_usage_is_measured() {
    let (_warden, mut keeper) = warden().await;
    let script = "x = bytearray(50_000_000)\nimport time\nwhile time.process_time() < 0.3: pass";
    let mut unit = python(1, script);
    unit.timeout = Some(Duration::from_secs(50));
    keeper.run(unit).unwrap();
    let exited = exited(&mut keeper).await;
    assert!(exited.user_us + exited.system_us >= 290_000, "{exited:?}");
    assert!(exited.wall_us >= 290_000 && exited.max_rss_kib > 48_000, "{exited:?}");
}
