"""A private redis-server, a client of a few lines, and an ear on what others say to the server."""

import collections
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

SERVERS = ("redis-server", "valkey-server")


def server_program():
    for name in (os.environ.get("REMUDA_REDIS_SERVER"), *SERVERS):
        found = name and shutil.which(name)
        if found:
            return found
    raise FileNotFoundError("no redis-server or valkey-server found: run `make setup`")


class Client:
    """One connection. Answers are bytes, integers, lists or None."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.reader = self.socket.makefile("rb")
        self.address = "%s:%d" % self.socket.getsockname()

    def __call__(self, *words):
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self.socket.sendall(b"".join(parts))
        return self.answer()

    def answer(self):
        line = self.reader.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.reader.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.answer() for _ in range(int(rest))]
        return rest

    def info(self, section):
        lines = self("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def close(self):
        self.reader.close()
        self.socket.close()


class Server:
    """A server of our own on a free port of the loopback, empty, gone with the `with` block."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="remuda-bench-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [server_program(), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        command += ["--maxmemory-policy", "noeviction", "--dir", self.folder.name, "--logfile", "redis.log"]
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client = Client(self.port)
                return self
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self.child.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.02)

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.folder.cleanup()

    def used_memory(self):
        """Bytes, once the connections of those who wrote have gone."""
        deadline = time.monotonic() + 5
        while int(self.client.info("clients")["connected_clients"]) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        return int(self.client.info("memory")["used_memory"])

    def alone(self):
        """Whether nobody but us is connected."""
        return int(self.client.info("clients")["connected_clients"]) == 1


class Ear(threading.Thread):
    """Counts what clients send, by command, from MONITOR: what scripts call is marked as such and left out, and so
    is what we send ourselves."""

    LINE = re.compile(rb'^\+[\d.]+ \[\d+ (\S+)\] "([^"]+)"')

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connection = Client(server.port)
        self.ours = {server.client.address.encode(), self.connection.address.encode()}
        self.sent = collections.Counter()
        self.by_scripts = 0
        self.connection("MONITOR")
        self.start()

    def run(self):
        try:
            for line in self.connection.reader:
                found = self.LINE.match(line)
                if not found:
                    continue
                if found[1] == b"lua":
                    self.by_scripts += 1
                elif found[1] not in self.ours:
                    self.sent[found[2].decode().lower()] += 1
        except (OSError, ValueError):
            pass

    def close(self):
        """The counts, when nothing has come for a moment."""
        before = -1
        while before != sum(self.sent.values()) + self.by_scripts:
            before = sum(self.sent.values()) + self.by_scripts
            time.sleep(0.3)
        self.connection.socket.shutdown(socket.SHUT_RDWR)
        self.join(5)
        return self.sent
