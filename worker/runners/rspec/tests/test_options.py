"""The user's own flags and files, and what RSpec prints at its end."""

import json

import pytest

TAGGED = """
    RSpec.describe "T" do
      it("fast") { }
      it("slow one", :slow) { }
      it("slow two", slow: true) { expect(1).to eq 2 }
      context("group", :slow) { it("three") { } }
    end
"""


@pytest.mark.parametrize("args, count", [
    ((), 4), (("--tag", "slow"), 3), (("-t", "~slow"), 1), (("-e", "slow o"), 1), (("-E", "two$"), 1),
    (("spec/t_spec.rb:4",), 1), (("spec/t_spec.rb[1:1,1:4]",), 2), (("spec",), 4), (("-P", "spec/t*.rb"), 4),
])
def test_selections_are_those_of_rspec(suite, args, count):
    suite.write("spec/t_spec.rb", TAGGED)
    expected, _, output = suite.serial(*args)
    loader = suite.load(*args)
    done = loader.collect()
    assert sorted(loader.ids()) == sorted(expected) and len(expected) == count, output
    assert done["count"] == count and done["deselected"] == 4 - count


def test_files_of_options_count(suite):
    suite.write("spec/t_spec.rb", TAGGED)
    suite.write(".rspec", "--require helper\n--tag slow\n--fail-fast=2\n")
    suite.write("spec/helper.rb", "HELPED = true\n")
    suite.write(".rspec-local", "--order defined\n")
    loader = suite.load()
    done = loader.collect()
    assert done["count"] == 3 and done["options"]["maxfail"] == 2


@pytest.mark.parametrize("args", [("--seed", "7"), ("--order", "rand:7"), ("--order", "defined")])
def test_the_order_is_that_of_rspec(suite, args):
    body = "".join("it(%d) { }\n" % n for n in range(20))
    suite.write("spec/a_spec.rb", "RSpec.describe(1) do\n%s\ncontext(2) do\n%s\nend end" % (body, body))
    suite.write("spec/b_spec.rb", "RSpec.describe(3) do\n%s\nend" % body)
    expected, _, _ = suite.serial(*args)
    loader = suite.load(*args)
    loader.collect()
    assert loader.ids() == list(expected)
    if "defined" not in args:
        assert loader.ids() != sorted(loader.ids()) and "Randomized with seed 7" in loader.finish()["summary"]


def test_random_numbers_differ_from_slot_to_slot(suite):
    suite.write("spec/r_spec.rb", """
        Kernel.srand RSpec.configuration.seed
        RSpec.describe("R") { 2.times { |n| it(n) { puts rand(1 << 60) } } }
    """)

    def numbers(seed):
        loader = suite.load("--seed", seed)
        loader.collect()
        found = []
        for slot in range(2):
            runner = loader.fork(slot)
            runner.run(0)
            found.append(runner.result(0)["detail"]["sections"][0][1])
            runner.last()
        return found

    first = numbers("7")
    assert first[0] != first[1] and first == numbers("7") != numbers("8")


@pytest.mark.parametrize("flag", ["--fail-fast", "--next-failure"])
def test_fail_fast_is_told(suite, flag):
    suite.write("spec/t_spec.rb", TAGGED)
    suite.write(".rspec", "-r ./persist\n")
    suite.write("persist.rb", "RSpec.configure { |c| c.example_status_persistence_file_path = 'status.txt' }\n")
    suite.serial()
    assert suite.load(flag).collect()["options"]["maxfail"] == 1


@pytest.mark.parametrize("args, exit, words", [
    (("--version",), 0, "rspec-core 3"), (("--help",), 0, "Usage: rspec"),
    (("--no-such-option",), 4, "invalid option: --no-such-option"),
])
def test_what_is_no_run_is_answered(suite, args, exit, words):
    done = suite.load(*args).collect()
    assert done["type"] == "manifest_failure" and done["exit"] == exit and words in done["output"]


def test_nothing_to_run_has_its_own_code(suite):
    suite.write("spec/t_spec.rb", TAGGED)
    loader = suite.load("-e", "no such example")
    done = loader.collect()
    assert (done["type"], done["exit"], done["error"]["message"]) == ("manifest_failure", 5, "no examples found")
    assert "All examples were filtered out" in done["output"]
    loader.process.wait(20)
    assert loader.reader.receive(block=False) == [] and loader.reader.closed, "one failure is told once"


def test_a_file_that_cannot_be_loaded_is_told_in_the_words_of_rspec(suite):
    suite.write("spec/bad_spec.rb", "RSpec.describe('x') { it('y') { } }\nrequire 'no_such_file_here'\n")
    suite.write("spec/worse_spec.rb", "RSpec.describe(\n")
    done = suite.load().collect()
    assert done["exit"] == 1
    message = done["error"]["message"]
    assert message.startswith("An error occurred while loading ./spec/bad_spec.rb: LoadError: cannot load such file")
    assert message.endswith("(and 1 more)")
    assert "An error occurred while loading ./spec/worse_spec.rb." in done["output"]
    assert "Failure/Error: require 'no_such_file_here'" in done["output"]


def test_a_file_that_exits_is_told(suite):
    suite.write("spec/bad_spec.rb", "abort 'not on this machine'\n")
    done = suite.load().collect()
    assert done["type"] == "manifest_failure" and done["exit"] == 1
    assert "not on this machine" in done["output"] and "RSpec will now quit" in done["error"]["message"]


def test_a_script_that_is_missing_is_told(suite):
    suite.script = "./bin/rspec"
    done = suite.load().collect()
    assert done["type"] == "manifest_failure" and "bin/rspec" in done["error"]["message"]


def test_a_binstub_chooses_for_itself(suite):
    suite.write("spec/t_spec.rb", "RSpec.describe(1) { it { expect(CHOSEN).to eq 'binstub' } }\n")
    suite.write("bin/rspec", "#!/usr/bin/env ruby\nCHOSEN = 'binstub'\nload Gem.bin_path('rspec-core', 'rspec')\n")
    suite.script = "bin/rspec"
    assert list(suite.run(slots=1).outcomes.values()) == ["passed"]


def test_a_bundle_chooses_for_itself(suite):
    suite.write("Gemfile", "gem 'rspec'\n")
    suite.write("spec/t_spec.rb", "RSpec.describe(1) { it { expect(defined?(Bundler.definition)).to be_truthy } }\n")
    suite.launcher = ["bundle", "exec"]
    assert list(suite.run(slots=1).outcomes.values()) == ["passed"]
    suite.write("Gemfile", "gem 'no_such_gem_here'\n")
    loader = suite.load()
    assert loader.process.wait(20) != 0 and "no_such_gem_here" in loader.printed()


def test_by_default_only_what_the_daemon_cannot_know_is_printed(suite):
    suite.write("spec/t_spec.rb", TAGGED)
    assert suite.run(slots=2).finished["summary"] == ""


def normal(report):
    """What of rspec's JSON does not depend on time."""
    examples = [
        (one["id"], one["full_description"], one["status"], one.get("exception", {}).get("message"),
         one.get("exception", {}).get("class"), one["pending_message"])
        for one in report["examples"]
    ]
    summary = {key: value for key, value in report["summary"].items() if key != "duration"}
    return examples, summary, report["summary_line"]


REPORTED = """
    RSpec.describe "Reported" do
      class Own < StandardError; end
      it("passes") { sleep 0.3 }
      it("fails") { expect(1).to eq 2 }
      it("raises") { begin; raise Own, "inner"; rescue Own; raise ArgumentError, "outer"; end }
      it("knows its own class") { raise Class.new(StandardError), "nameless" }
      it("is pending") { pending "later"; raise "x" }
      it("is skipped") { skip "never" }
      it { expect(3).to eq 3 }
      it("has many", :aggregate_failures) { expect(1).to eq 2; raise "boom" }
      context("inner") { it("a") { } }
    end
"""


@pytest.mark.parametrize("slots", [1, 2])
def test_formatters_see_what_they_would_have_seen(suite, slots):
    suite.write("spec/r_spec.rb", REPORTED)
    suite.serial("--format", "documentation", "--out", "serial.txt", "--no-color")
    expected = json.loads(suite.read("serial.json"))
    args = ("--format", "json", "--out", "ours.json", "--format", "documentation", "--out", "ours.txt",
            "--format", "h", "--out", "ours.html", "--profile", "2")
    run = suite.run(*args, slots=slots, ahead=2)
    ours = json.loads(suite.read("ours.json"))
    assert normal(ours) == normal(expected)
    assert lasting(suite.read("ours.txt")) == lasting(suite.read("serial.txt"))
    assert "has many" in suite.read("ours.html")
    assert ours["profile"]["examples"][0]["full_description"] == "Reported passes"
    assert run.finished["exit"] == 1


def lasting(text):
    """What of the documentation format depends neither on time nor on who called."""
    lines = text.partition("\nFinished in")[0].splitlines()
    return [line for line in lines if not line.strip().startswith("# ")]


def test_a_formatter_on_the_terminal_is_in_the_summary(suite):
    suite.write("spec/t_spec.rb", TAGGED)
    summary = suite.run("-fd", slots=2).finished["summary"]
    assert "T\n  fast\n  slow one\n  slow two (FAILED - 1)\n  group\n    three\n" in summary


def test_a_formatter_that_fails_is_told(suite):
    suite.write("spec/f_spec.rb", "RSpec.describe('F') { it('a') { } }\n")
    suite.write("broken.rb", """
        class Broken
          RSpec::Core::Formatters.register self, :dump_summary
          def initialize(output) = @output = output
          def dump_summary(*) = raise("no paper")
        end
    """)
    run = suite.run("-r", "./broken", "--format", "Broken", slots=1)
    assert list(run.outcomes.values()) == ["passed"]
    assert run.finished["exit"] == 1 and "no paper" in run.finished["summary"]


def test_a_crash_is_a_failure_for_formatters_too(suite):
    suite.write("spec/c_spec.rb", "RSpec.describe('C') { it('a') { exit!(4) }; it('b') { } }\n")
    suite.run("--format", "json", "--out", "ours.json", slots=1)
    found = {one["description"]: one for one in json.loads(suite.read("ours.json"))["examples"]}
    assert found["a"]["status"] == "failed" and "exit code 4" in found["a"]["exception"]["message"]
    assert found["b"]["status"] == "passed"


def test_failures_are_remembered_for_only_failures(suite):
    suite.write("spec/t_spec.rb", TAGGED)
    suite.write(".rspec", "-r ./persist\n")
    suite.write("persist.rb", "RSpec.configure { |c| c.example_status_persistence_file_path = 'status.txt' }\n")
    suite.run(slots=2)
    assert suite.read("status.txt").count("passed") == 3
    loader = suite.load("--only-failures")
    loader.collect()
    assert loader.ids() == ["./spec/t_spec.rb[1:3]"]


def test_only_failures_without_a_file_of_them_is_told(suite):
    suite.write("spec/t_spec.rb", TAGGED)
    done = suite.load("--only-failures").collect()
    assert done["type"] == "manifest_failure" and done["exit"] == 1
    assert done["error"]["message"].startswith("To use `--only-failures`, you must first set")


def test_deprecations_of_runners_are_told_at_the_end(suite):
    suite.write("spec/d_spec.rb", """
        RSpec.describe(1) { it { RSpec.deprecate('old_thing', replacement: 'new_thing') } }
    """)
    summary = suite.run(slots=1).finished["summary"]
    assert "old_thing is deprecated. Use new_thing instead." in summary
