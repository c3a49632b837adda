//! `remuda each` as people know GNU parallel: the same placeholders, lists, order, joblog, results and ends. What is
//! expected here was seen with GNU parallel 20221122.

use super::support::{Ranch, facts, of};

/// What `--dry-run` prints.
fn dry(args: &[&str]) -> Vec<String> {
    let mut all = vec!["each", "--dry-run"];
    all.extend(args);
    Ranch::new().run(&all).exits(0).out.lines().map(str::to_owned).collect()
}

#[test]
fn dry_run_prints_the_commands_and_runs_none() {
    let ranch = Ranch::new();
    let seen = ranch.run(&["each", "--dry-run", "touch {} '{#}'", ":::", "a b", "c"]).exits(0);
    assert_eq!(seen.out, "touch 'a b' '1'\ntouch c '2'\n");
    assert!(!ranch.work().join("c").exists());
    let explained = ranch.run(&["each", "-v", "--retries", "2", "--dry-run", "true", ":::", "a"]).exits(0);
    explained.says(&["retries 2", "command line"]);
}

#[test]
fn lists_are_combined_linked_split_and_grouped() {
    assert_eq!(dry(&["echo", ":::", "a", "b", ":::", "1", "2"]), ["echo a 1", "echo a 2", "echo b 1", "echo b 2"]);
    assert_eq!(
        dry(&["echo", ":::", "1", "2", "3", ":::+", "a", "b", ":::", "x", "y"]),
        ["echo 1 a x", "echo 1 a y", "echo 2 b x", "echo 2 b y"]
    );
    assert_eq!(dry(&["-C", ",", "echo {2} {1} {}", ":::", "a, b", "c,d e"]), ["echo b a a b", "echo 'd e' c c 'd e'"]);
    assert_eq!(
        dry(&["-N2", "echo {} {1} {2}", ":::", "a", "b", "c", "d e", "f"]),
        ["echo a b a b", "echo c 'd e' c 'd e'", "echo f f "]
    );
    assert_eq!(
        dry(&["echo {1/} {2/.} {1//} {2.}", ":::", "d/e/f.tar.gz", ":::", "x/y.c"]),
        ["echo f.tar.gz y d/e x/y"]
    );
    assert_eq!(dry(&["echo {-1} {-2} {-3}", ":::", "a", ":::", "x"]), ["echo x a "]);
    assert_eq!(dry(&["-C", "[,;] *", "echo {2} {-1}", ":::", "a; b,c"]), ["echo b c"]);
    assert_eq!(dry(&["--tag", "-C", ",", "echo", ":::", "a,b"]), ["a b\techo a b"]);
    assert_eq!(dry(&[":::", "echo one", "ls -l | wc"]), ["echo one", "ls -l | wc"]);
}

#[test]
fn items_come_from_files_and_several_of_them() {
    let ranch = Ranch::new();
    ranch.write("names", "a\nb c\n");
    ranch.write("sizes", "1\n2\n");
    let seen = ranch.run(&["each", "-k", "-a", "names", "-a", "sizes", "echo {2}-{1}"]).exits(0);
    assert_eq!(seen.out, "1-a\n2-a\n1-b c\n2-b c\n");
    let seen = ranch.run(&["each", "-k", "echo", "::::", "names", "::::+", "sizes"]).exits(0);
    assert_eq!(seen.out, "a 1\nb c 2\n");
    let seen = ranch.run(&["each", "echo", "::::", "nowhere"]).exits(2);
    seen.says(&["cannot read items from nowhere"]);
    let commands = ranch.run_with_input(&["each", "-k"], b"echo one\necho two | tr a-z A-Z\n").exits(0);
    assert_eq!(commands.out, "one\nTWO\n");
}

#[test]
fn rows_run_with_each_column_as_a_word() {
    let ranch = Ranch::new();
    let seen = ranch.run(&["each", "-k", "-n2", "printf '<%s>' {} -{%}; echo", ":::", "a b", ":::", "$HOME", "'"]);
    let shown: Vec<String> = seen.exits(0).out.lines().map(|l| l.replace("<-1>", "").replace("<-2>", "")).collect();
    assert_eq!(shown, ["<a b><$HOME>", "<a b><'>"]);
}

#[test]
fn output_keeps_the_order_of_the_items_and_names_them() {
    let ranch = Ranch::new();
    let command = "sleep 0.{}; printf 'out\\nlast'; echo err >&2";
    let seen = ranch.run(&["each", "-k", "--tag", "-n", "3", command, ":::", "3", "2", "1"]).exits(0);
    assert_eq!(seen.out, "3\tout\n3\tlast2\tout\n2\tlast1\tout\n1\tlast");
    seen.says(&["3\terr\n2\terr\n1\terr\n"]);
}

#[test]
fn a_joblog_has_parallels_columns_and_resume_leaves_out_what_it_has() {
    let ranch = Ranch::new();
    let args = |more: &[&'static str], command: &'static str| {
        let mut all = vec!["each", "-k", "--joblog", "log"];
        all.extend(more);
        all.extend([command, ":::", "a", "b", "c"]);
        ranch.run(&all)
    };
    args(&[], "echo {}; test {} != b").exits(1);
    let log = || std::fs::read_to_string(ranch.work().join("log")).unwrap();
    let first = log();
    let rows: Vec<Vec<&str>> = first.lines().map(|line| line.split('\t').collect()).collect();
    let head = ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"];
    assert_eq!(rows[0], head);
    let mut ends: Vec<_> = rows[1..].iter().map(|r| (r[0], r[1], r[5], r[6], r[7], r[8])).collect();
    ends.sort_unstable();
    assert_eq!(
        ends,
        [
            ("1", ":", "2", "0", "0", "echo a; test a != b"),
            ("2", ":", "2", "1", "0", "echo b; test b != b"),
            ("3", ":", "2", "0", "0", "echo c; test c != b"),
        ]
    );
    for row in &rows[1..] {
        assert!(row[2].parse::<f64>().unwrap() > 1e9 && row[3].trim().parse::<f64>().unwrap() < 60.0, "{row:?}");
        assert_eq!((row[2].split('.').next_back().unwrap().len(), row[3].len()), (3, 10));
    }
    assert_eq!(args(&["--resume-failed"], "echo again {#} {}").exits(0).out, "again 2 b\n");
    assert_eq!(log().lines().count(), 5);
    let nothing = args(&["--resume"], "echo never {}").exits(0);
    assert_eq!(nothing.out, "");
    args(&[], "echo {}").exits(0);
    assert_eq!(log().lines().count(), 4, "without --resume it begins anew");
    ranch.write("other", "not a log\n");
    ranch.run(&["each", "--resume", "--joblog", "other", "true", ":::", "a"]).exits(2).says(&["its first line is not"]);
}

#[test]
fn results_are_laid_out_in_folders() {
    let ranch = Ranch::new();
    ranch.run(&["each", "--results", "out", "echo {1}-{2}; echo e >&2", ":::", "a/b", ":::", "..", "2"]).exits(0);
    let read = |path: &str| std::fs::read_to_string(ranch.work().join("out").join(path)).unwrap();
    assert_eq!(
        (read(r"1/a\_b/2/\.\./stdout"), read(r"1/a\_b/2/2/stderr"), read(r"1/a\_b/2/2/seq")),
        ("a/b-..\n".into(), "e\n".into(), "2".into())
    );
}

#[test]
fn halt_soon_begins_nothing_after_the_failure() {
    let ranch = Ranch::new();
    let items = (1..=2000).map(|n| format!("{n}\n")).collect::<String>();
    for (halt, expected) in [("soon,fail=1", 100), ("now,fail=1", 100), ("soon,fail=3", 102)] {
        let line = format!("echo {{}} >> side; [ {{}} -lt 100 ] # {halt}");
        ranch.run_with_input(&["each", "-n1", "--halt", halt, &line], items.as_bytes()).exits(1);
        let side = std::fs::read_to_string(ranch.work().join("side")).unwrap();
        assert_eq!(side.lines().count(), expected, "{halt}");
        std::fs::remove_file(ranch.work().join("side")).unwrap();
    }
}

#[test]
fn halt_soon_lets_what_runs_finish_and_now_does_not() {
    let ranch = Ranch::new();
    let slow = "test {} = bad && exit 3; touch began-{}; sleep 1; touch ended-{}";
    let items = [":::", "slow", "bad", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let run = |halt: &str| {
        let mut args = vec!["each", "-k", "-n2", "--halt", halt, slow];
        args.extend(items);
        ranch.run(&args).exits(1).says(&["not finished", "stopped after the allowed number of failures"]);
        let count = |what: &str| {
            let names = std::fs::read_dir(ranch.work()).unwrap().map(|e| e.unwrap().file_name());
            names.filter(|n| n.to_string_lossy().starts_with(what)).count()
        };
        let counts = (count("began-"), count("ended-"));
        for name in items {
            let _ = std::fs::remove_file(ranch.work().join(format!("began-{name}")));
            let _ = std::fs::remove_file(ranch.work().join(format!("ended-{name}")));
        }
        counts
    };
    let (began, ended) = run("soon,fail=1");
    assert!(began == ended && (1..9).contains(&ended), "{began} began, {ended} ended");
    let (began, ended) = run("now,fail=1");
    assert!(began <= 1 && ended == 0, "{began} began, {ended} ended");
    ranch.run(&["each", "--halt", "soon", "true", ":::", "a"]).exits(2).says(&["now,fail=N"]);
}

#[test]
fn a_timeout_can_follow_the_median() {
    let ranch = Ranch::new();
    let path = ranch.work().join("e.jsonl").display().to_string();
    let items = ["0.1", "0.1", "0.1", "0.1", "60"];
    let mut args = vec!["each", "-k", "-n2", "--timeout", "500%", "--events", &path, "sleep {}", ":::"];
    args.extend(items);
    ranch.run(&args).exits(1).says(&["TIMEOUT", "far over the median", "4 passed, 1 timed out"]);
    assert_eq!(of(&facts(path.as_ref()), "result").len(), 5);
    ranch.run(&["run", "--timeout", "200%", "--", "true"]).exits(2).says(&["is for `remuda each`"]);
}
