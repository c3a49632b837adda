//! What the verbs say of workers, of Redis and of how far jobs are: `workers`, `doctor`, `status`.

use super::lab::Lab;

#[test]
fn a_job_that_is_over_is_told_again_without_another_log() {
    let lab = Lab::new("1");
    lab.items("echo {item}", "\"a\"");
    let id = lab.submit(&[]);
    lab.run(&["wait", &id]).exits(0);
    let runs = lab.ranch.state().join("remuda/runs");
    let logs = || std::fs::read_dir(&runs).map_or(0, Iterator::count);
    let before = logs();
    for verb in ["wait", "attach", "report"] {
        let seen = lab.run(&[verb, &id]).exits(0).says(&["1 task: 1 passed"]);
        assert!(!seen.err.contains(".log"), "{}", seen.err);
    }
    assert_eq!(logs(), before);
}
