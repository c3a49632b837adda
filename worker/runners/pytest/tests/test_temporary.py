"""Folders for temporary files: as many as pytest alone would leave."""

import pytest
from _pytest.tmpdir import TempPathFactory

HAS_EXIT_STACK = "_exit_stack" in TempPathFactory.__init__.__code__.co_names
COUNTED = '''
    import os
    from _pytest import pathlib
    clean_up = pathlib.cleanup_numbered_dir
    def counting(*args, **named):
        with open(os.path.join(os.path.dirname(__file__), "cleaned"), "a") as file:
            file.write("%d\\n" % os.getpid())
        return clean_up(*args, **named)
    pathlib.cleanup_numbered_dir = counting
'''


@pytest.fixture
def left(suite, monkeypatch):
    """What is in the temporary folder of the suite, by names."""
    folder = suite.folder / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return lambda: sorted(str(path.relative_to(folder)).partition("/")[2] for path in folder.glob("pytest-of-*/*"))


@pytest.mark.parametrize("fork", ["always", "never"])
@pytest.mark.skipif(not HAS_EXIT_STACK, reason="older ones clean up behind the session")
def test_a_folder_that_nobody_used_is_none(suite, left, fork):
    suite.write("conftest.py", COUNTED)
    suite.write("test_x.py", "def test_x(): pass\ndef test_y(): pass\n")
    run = suite.run(fork=fork, slots=1)
    assert len(run.results) == 2
    assert left() == []
    assert not (suite.folder / "cleaned").exists()


@pytest.mark.parametrize("fork", ["always", "never"])
def test_the_folders_of_three_sessions_are_kept(suite, left, fork):
    suite.write("test_x.py", "def test_x(tmp_path): (tmp_path / 'x').touch()\n")
    for _ in range(5):
        suite.run(fork=fork, slots=1)
    assert left() == ["pytest-2", "pytest-3", "pytest-4", "pytest-current"]
    assert not list((suite.folder / "tmp").glob("*/*/.lock"))
