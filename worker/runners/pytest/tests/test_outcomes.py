"""Every outcome that pytest knows arrives as serial pytest counts it, with its details."""

from xml.etree import ElementTree

import pytest

MANY = '''
    import unittest
    import pytest

    @pytest.fixture
    def broken(): raise RuntimeError("no setup")

    @pytest.fixture
    def late():
        yield
        raise ValueError("no teardown")

    def test_passes(): pass
    def test_fails(): assert 1 == 2
    def test_prints(): print("to stdout")
    def test_setup_error(broken): pass
    def test_teardown_error(late): pass
    def test_fails_twice(late): assert 0, "first"
    def test_skips(): pytest.skip("not today")

    @pytest.fixture
    def skipping(): pytest.skip("fixture says no")
    def test_skips_in_setup(skipping): pass

    @pytest.mark.skipif(True, reason="never here")
    def test_skip_mark(): pass

    @pytest.mark.xfail(reason="known")
    def test_xfail(): assert 0

    @pytest.mark.xfail(reason="fixed")
    def test_xpass(): pass

    @pytest.mark.xfail(strict=True, reason="strictly")
    def test_xpass_strict(): pass

    @pytest.mark.xfail(run=False)
    def test_xfail_norun(): pass

    def test_xfail_call(): pytest.xfail("inside")

    class TestClass:
        def test_method(self): pass
        def test_method_fails(self): assert [1] == [2]

    class TestUnit(unittest.TestCase):
        @classmethod
        def setUpClass(cls): cls.x = 1
        def test_good(self): self.assertEqual(self.x, 1)
        def test_bad(self): self.assertEqual(self.x, 2)
        @unittest.skip("unit skip")
        def test_skip(self): pass
        @unittest.expectedFailure
        def test_expected(self): self.fail("x")
        @unittest.expectedFailure
        def test_unexpected(self): pass

    class TestBrokenClass(unittest.TestCase):
        @classmethod
        def setUpClass(cls): raise RuntimeError("class")
        def test_one(self): pass
        def test_two(self): pass

    def documented():
        """
        >>> 1 + 1
        2
        """

    def wrongly_documented():
        """
        >>> 1 + 1
        3
        """

    @pytest.mark.parametrize("x", ["a b", "a::b", "[x]", "new\\nline", "\\u00e9\\u4e16", "", "-k", "/", "\\\\"])
    def test_ids(x): pass
'''


def test_all_outcomes_equal_serial_pytest(suite):
    suite.write("test_many.py", MANY)
    serial, code, _ = suite.serial("--doctest-modules")
    run = suite.run("--doctest-modules")
    assert run.outcomes == serial
    assert run.late == [] and run.crashed == {}
    assert run.finished["exit"] == code == 1


def test_all_outcomes_equal_serial_pytest_in_reverse_order(suite):
    suite.write("test_many.py", MANY)
    serial, _, _ = suite.serial()
    run = suite.run(order=lambda loader: reversed(range(len(loader.tests))), ahead=3)
    assert run.outcomes == serial


def test_isolated_outcomes_equal_serial_pytest(suite):
    suite.write("test_many.py", MANY)
    serial, _, _ = suite.serial()
    run = suite.run(isolation="test")
    assert run.outcomes == serial


@pytest.fixture
def details(suite):
    suite.write("test_many.py", MANY)
    run = suite.run()
    return {name.partition("::")[2]: result for name, result in run.results.items()}


def test_details_say_why(details):
    failed = details["test_fails"]["detail"]
    assert failed["when"] == "call" and failed["message"] == "assert 1 == 2"
    assert "def test_fails" in failed["longrepr"]
    assert failed["location"]["file"].endswith("test_many.py") and failed["location"]["line"] == 14
    assert details["test_setup_error"]["detail"]["when"] == "setup"
    assert details["test_setup_error"]["detail"]["message"] == "RuntimeError: no setup"
    assert details["test_teardown_error"]["outcome"] == "errored"
    twice = details["test_fails_twice"]
    assert twice["outcome"] == "failed"
    assert "first" in twice["detail"]["longrepr"] and "no teardown" in twice["detail"]["longrepr"]
    assert details["test_skips"]["detail"]["reason"] == "not today"
    assert details["test_skip_mark"]["detail"]["reason"] == "never here"
    assert details["test_xfail"]["detail"]["reason"] == "known"
    assert details["test_xfail_call"]["detail"]["reason"] == "inside"
    assert "strictly" in details["test_xpass_strict"]["detail"]["longrepr"]
    assert details["test_prints"]["detail"]["sections"] == [["Captured stdout call", "to stdout\n"]]
    assert "detail" not in details["test_passes"]
    assert len(details["test_passes"]["us"]) == 3


def test_an_id_of_a_megabyte(suite):
    suite.write("test_long.py", """
        import pytest
        @pytest.mark.parametrize("x", [pytest.param(1, id="y" * 1000000), pytest.param(2, id="short")])
        def test_it(x): pass
    """)
    run = suite.run()
    assert len(run.outcomes) == 2 and set(run.outcomes.values()) == {"passed"}
    serial, _, _ = suite.serial()
    assert run.outcomes == serial


def test_repeated_ids_stay_apart(suite):
    suite.write("test_twice.py", "def test_it(): pass\n")
    loader = suite.load("--keep-duplicates", "test_twice.py", "test_twice.py")
    loader.collect()
    assert len(set(loader.ids())) == len(loader.ids())


def test_subtests(suite):
    pytest.importorskip("_pytest.subtests")
    suite.write("test_sub.py", """
        import unittest, pytest
        def test_fixture(subtests):
            with subtests.test("one"): pass
            with subtests.test("two", i=2): assert 0, "second"
            with subtests.test("three"): pytest.skip("third")
        def test_good(subtests):
            for i in range(3):
                with subtests.test(i=i): pass
        class TestUnit(unittest.TestCase):
            def test_unit(self):
                for i in range(3):
                    with self.subTest(i=i): self.assertNotEqual(i, 1)
    """)
    serial, _, _ = suite.serial()
    run = suite.run()
    assert run.outcomes == serial
    found = run.results["test_sub.py::test_fixture"]["detail"]["subtests"]
    assert [one["outcome"] for one in found] == ["passed", "failed", "skipped"]
    assert "[two]" in found[1]["name"] and "second" in found[1]["message"]
    for name, part, words in (
        ("test_fixture", "[two] (i=2)", "AssertionError: second"),
        ("TestUnit::test_unit", "(i=1)", "AssertionError: 1 == 1"),
    ):
        detail = run.results["test_sub.py::" + name]["detail"]
        assert detail["message"].startswith("contains 1 failed subtest: %s: " % part), detail["message"]
        assert words in detail["message"] and words in detail["longrepr"]


def test_another_attempt_has_no_failed_subtests_yet(suite):
    pytest.importorskip("_pytest.subtests")
    suite.write("test_sub.py", """
        import os
        def test_fixture(subtests):
            with subtests.test(): assert os.environ["REMUDA_ATTEMPT"] == "2"
    """)
    loader = suite.load(slots=1)
    loader.collect()
    runner = loader.fork()
    outcomes = []
    for attempt in (1, 2):
        runner.send("run", tests=[0], of=[[0, attempt]])
        while len(runner.results.get(0, ())) < attempt:
            assert runner.pump()
        outcomes.append(runner.results[0][-1]["outcome"])
    assert outcomes == ["failed", "passed"]
    runner.last()


def test_subtests_are_counted_as_serial_pytest_does(suite):
    pytest.importorskip("_pytest.subtests")
    suite.write("test_sub.py", """
        def test_fixture(subtests):
            for i in range(3):
                with subtests.test(i=i): assert i != 1
    """)
    suite.run("--junitxml=ours.xml")
    suite.serial("--junitxml=theirs.xml")
    ours, theirs = (
        sorted((case.get("name"), [part.get("message") for part in case])
               for case in ElementTree.parse(str(suite.folder / name)).iter("testcase"))
        for name in ("ours.xml", "theirs.xml")
    )
    assert ours == theirs


def test_reruns_report_only_the_last_attempt(suite):
    pytest.importorskip("pytest_rerunfailures")
    suite.write("test_flaky.py", """
        state = []
        def test_flaky():
            state.append(1)
            assert len(state) > 1
        def test_bad(): assert 0
    """)
    run = suite.run("--reruns", "2")
    assert run.loader.done["fork"], run.loader.done["why"]
    assert run.outcomes == {"test_flaky.py::test_flaky": "passed", "test_flaky.py::test_bad": "failed"}
    assert len(run.results["test_flaky.py::test_flaky"]["detail"]["reruns"]) == 1
    assert len(run.results["test_flaky.py::test_bad"]["detail"]["reruns"]) == 2


def test_undecodable_output_and_properties(suite):
    suite.write("test_bytes.py", """
        import os
        def test_bytes(record_property):
            record_property("board", "b7")
            os.write(1, b"\\xff\\xfe raw")
            print("\\udcff lone")
    """)
    result = suite.run().results["test_bytes.py::test_bytes"]
    assert result["outcome"] == "passed"
    assert result["detail"]["properties"] == [["board", "b7"]]
    assert "raw" in result["detail"]["sections"][0][1]


def test_huge_output_is_shortened(suite):
    suite.write("test_loud.py", "def test_loud():\n    print('head' + 'x' * 5000000 + 'tail')\n")
    (title, text), = suite.run().results["test_loud.py::test_loud"]["detail"]["sections"]
    assert len(text) < 1100000 and text.startswith("head") and text.endswith("tail\n")
    assert "left out" in text


@pytest.mark.parametrize("style", ["no", "line", "short"])
def test_traceback_styles(suite, style):
    suite.write("test_tb.py", "def test_bad():\n    assert 0, 'why'\n")
    text = suite.run("--tb=" + style).results["test_tb.py::test_bad"]["detail"]["longrepr"]
    if style == "no":
        assert text == ""
    else:
        assert "why" in text and ("\n" in text) == (style == "short")
