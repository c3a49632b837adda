"""A connection to a farm: its keys and its scripts, as docs/protocol.md §1 to §4 describe them.

What a script does with tasks is not known here; `tasks.py` and `submit.py` call them.
"""

import hashlib
import pathlib
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

BASE = ["base"]
TREE = BASE + ["records", "lanes", "terminal"]
CLAIMS = TREE + ["claims", "reap"]
HOT = CLAIMS + ["results", "choose"]
SCRIPTS = {  # name: (shared files, may run when memory is full)
    "hello": (BASE, True), "adopt": (BASE, True), "gc": (BASE, True), "report": (BASE, False),
    "open": (TREE, False), "add": (TREE, False), "seal": (TREE, True),
    "beat": (CLAIMS, True), "reap": (CLAIMS, True), "cancel": (CLAIMS, True), "resync": (CLAIMS, True),
    "log": (CLAIMS, False), "next": (HOT, True),
}
LUA = pathlib.Path(__file__).resolve().parents[2] / "store/src/scripts"
SCHEMA = 1

# The server is away or cannot serve now: the call may be made again, on another connection.
AWAY = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError, redis.ReadOnlyError)


class Farm:
    """One connection; `patience` is how long a call waits for a server that is away, in seconds."""

    def __init__(self, url, farm="default", patience=30.0):
        # a connection is never replaced behind our back: the first thing said on each is `hello`
        self.redis = redis.Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))
        self.prefix = "remuda:{%s}:" % farm
        self.patience = patience
        self.text = {name: script(name) for name in SCRIPTS}
        self.sha = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self.text.items()}
        self.hello()

    def hello(self):
        info = self.redis.info("everything")
        if int(info["redis_version"].split(".")[0]) < 7 and info.get("server_name") != "valkey":
            raise SystemExit("Redis 7.0 or newer is needed, or Valkey; this is %s" % info["redis_version"])
        if info["maxmemory_policy"] != "noeviction":
            raise SystemExit("maxmemory-policy is %s; set noeviction" % info["maxmemory_policy"])
        word, _, schema = self.once("hello", info["run_id"], SCHEMA)
        if word != "OK":
            raise SystemExit("the farm has schema %s, this program has %d" % (schema, SCHEMA))

    def key(self, *parts):
        return self.prefix + ":".join(map(str, parts))

    def once(self, name, *args):
        """One declared key, whatever the script touches."""
        try:
            return self.redis.evalsha(self.sha[name], 1, self.key("meta"), *args)
        except redis.exceptions.NoScriptError:
            self.redis.script_load(self.text[name])
            return self.redis.evalsha(self.sha[name], 1, self.key("meta"), *args)

    def call(self, name, *args):
        """Every script may be called again with the same arguments, so an outage is waited for."""
        until, away = time.monotonic() + self.patience, False
        while True:
            try:
                if away:
                    self.hello()
                return self.once(name, *args)
            except AWAY:
                self.redis.connection_pool.disconnect()
                if time.monotonic() > until:
                    raise
                away = True
                time.sleep(0.1)


def script(name):
    """A first line, the shared files, the body."""
    if not LUA.is_dir():
        raise SystemExit("the farm's scripts are not in %s; set LUA in farm.py to a folder with those of store/src/scripts" % LUA)
    shared, full = SCRIPTS[name]
    parts = ["#!lua flags=allow-oom\n" if full else "#!lua\n"]
    parts += [(LUA / "lib" / (lib + ".lua")).read_text() for lib in shared]
    return "".join(parts) + "\n" + (LUA / (name + ".lua")).read_text()
