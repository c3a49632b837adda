"""Remuda's pytest runner: collect once, fork a runner for each slot, stream the results.

The contract is docs/runner-protocol.md. Who does what, from the outside in:

    loader.py    makes the process look like `pytest`, starts the session, tells how it ended
    plugin.py    the hooks through which pytest calls us, before and after the fork
    host.py      the wait for the daemon: forks runners, forwards how they end
    slot.py      what the host knows of one monitor and its runner
    manifest.py  collected items -> manifest entries
    options.py   what the command line asked of xdist and of Remuda; keeps xdist itself from starting
    safety.py    notices what forbids forking (slot variables or roles read, threads, sockets)
    monitor.py   the process between loader and runner: nothing a test started outlives its runner
    worker.py    turns a fork of the loader into what xdist calls a worker
    runner.py    the queue of one slot: runs tests, reports each before the next one starts
    outcome.py   reports of pytest -> one result message
    replay.py    reports that the loader's own plugins want (junitxml, html, cache, durations)
    upstream.py  without forks: the first loader as controller of one loader per slot
    wire.py      frames, descriptors

Standard library and pytest only; Python 3.8 and pytest 7 are the oldest that must work.
"""

VERSION = "0.1.0"
