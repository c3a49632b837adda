"""Every kind of verdict, its text and what was printed, compared with rspec alone."""

import subprocess

import pytest

from conftest import statuses

MIXED = """
    RSpec.shared_examples "a number" do |wanted|
      it("is #{wanted}") { expect(subject).to eq wanted }
    end
    RSpec.describe "Mixed" do
      subject { 2 }
      it("passes") { expect(1 + 1).to eq 2 }
      it("fails") { expect(1 + 1).to eq 3 }
      it("raises") { raise ArgumentError, "bad\\nsecond line" }
      it "is not written yet"
      xit("is skipped") { }
      it("skips itself") { skip "not today" }
      it("is pending") { pending "later"; expect(1).to eq 2 }
      it("was repaired") { pending "later"; expect(1).to eq 1 }
      it { is_expected.to eq 2 }
      it("has many", :aggregate_failures) { expect(1).to eq 2; expect(3).to eq 4 }
      it_behaves_like "a number", 2
      it_behaves_like "a number", 3
      context "with a broken hook" do
        before { raise "no set-up" }
        it("never runs") { }
      end
      context "with a broken end" do
        after { raise "no teardown" }
        it("fails late") { }
      end
      context "with a broken group", :slow do
        before(:context) { raise "no group" }
        it("one") { }
        context("within") { it("two") { } }
      end
      context "that skips itself" do
        before(:context) { skip "no board" }
        it("three") { }
      end
      it("has mocks") { thing = double; expect(thing).to receive(:call) }
    end
"""


@pytest.mark.parametrize("isolation", ["slot", "test"])
@pytest.mark.parametrize("slots", [1, 3])
def test_verdicts_are_those_of_rspec_alone(suite, isolation, slots):
    suite.write("spec/mixed_spec.rb", MIXED)
    expected, code, output = suite.serial()
    assert len(expected) == 18 and code == 1, output
    run = suite.run(slots=slots, isolation=isolation, ahead=3)
    assert statuses(run) == expected
    assert run.finished["exit"] == 1
    again = suite.run(slots=slots, order=lambda loader: reversed(range(18)), isolation=isolation)
    assert statuses(again) == expected


def detail(run, number):
    return run.results["./spec/mixed_spec.rb[1:%s]" % number]["detail"]


def test_failures_have_the_words_of_rspec(suite):
    suite.write("spec/mixed_spec.rb", MIXED)
    run = suite.run(slots=2)
    failed = detail(run, 2)
    assert failed["message"] == "Mixed fails: expected: 3, got: 2" and failed["when"] == "call"
    assert failed["location"] == {"file": "./spec/mixed_spec.rb", "line": 8}
    text = "Mixed fails\nFailure/Error: it(\"fails\") { expect(1 + 1).to eq 3 }\n\n  expected: 3\n       got: 2\n"
    assert failed["longrepr"].startswith(text)
    assert "remuda" not in failed["longrepr"] and "\x1b" not in failed["longrepr"]
    assert failed["properties"] == [["description", "Mixed fails"]]
    assert detail(run, 3)["message"] == "Mixed raises: ArgumentError: bad"
    assert "second line" in detail(run, 3)["longrepr"]
    assert detail(run, 4)["reason"] == "Not yet implemented"
    assert detail(run, 6)["reason"] == "not today"
    assert detail(run, 7)["reason"] == "later" and detail(run, 7)["message"] == "expected: 2, got: 1"
    assert detail(run, 8)["message"] == "Mixed was repaired: Expected pending 'later' to fail. No error was raised."
    assert detail(run, 10)["message"] == "Mixed has many: 2 failures: expected: 2, got: 1; expected: 4, got: 3"
    assert "1) Failure/Error" in detail(run, 10)["longrepr"] and "2) Failure/Error" in detail(run, 10)["longrepr"]
    assert 'Shared Example Group: "a number" called from ./spec/mixed_spec.rb:18' in detail(run, "12:1")["longrepr"]
    assert detail(run, "15:1")["when"] == "setup"
    assert detail(run, "15:1")["message"] == "Mixed with a broken group one: RuntimeError: no group"
    assert detail(run, "15:2:1")["longrepr"].startswith("Mixed with a broken group within two\n")
    assert detail(run, "16:1")["reason"] == "no board"


def test_ids_are_those_of_rspec_and_run_again(suite):
    suite.write("spec/mixed_spec.rb", MIXED)
    loader = suite.load()
    loader.collect()
    first = loader.tests[11]
    assert first == {"id": "./spec/mixed_spec.rb[1:11:1]", "file": "./spec/mixed_spec.rb",
                     "scope": "./spec/mixed_spec.rb[1]", "line": 3}
    done = subprocess.run(["rspec", first["id"]], cwd=str(suite.folder), stdout=subprocess.PIPE, check=False)
    assert b"1 example, 0 failures" in done.stdout


def test_output_belongs_to_the_example_that_printed_it(suite):
    suite.write("spec/out_spec.rb", """
        RSpec.describe "Out" do
          before(:context) { puts "group" }
          it("prints") { puts "one"; warn "two"; system("echo three") }
          it("is silent") { }
          it("speaks through rspec") { RSpec.configuration.reporter.message("four") }
          it("has bytes") { $stdout.write("\\xff\\n".b) }
          it("replaces") { $stdout = StringIO.new; puts "hidden"; $stdout = STDOUT }
        end
    """)
    run = suite.run(slots=1)
    sections = {name[-2]: result.get("detail", {}).get("sections", []) for name, result in run.results.items()}
    assert sections == {
        "1": [["stdout", "group\none\nthree\n"], ["stderr", "two\n"]], "2": [], "3": [["rspec", "four"]],
        "4": [["stdout", "\ufffd\n"]], "5": [],
    }


def test_a_large_output_is_cut_in_the_middle_and_says_so(suite):
    suite.write("spec/out_spec.rb", "RSpec.describe(1) { it { puts 'x' * 3_000_000 } }\n")
    text = suite.run(slots=1).results["./spec/out_spec.rb[1:1]"]["detail"]["sections"][0][1]
    assert len(text) < 1_100_000 and "bytes left out" in text


STRANGE = """
    # encoding: utf-8
    class Mute < StandardError; def message = raise("no words"); end
    RSpec.describe "Größe" do
      it("ist \u2713") { raise "bytes \\xff" }
      it("raises what cannot be told") { raise Mute }
      it("expects ✓") { expect("ü").to eq "ö" }
      it("skips ✓") { skip "später" }
      it("warns") { RSpec.configuration.reporter.message("größer") }
      after(:context) { raise "zuviel ✓" }
    end
"""


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_no_text_is_too_strange(suite, locale):
    suite.write("spec/strange_spec.rb", STRANGE.replace("\n    ", "\n").lstrip())
    args = ("--format", "json", "--out", "ours.json", "-fd")
    run = suite.run(*args, slots=1, environment={"LANG": locale, "LC_ALL": locale})
    assert run.outcomes, run.finished
    assert not run.crashed and [run.outcomes["./spec/strange_spec.rb[1:%d]" % n] for n in range(1, 6)] == [
        "failed", "failed", "failed", "skipped", "passed"]
    assert run.late and "zuviel" in run.late[0]["detail"]["message"]
    assert run.finished["exit"] == 1 and "Größe" in run.finished["summary"]


def test_an_example_that_calls_exit_has_failed_and_the_rest_goes_on(suite):
    suite.write("spec/exit_spec.rb", """
        RSpec.describe "Exit" do
          it("leaves") { exit 3 }
          it("follows") { }
          context("hook") { before(:context) { exit 4 }; it("never") { } }
          it("asks rspec to quit") { Process.kill(:INT, Process.pid); sleep 0.01 }
        end
    """)
    run = suite.run(slots=1)
    assert [run.outcomes["./spec/exit_spec.rb[1:%s]" % n] for n in ("1", "2", "3:1", "4")] == [
        "errored", "passed", "errored", "passed"]
    message = run.results["./spec/exit_spec.rb[1:1]"]["detail"]["message"]
    assert message == "Exit leaves: it called exit with code 3: RSpec alone would have ended here"


def test_a_repeated_example_starts_afresh(suite):
    suite.write("spec/flaky_spec.rb", """
        RSpec.describe "Flaky" do
          it("recovers") { File.exist?("mark") or (File.write("mark", ""); pending "x" if false; raise "first") }
          it("skips once") { File.exist?("skipped") or (File.write("skipped", ""); skip "first") }
        end
    """)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0, 1, 0, 1)
    runner.last()
    assert [[one["outcome"] for one in runner.results[test]] for test in (0, 1)] == [
        ["failed", "passed"], ["skipped", "passed"]]
    loader.wait_for("exited")
    loader.finish()


def test_a_forked_child_that_returns_into_rspec_reports_nothing(suite):
    suite.write("spec/child_spec.rb", """
        RSpec.describe "Child" do
          it("forks") { pid = fork; Process.wait(pid) if pid }
          it("next") { }
        end
    """)
    run = suite.run(slots=1)
    assert sorted(run.outcomes.values()) == ["passed", "passed"]
