"""Hooks of groups and of the suite, whatever order the examples come in."""

import os

LOG = """
    def log(word) = File.write("log", "#{word}\\n", mode: "a")
"""

GROUPS = LOG + """
    RSpec.describe "A" do
      before(:context) { log "enter A"; @made = Object.new; @count = 0 }
      after(:context) { log "leave A #{@made.class}" }
      it("one") { log "one"; @count += 1; expect(@count).to eq 1 }
      it("two") { log "two"; expect(@count).to eq 0 }
      context "B" do
        before(:context) { log "enter B"; @inner = @made }
        after(:context) { log "leave B" }
        it("three") { log "three"; expect(@inner).to equal @made }
      end
    end
    RSpec.describe "C" do
      before(:context) { log "enter C" }
      after(:context) { log "leave C" }
      it("four") { log "four" }
    end
"""


def words(suite):
    return suite.read("log").split("\n")[:-1]


def test_in_the_order_of_rspec_hooks_run_as_in_rspec(suite):
    suite.write("spec/groups_spec.rb", GROUPS)
    suite.serial()
    expected = words(suite)
    (suite.folder / "log").unlink()
    run = suite.run(slots=1)
    assert words(suite) == expected and set(run.outcomes.values()) == {"passed"}


def test_in_any_other_order_groups_are_entered_once_a_stretch(suite):
    suite.write("spec/groups_spec.rb", GROUPS)
    run = suite.run(slots=1, order=lambda loader: [2, 1, 3, 0])
    assert set(run.outcomes.values()) == {"passed"}
    assert words(suite) == [
        "enter A", "enter B", "three", "leave B", "two", "leave A Object",
        "enter C", "four", "leave C", "enter A", "one", "leave A Object",
    ]


def test_a_group_stays_entered_while_nothing_else_is_known(suite):
    suite.write("spec/groups_spec.rb", GROUPS)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0)
    runner.result(0)
    runner.send("idle")
    runner.run(1)
    runner.result(1)
    assert words(suite) == ["enter A", "one", "two"]
    runner.last()
    assert words(suite)[-1] == "leave A Object"
    loader.wait_for("exited")
    loader.finish()


def test_set_up_of_groups_is_told_apart(suite):
    suite.write("spec/slow_spec.rb", """
        RSpec.describe("Slow") { before(:context) { sleep 0.05 }; it("a") { }; it("b") { } }
    """)
    run = suite.run(slots=1)
    first, second = (run.results["./spec/slow_spec.rb[1:%d]" % n] for n in (1, 2))
    assert first["us"][0] >= 50_000 > first["us"][1]
    assert [scope for scope, us in first["wide"] if us >= 50_000] == ["context"]
    assert "wide" not in second


def test_a_failing_end_of_a_group_is_an_error_of_its_own(suite):
    suite.write("spec/end_spec.rb", """
        RSpec.describe("End") do
          context("bad") { after(:context) { raise "no end" }; it("a") { } }
          it("b") { }
        end
    """)
    _, code, output = suite.serial()
    run = suite.run(slots=1)
    assert set(run.outcomes.values()) == {"passed"} and code == run.finished["exit"] == 1
    late = run.late[0]
    assert late["fixture"] == "after(:context) of End bad" and late["scope"] == "context"
    assert late["detail"]["message"] == "RuntimeError: no end"
    assert late["detail"]["longrepr"].startswith("An error occurred in an `after(:context)` hook.\nFailure/Error:")
    assert late["detail"]["longrepr"].splitlines()[0] in output


SUITE_HOOKS = LOG + """
    RSpec.configure do |config|
      config.before(:suite) { log "begin #{ENV["TEST_ENV_NUMBER"]}" }
      config.after(:suite) { log "end #{ENV["TEST_ENV_NUMBER"]}" }
    end
    RSpec.describe("S") { 8.times { |n| it(n) { log "example" } } }
"""


def test_hooks_of_the_suite_run_once_in_each_slot(suite):
    suite.write("spec/suite_spec.rb", SUITE_HOOKS)
    run = suite.run(slots=2, ahead=2)
    assert len(run.outcomes) == 8
    found = words(suite)
    assert sorted(word for word in found if word != "example") == ["begin 1", "begin 2", "end 1", "end 2"]
    assert found[0].startswith("begin") and found[-1].startswith("end")


def test_a_runner_without_examples_runs_no_hooks(suite):
    suite.write("spec/suite_spec.rb", SUITE_HOOKS)
    loader = suite.load()
    loader.collect()
    loader.fork().last()
    assert loader.wait_for("exited")["status"] == 0 and words(suite) == []
    assert loader.finish()["exit"] == 0


def test_without_its_suite_hook_no_example_runs(suite):
    suite.write("spec/suite_spec.rb", """
        RSpec.configure { |config| config.before(:suite) { raise "no database" } }
        RSpec.describe("S") { it("a") { puts "ran" }; it("b") { puts "ran" } }
    """)
    run = suite.run(slots=1)
    assert set(run.outcomes.values()) == {"errored"} and run.finished["exit"] == 1
    detail = run.results["./spec/suite_spec.rb[1:1]"]["detail"]
    assert detail["message"] == "S a: RuntimeError: no database" and detail["when"] == "setup"
    assert not any("sections" in result["detail"] for result in run.results.values())


def test_a_suite_hook_that_exits_is_blamed_on_the_example_that_waited(suite):
    suite.write("spec/suite_spec.rb", """
        RSpec.configure { |config| config.before(:suite) { exit 9 } }
        RSpec.describe("S") { it("a") { } }
    """)
    run = suite.run(slots=1)
    assert [os.WEXITSTATUS(message["status"]) for message in run.crashed.values()] == [9]


def test_a_failing_end_of_the_suite_is_an_error_of_its_own(suite):
    suite.write("spec/suite_spec.rb", """
        RSpec.configure { |config| config.after(:suite) { raise "still busy" } }
        RSpec.describe("S") { it("a") { } }
    """)
    run = suite.run(slots=1)
    assert set(run.outcomes.values()) == {"passed"} and run.finished["exit"] == 1
    assert run.late[0]["fixture"] == "after(:suite)" and run.late[0]["scope"] == "suite"


def test_in_isolation_each_example_has_its_groups_for_itself(suite):
    suite.write("spec/groups_spec.rb", GROUPS + "RSpec.configure { |c| c.before(:suite) { log 'suite' } }\n")
    run = suite.run(slots=1, isolation="test")
    assert set(run.outcomes.values()) == {"passed"}
    found = words(suite)
    assert (found.count("suite"), found.count("enter A"), found.count("leave A Object")) == (1, 3, 3)


def test_listeners_of_the_suite_see_the_process_that_runs_the_example(suite):
    suite.write("spec/listener_spec.rb", LOG + """
        class Listener
          def example_started(told) = log("started #{Process.pid == $loader} #{told.example.description}")
          def dump_summary(summary) = log("summary #{Process.pid == $loader}")
        end
        $loader = Process.pid
        RSpec.configuration.reporter.register_listener(Listener.new, :example_started, :dump_summary)
        RSpec.describe("L") { it("a") { } }
    """)
    suite.run(slots=1)
    assert words(suite) == ["started false a", "summary true"]
