"""A crate with many small tests: remuda against `cargo nextest run` and `cargo test`."""

import re

import machine
from measure import Wrong, environment, execute, in_turn
from report import Report, Target

ROUNDS = 5
TESTS, MODULES = 300, 6


def run(bench):
    tests = 30 if bench.quick else TESTS
    folder = bench.scratch / "crate"
    write(folder, tests)
    env = environment(CARGO_TARGET_DIR=folder / "target", CARGO_TERM_COLOR="never")
    for command in (["cargo", "test", "--no-run"], ["cargo", "nextest", "list"]):  # everything is built before anything counts
        execute(command, cwd=folder, env=env, timeout=600)

    def contender(argv, pattern):
        def go(_):
            state = {**env, "XDG_STATE_HOME": str(bench.state("rust"))}
            done = execute(argv, cwd=folder, env=state, timeout=300)
            if not re.search(pattern, done.output):
                raise Wrong("not all passed:\n" + done.output[-800:])
            return done.seconds

        return go

    ours = [bench.remuda, "run", "-n", "2", "--"]
    passed = rf"{tests} tests: {tests} passed"
    names = {
        "cargo nextest run": contender(["cargo", "nextest", "run", "-j", "2"], rf"{tests} passed"),
        "remuda: nextest": contender([*ours, "cargo", "nextest", "run"], passed),
        "cargo test": contender(["cargo", "test"], rf"{tests} passed"),
        "remuda: cargo test": contender([*ours, "cargo", "test"], passed),
    }
    series = in_turn(bench, bench.rounds(ROUNDS), names)
    report = Report(
        f"A crate with {tests} tests",
        "Generated: half of the tests do nothing, half sleep for 2 ms. Built beforehand; wall time of the whole command, "
        "the embedded Redis included. "
        f"{machine.version('cargo', '--version')}, {machine.version('cargo', 'nextest', '--version').splitlines()[0]}.",
    )
    report.add_series(series, ["remuda: nextest", "remuda: cargo test"])
    ratio = series["remuda: nextest"].median / series["cargo nextest run"].median
    more = series["remuda: cargo test"].median - series["cargo test"].median
    report.targets += [
        Target("wall against `cargo nextest run`, a process a test", ratio, 1.05),
        Target("beyond `cargo test`, in batches", more, 0.3, form="{:.2f} s"),
    ]
    return report


def write(folder, tests):
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[package]\nname = "many"\nversion = "0.1.0"\nedition = "2021"\n\n[workspace]\n')
    text = ""
    for module in range(MODULES):
        text += f"#[cfg(test)]\nmod part_{module} {{\n"
        for number in range(module * tests // MODULES, (module + 1) * tests // MODULES):
            body = "std::thread::sleep(std::time::Duration::from_millis(2));" if number % 2 else ""
            text += f"    #[test]\n    fn test_{number:03}() {{ {body} }}\n"
        text += "}\n"
    (folder / "src" / "lib.rs").write_text(text)
