"""Crashes, left-overs, the end of the daemon, suites that must not be forked, coverage."""

import os
import signal

import pytest

import fake_daemon

CRASHES = """
    RSpec.describe "Crash" do
      it("before") { }
      it("exits") { exit!(7) }
      it("exits well") { exit!(0) }
      it("is killed") { Process.kill(:KILL, Process.pid); sleep }
      it("is terminated") { Process.kill(:TERM, Process.pid); sleep }
      it("segfaults") { puts "last words"; Process.kill(:SEGV, Process.pid); sleep }
      it("after") { }
    end
"""


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def printed_so_far(pid):
    """What a process has written into the file behind its descriptor 1."""
    with open("/proc/%d/fd/1" % pid) as file:
        return file.read()


@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_a_crash_is_blamed_on_its_example_alone(suite, isolation):
    suite.write("spec/crash_spec.rb", CRASHES)
    run = suite.run(slots=2, isolation=isolation)
    assert run.outcomes == {"./spec/crash_spec.rb[1:1]": "passed", "./spec/crash_spec.rb[1:7]": "passed"}
    status = {int(name[-2]): message["status"] for name, message in run.crashed.items()}
    assert os.WEXITSTATUS(status[2]) == 7 and status[3] == 0
    assert [os.WTERMSIG(status[n]) for n in (4, 5)] == [signal.SIGKILL, signal.SIGTERM]
    # Ruby answers a segmentation fault with its report and an abort.
    assert os.WTERMSIG(status[6]) in (signal.SIGABRT, signal.SIGSEGV)
    for name, message in run.crashed.items():
        assert run.loader.tests[message["test"]]["id"] == name


@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_a_signal_to_ones_own_process_group_hits_no_neighbour(suite, isolation):
    suite.write("spec/group_spec.rb", """
        RSpec.describe "Group" do
          it("is a neighbour") { File.mkfifo("neighbour"); expect(File.read("neighbour")).to eq "go on" }
          it("signals its group") { Process.kill(:KILL, -Process.getpgid(spawn("sleep 1000"))); sleep }
        end
    """)
    loader = suite.load(isolation=isolation)
    loader.collect()
    neighbour, guilty = loader.fork(0), loader.fork(1)
    neighbour.run(0)
    neighbour.wait_for("started")
    guilty.run(1)
    exited = loader.wait_for("exited")
    assert (exited["slot"], exited["test"]) == (1, 1)
    assert os.WTERMSIG(exited["status"]) == signal.SIGKILL
    fake_daemon.until((suite.folder / "neighbour").exists)
    with open(str(suite.folder / "neighbour"), "w") as fifo:
        fifo.write("go on")
    assert neighbour.result(0)["outcome"] == "passed"
    neighbour.last()
    loader.finish()


def test_the_last_words_of_a_runner_reach_the_daemon(suite):
    suite.write("spec/crash_spec.rb", CRASHES)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(5)
    assert loader.wait_for("exited")["test"] == 5
    assert "last words\n" in runner.printed()
    report = runner.complained()
    assert "[BUG] Segmentation fault" in report and "what Ruby had loaded is left out" in report
    loader.finish()


def test_nothing_that_an_example_started_outlives_its_runner(suite):
    suite.write("spec/stray_spec.rb", """
        RSpec.describe "Stray" do
          it("leaves two behind") do
            fork { Process.setsid; fork { File.write("far", Process.pid); sleep }; exit! }
            File.write("near", spawn("sleep", "1000"))
            sleep 0.01 until File.exist?("far") && !File.empty?("far")
          end
        end
    """)
    run = suite.run(slots=1)
    assert list(run.outcomes.values()) == ["passed"]
    assert not alive(int(suite.read("near"))) and not alive(int(suite.read("far")))


def test_when_the_daemon_goes_away_everything_ends(suite):
    suite.write("spec/hang_spec.rb", """
        RSpec.describe("Hang") { it { File.write("pids", [Process.pid, spawn("sleep 1000")].join(" ")); sleep } }
    """)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    monitor = loader.wait_for("forked")["pid"]
    runner.run(0)
    fake_daemon.until(lambda: len(suite.read("pids").split()) == 2)
    loader.close()
    pids = [int(pid) for pid in suite.read("pids").split()] + [monitor]
    fake_daemon.until(lambda: not any(alive(pid) for pid in pids))


def test_a_hanging_example_can_be_killed_and_its_neighbours_go_on(suite):
    suite.write("spec/hang_spec.rb", """
        RSpec.describe("Hang") { it("a") { }; it("b") { puts "waiting"; sleep }; it("c") { } }
    """)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    forked = loader.wait_for("forked")
    runner.run(0, 1, 2)
    runner.result(0)
    # Its file of captured output tells that it has come to where it hangs.
    fake_daemon.until(lambda: printed_so_far(forked["runner"]) == "waiting\n")
    for pid in (forked["pid"], forked["runner"]):
        os.kill(pid, signal.SIGKILL)
    gone = loader.wait_for("exited")
    assert os.WTERMSIG(gone["status"]) == signal.SIGKILL and gone["test"] == 1
    assert runner.printed() == "waiting\n"
    second = loader.fork()
    second.run(2)
    assert second.result(2)["outcome"] == "passed"
    second.last()
    assert loader.wait_for("exited")["status"] == 0
    loader.finish()


def test_a_successor_may_start_before_its_predecessor_has_ended(suite):
    suite.write("spec/a_spec.rb", 'RSpec.describe("A") { after(:context) { sleep 0.2 }; it("a") { }; it("b") { } }\n')
    loader = suite.load()
    loader.collect()
    first = loader.fork(0)
    first.run(0)
    first.result(0)
    first.send("last")
    second = loader.fork(0)
    second.run(1)
    assert second.result(1)["outcome"] == "passed"
    second.last()
    assert [loader.wait_for("exited")["status"] for _ in range(2)] == [0, 0]
    assert loader.finish()["exit"] == 0


def test_tests_can_be_taken_back(suite):
    suite.write("spec/d_spec.rb", 'RSpec.describe("D") { it("a") { sleep 0.2 }; it("b") { }; it("c") { } }\n')
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0, 1, 2)
    runner.wait_for("started", test=0)
    runner.send("drop", tests=[1])
    assert runner.wait_for("dropped")["tests"] == [1]
    runner.last()
    assert sorted(runner.results) == [0, 2]
    loader.wait_for("exited")
    loader.finish()


READS = ["ENV['TEST_ENV_NUMBER']", "ENV.fetch('TEST_ENV_NUMBER', '')", "ENV.key?('REMUDA_SLOT')",
         "ENV.values_at('HOME', 'REMUDA_DB_PREFIX')"]


@pytest.mark.parametrize("read", READS)
def test_a_suite_that_reads_its_slot_while_it_loads_is_not_forked(suite, read):
    suite.write("spec/t_spec.rb", "NAME = %s\nRSpec.describe(1) { it { } }\n" % read)
    done = suite.load().collect()
    assert done["fork"] is False and done["controller"]
    assert done["why"].startswith(str(suite.folder / "spec" / "t_spec.rb") + ":1 read the slot variable ")


@pytest.mark.parametrize("text, named", [
    ("Thread.new { sleep }", "thread"), ("require 'socket'; HELD = UNIXSocket.pair", "socket"),
])
def test_what_else_forbids_forking_is_named(suite, text, named):
    suite.write("spec/t_spec.rb", text + "\nRSpec.describe(1) { it { } }\n")
    done = suite.load().collect()
    assert done["fork"] is False and named in done["why"]
    assert suite.load(fork="always").collect()["fork"] is True


def test_harmless_reads_do_not_forbid_forking(suite):
    suite.write("spec/t_spec.rb", """
        require "timeout"
        Timeout.timeout(5) { COPY = ENV.to_h.merge("HOME" => ENV["HOME"]) }
        RSpec.describe(1) { it { expect(COPY).not_to have_key("TEST_ENV_NUMBER") } }
    """)
    run = suite.run(slots=1, environment={"TEST_ENV_NUMBER": "9"})
    assert run.loader.done["fork"] is True and list(run.outcomes.values()) == ["passed"]


def test_the_slot_is_known_before_the_first_hook(suite):
    suite.write("spec/t_spec.rb", """
        RSpec.configure { |config| config.before(:suite) { $number = ENV["TEST_ENV_NUMBER"] } }
        RSpec.describe(1) { it { expect(File.read("/proc/self/comm")).to eq "remuda-gw#{$number.to_i - 1}\\n" } }
    """)
    assert list(suite.run(slots=1).outcomes.values()) == ["passed"]


OWN_LOADER = """
    NUMBER = ENV.fetch("TEST_ENV_NUMBER", "none")
    RSpec.describe "Own" do
      6.times { |n| it(n) { expect(NUMBER).to eq ENV["TEST_ENV_NUMBER"]; puts "in #{NUMBER}"; expect(n).not_to eq 5 } }
    end
"""


def test_a_suite_that_must_not_fork_runs_in_its_loader(suite):
    suite.write("spec/o_spec.rb", OWN_LOADER.replace("expect(NUMBER).to eq ENV", "ENV"))
    run = suite.run("--format", "json", "--out", "ours.json", slots=2)
    assert run.loader.done["fork"] is False
    assert sorted(run.outcomes.values()) == ["failed"] + ["passed"] * 5
    assert run.finished["exit"] == 1 and suite.read("ours.json").count('"status":"passed"') == 5


def test_loaders_of_slots_report_to_their_controller(suite):
    suite.write("spec/o_spec.rb", OWN_LOADER)
    args = ("--format", "json", "--out", "ours.json")
    controller = suite.load(*args)
    done = controller.collect()
    outcomes = {}
    for slot in range(2):
        environment = {"TEST_ENV_NUMBER": str(slot + 1)}
        loader = suite.load(*args, controller=done["controller"], fork="never", environment=environment)
        assert loader.collect()["fork"] is False
        runner = loader.fork(slot)
        mine = range(slot, 6, 2)
        runner.run(*mine)
        for test in mine:
            result = runner.result(test)
            outcomes[test] = result["outcome"]
            assert ["stdout", "in %d\n" % (slot + 1)] in result["detail"]["sections"]
        runner.last()
        assert loader.wait_for("exited")["status"] == 0
        assert loader.finish() == {"type": "finished", "summary": "", "exit": 0}
    assert [outcomes[test] for test in range(6)] == ["passed"] * 5 + ["failed"]
    assert controller.finish()["exit"] == 1
    assert suite.read("ours.json").count('"status":"passed"') == 5


def test_a_failing_exit_handler_keeps_no_other_from_running(suite):
    suite.write("spec/h_spec.rb", """
        RSpec.describe(1) { it { at_exit { File.write("log", "ran") }; at_exit { raise "no" } } }
    """)
    for isolation in ("slot", "test"):
        run = suite.run(slots=1, isolation=isolation)
        assert list(run.outcomes.values()) == ["passed"] and suite.read("log") == "ran"
        (suite.folder / "log").unlink()


def test_exit_handlers_run_where_they_were_registered(suite):
    suite.write("spec/h_spec.rb", """
        def log(word) = File.write("log", "#{word} #{Process.pid == LOADER}\\n", mode: "a")
        LOADER = Process.pid
        at_exit { log "early" }
        RSpec.describe(1) { it { at_exit { log "late" } } }
    """)
    run = suite.run(slots=1)
    run.loader.process.wait(fake_daemon.PATIENCE)
    assert suite.read("log") == "late false\nearly true\n"


@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_coverage_of_all_slots_is_in_one_report(suite, isolation):
    suite.write("lib/two.rb", "def one\n  1\nend\ndef two\n  2\nend\ndef three\n  3\nend\n")
    suite.write("spec/c_spec.rb", """
        require "simplecov"
        SimpleCov.start { add_filter "/spec/" }
        require_relative "../lib/two"
        RSpec.describe("C") { it("a") { one; sleep 0.2 }; it("b") { two; sleep 0.2 } }
    """)
    run = suite.run(slots=2, ahead=1, isolation=isolation)
    assert run.loader.done["fork"] is True, run.loader.done["why"]
    assert "Coverage report generated for" in run.finished["summary"]
    # 3 definitions at load, one body from each slot, the third body by nobody
    assert "5 / 6 LOC" in run.finished["summary"], run.finished["summary"]


def test_coverage_is_kept_without_forks(suite):
    suite.write("lib/two.rb", "def one\n  1\nend\ndef two\n  2\nend\n")
    suite.write("spec/c_spec.rb", """
        require "simplecov"
        SimpleCov.start { add_filter "/spec/" }
        require_relative "../lib/two"
        NUMBER = ENV["TEST_ENV_NUMBER"]
        RSpec.describe("C") { it("a") { one }; it("b") { two } }
    """)
    controller = suite.load()
    done = controller.collect()
    for slot in range(2):
        loader = suite.load(controller=done["controller"], fork="never")
        loader.collect()
        runner = loader.fork(slot)
        runner.run(slot)
        assert runner.result(slot)["outcome"] == "passed"
        runner.last()
        loader.wait_for("exited")
        loader.finish()
    assert "4 / 4 LOC" in controller.finish()["summary"]


def test_a_suite_that_stops_the_clock_and_fakes_files_still_reports(suite):
    suite.write("spec/f_spec.rb", """
        RSpec.describe "Fakes" do
          before(:context) do
            Process.singleton_class.send(:alias_method, :real_time, :clock_gettime)
            def Process.clock_gettime(*) = 0.0
          end
          after(:context) { Process.singleton_class.send(:alias_method, :clock_gettime, :real_time) }
          it "a" do
            allow(JSON).to receive(:generate).and_raise("no")
            allow(File).to receive(:open).and_raise("no")
            puts "x"
          end
          it("b") { expect(1).to eq 2 }
        end
    """)
    run = suite.run(slots=1)
    assert sorted(run.outcomes.values()) == ["failed", "passed"]
