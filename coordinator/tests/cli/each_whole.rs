//! `remuda each` on an embedded Redis passes on all that tasks print, byte for byte, as GNU parallel does; what it takes
//! on the disk for that is gone afterwards.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::support::{Farm, Ranch};

const MIB: usize = 1 << 20;

fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// Four files of random bytes, and their contents.
fn four(ranch: &Ranch) -> Vec<Vec<u8>> {
    let all: Vec<Vec<u8>> = (0..4).map(|_| random(3 * MIB)).collect();
    for (bytes, name) in all.iter().zip(["a", "b", "c", "d"]) {
        std::fs::write(ranch.work().join(name), bytes).unwrap();
    }
    all
}

fn run(ranch: &Ranch, args: &[&str]) -> Output {
    let output = ranch.command(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(1000)]).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    output
}

/// Whether `part` stands in `all` in one piece.
fn has(all: &[u8], part: &[u8]) -> bool {
    let begin = &part[..part.len().min(16)];
    all.windows(begin.len()).enumerate().any(|(at, seen)| seen == begin && all[at..].starts_with(part))
}

/// Files of outputs in the runs' private folders.
fn kept(ranch: &Ranch) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(ranch.work().with_file_name("tmp")).unwrap().flatten();
    runs.filter_map(|run| std::fs::read_dir(run.path().join("outputs")).ok())
        .flat_map(|files| files.flatten().map(|file| file.path()))
        .collect()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn random_bytes_of_any_length_come_out_as_they_went_in() {
    let ranch = Ranch::new();
    let all = four(&ranch);
    let items = [":::", "a", "b", "c", "d"];
    let ordered = run(&ranch, &[&["each", "-k", "-n3", "cat {}; cat {} >&2"][..], &items].concat());
    assert!(ordered.stdout == all.concat(), "standard output is another");
    assert!(has(&ordered.stderr, &all.concat()), "standard error is another");
    ranch.is_clean();

    let any = run(&ranch, &[&["each", "-n3", "cat {}; cat {} >&2"][..], &items].concat());
    let wanted: BTreeSet<&[u8]> = all.iter().map(Vec::as_slice).collect();
    assert!(any.stdout.chunks(3 * MIB).collect::<BTreeSet<_>>() == wanted, "standard output is another");
    let begins = any.stderr.windows(16).position(|seen| all.iter().any(|bytes| bytes.starts_with(seen))).unwrap();
    let blocks: BTreeSet<_> = any.stderr[begins..].chunks(3 * MIB).take(4).collect();
    assert!(blocks == wanted, "standard error is another");
    assert!(!String::from_utf8_lossy(&any.stderr).contains("is not whole"));
    ranch.is_clean();
}

#[test]
fn one_plain_command_is_passed_on_whole_too() {
    let ranch = Ranch::new();
    let all = four(&ranch);
    assert!(run(&ranch, &["run", "--", "cat", "a", "b"]).stdout == all[..2].concat());
    ranch.is_clean();
}

#[test]
fn a_reader_that_goes_in_the_middle_of_a_long_output_ends_the_run() {
    let ranch = Ranch::new();
    let mut child = ranch
        .command(&["each", "-n1", "head -c 3000000 /dev/zero; sleep 0.1 #", ":::", "a", "b", "c"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{text}");
    assert!(text.contains("nobody reads standard output any more"), "{text}");
    ranch.is_clean();
}

#[test]
fn what_is_early_waits_on_the_disk_for_what_is_late() {
    let ranch = Ranch::new();
    let all = four(&ranch);
    // `a` ends when the outputs of all others wait
    let late = "test {} != a || while test $(ls $TMPDIR/remuda-*/outputs | wc -l) != 3; do sleep 0.02; done; cat {}";
    let output = run(&ranch, &["each", "-k", "-n2", late, ":::", "a", "b", "c", "d"]);
    assert!(output.stdout == all.concat());
    ranch.is_clean();
}

#[test]
fn a_tag_stands_before_each_line_of_a_long_output() {
    let ranch = Ranch::new();
    let output = run(&ranch, &["each", "-k", "--tag", "seq 100000; seq 100000 >&2 #", ":::", "a", "b"]);
    let lines = |tag: &str| -> String { (1..=100_000).map(|n| format!("{tag}\t{n}\n")).collect() };
    let wanted = lines("a") + &lines("b");
    assert!(output.stdout == wanted.as_bytes() && has(&output.stderr, wanted.as_bytes()));
}

#[test]
fn results_get_the_whole_bytes_as_well() {
    let ranch = Ranch::new();
    let all = four(&ranch);
    let args = ["each", "-k", "--results", "out", "cat {}; head -c 200000 {} >&2; printf '\\377' >&2", ":::", "a", "b"];
    let check = || {
        for (bytes, name) in all.iter().zip(["a", "b"]) {
            let read = |stream: &str| std::fs::read(ranch.work().join("out/1").join(name).join(stream)).unwrap();
            assert!(read("stdout") == *bytes && read("stderr") == [&bytes[..200_000], b"\xff"].concat());
        }
    };
    assert!(run(&ranch, &args).stdout == all[..2].concat());
    check();
    // where standard output belongs to a report, they are all that gets it
    std::fs::remove_dir_all(ranch.work().join("out")).unwrap();
    run(&ranch, &[&args[..1], &["--events", "-"], &args[1..]].concat());
    check();
    ranch.is_clean();
}

#[test]
fn a_short_output_that_is_no_text_is_not_changed() {
    let ranch = Ranch::new();
    let print = "printf 'x\\377\\376\\000{}\\n'; printf 'e\\200\\n' >&2";
    let output = run(&ranch, &["each", "-k", "--results", "out", print, ":::", "1", "2"]);
    assert_eq!(output.stdout, b"x\xff\xfe\x001\nx\xff\xfe\x002\n");
    assert!(has(&output.stderr, b"e\x80\ne\x80\n"));
    assert_eq!(std::fs::read(ranch.work().join("out/1/1/stdout")).unwrap(), b"x\xff\xfe\x001\n");
    let tagged = run(&ranch, &["each", "--tag", "printf 'a\\377\\nb' #", ":::", "t"]);
    assert_eq!(tagged.stdout, b"t\ta\xff\nt\tb");
}

#[test]
fn more_text_than_redis_shall_hold_is_passed_on_all_the_same() {
    let ranch = Ranch::new();
    // in JSON each of these is six bytes: 220 tasks have more than the 64 MiB of a job's details
    let print = "head -c 60000 /dev/zero | tr '\\0' '\\1'; printf {}";
    let numbers: Vec<String> = (100..320).map(|n| n.to_string()).collect();
    let mut args = vec!["each", "-k", print, ":::"];
    args.extend(numbers.iter().map(String::as_str));
    let output = run(&ranch, &args);
    let wanted: Vec<u8> = numbers.iter().flat_map(|n| [&[1; 60_000][..], n.as_bytes()].concat()).collect();
    assert!(output.stdout == wanted, "{} bytes", output.stdout.len());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("not kept"));
}

#[test]
fn files_are_gone_as_soon_as_their_output_has_been_passed_on() {
    let ranch = Ranch::new();
    let print = "head -c 300000 /dev/zero; printf '\\377'; test {} = a || while [ ! -e go ]; do sleep 0.02; done";
    let mut child = ranch
        .command(&["each", "-n1", print, ":::", "a", "b"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = vec![0; 300_001];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    wait_for("the second file alone", || {
        kept(&ranch).iter().map(|file| file.metadata().map_or(0, |meta| meta.len())).eq([300_001])
    });
    ranch.write("go", "");
    assert_eq!(child.wait_with_output().unwrap().stdout.len(), 300_001);
    ranch.is_clean();
}

#[test]
fn after_kill_9_no_output_is_left() {
    let ranch = Ranch::new();
    let mut child = ranch
        .command(&["each", "-n2", "head -c 300000 /dev/zero; sleep 600 #", ":::", "a", "b"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("two files", || kept(&ranch).len() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the folder to go", || std::fs::read_dir(ranch.work().with_file_name("tmp")).unwrap().count() == 0);
}

#[test]
fn only_the_last_attempt_is_passed_on_and_the_first_leaves_nothing() {
    let ranch = Ranch::new();
    let print = "if [ $REMUDA_ATTEMPT = 1 ]; then head -c 300000 /dev/zero; exit 1; fi; \
                 for n in $(seq 500); do ls $TMPDIR/remuda-*/outputs/* && sleep 0.02 || break; done 2>/dev/null >&2; \
                 ls $TMPDIR/remuda-*/outputs/* 2>/dev/null; head -c 300000 /dev/zero | tr '\\0' x #";
    let output = run(&ranch, &["each", "--retries", "1", print, ":::", "a"]);
    assert!(output.stdout == vec![b'x'; 300_000], "{:?}", String::from_utf8_lossy(&output.stdout[..200]));
    ranch.is_clean();
}

#[test]
fn a_folder_that_has_gone_costs_the_middle_and_says_why() {
    let ranch = Ranch::new();
    let print = "rm -rf $TMPDIR/remuda-*/outputs; echo first; head -c 300000 /dev/zero; printf last #";
    let output = run(&ranch, &["each", print, ":::", "a"]);
    assert!(output.stdout.starts_with(b"first\n") && output.stdout.ends_with(b"last"));
    assert!(output.stdout.len() < 200_000);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("bytes of its middle were not kept, because /") && text.contains("No such file"), "{text}");
    let output = run(&ranch, &["each", "rm -rf $TMPDIR/remuda-*/outputs; printf 'a\\377' #", ":::", "a"]);
    assert_eq!(output.stdout, "a\u{fffd}".as_bytes());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not as it was where it is no UTF-8: /"));
}

#[test]
fn a_file_that_cannot_grow_costs_the_middle_and_not_the_task() {
    let ranch = Ranch::new();
    let print = "head -c 3000000 /dev/zero; printf last #";
    let mut limited = Command::new("sh");
    let plain = ranch.command(&["each", print, ":::", "a"]);
    limited.args(["-c", "ulimit -f 1000; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let output = limited.current_dir(ranch.work()).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(output.stdout.ends_with(b"last") && text.contains("File too large"), "{text}");
    ranch.is_clean();
}

#[test]
fn on_a_farm_the_middle_is_cut_and_the_note_says_where_it_is_not() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1"]);
    let output = run(&ranch, &["--redis", farm.url_str(), "each", "head -c 300000 /dev/zero #", ":::", "a"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("is not whole: ") && text.contains("a run on an embedded Redis keeps everything"), "{text}");
    assert!(output.stdout.len() < 200_000);
}

#[test]
fn two_hundred_mebibytes_go_through_in_little_memory() {
    let ranch = Ranch::new();
    let path = ranch.work().join("out");
    let print = "test {} = b || head -c 209715200 /dev/zero; test {} = a || while [ ! -e go ]; do sleep 0.02; done";
    let mut child = ranch
        .command(&["each", "-n1", print, ":::", "a", "b"])
        .stdout(std::fs::File::create(&path).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while std::fs::metadata(&path).unwrap().len() < 200 << 20 {
        assert!(start.elapsed() < Duration::from_secs(100) && child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    let peaks = peaks_kib(child.id());
    ranch.write("go", "");
    assert!(child.wait().unwrap().success());
    // the program and its worker, the warden of each, their keepers and a holder
    assert!(peaks.len() >= 7 && peaks.iter().all(|&(_, kib)| kib < 64 << 10), "{peaks:?}");
}

/// The largest resident set so far of each process of this program from `root` down.
fn peaks_kib(root: u32) -> Vec<(String, u64)> {
    let read = |pid: u32, name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let text = |pid: u32, name: &str| String::from_utf8_lossy(&read(pid, name)).into_owned();
    let own = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("remuda"));
    let (mut found, mut open) = (Vec::new(), vec![root]);
    while let Some(pid) = open.pop() {
        let status = text(pid, "status");
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
        if let Some(peak) = peak.filter(|_| own(pid)) {
            found.push((text(pid, "cmdline").replace('\0', " "), peak));
        }
        // children of whatever thread
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

#[test]
fn on_a_farm_what_is_no_text_is_passed_on_as_it_is() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1"]);
    let line = r"printf '\377\376ok\n\000'; printf '\200' >&2; : {}";
    let out = ranch.command(&["--redis", &farm.url(), "each", "--results", "out", line, ":::", "a"]).output().unwrap();
    assert!(out.status.success());
    assert_eq!(out.stdout, b"\xff\xfeok\n\0");
    assert_eq!(std::fs::read(ranch.work().join("out/1/a/stderr")).unwrap(), b"\x80");
}
