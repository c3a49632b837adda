"""Entry of the pytest runner: makes the process look like `pytest`, then hands over to the loader.

Started by the worker as `PYTHON .../remuda_pytest_main.py` with REMUDA_RUNNER_FD and REMUDA_LOAD in the
environment. It must import nothing of pytest or of the user before `sys.path` and `sys.argv` are what
they would have been under `pytest` (or `python -m pytest`).
"""

import importlib.util
import os
import sys


def load_package(folder):
    """Import remuda_pytest from its own folder without leaving that folder on `sys.path`."""
    path = os.path.join(folder, "remuda_pytest")
    spec = importlib.util.spec_from_file_location(
        "remuda_pytest", os.path.join(path, "__init__.py"), submodule_search_locations=[path]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["remuda_pytest"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    load_package(here)
    from remuda_pytest import loader

    sys.exit(loader.main(here))
