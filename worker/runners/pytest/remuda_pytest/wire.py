"""Frames on a socket: 4-byte big-endian length, then JSON; descriptors travel by SCM_RIGHTS.

Knows nothing of pytest. Text that is not valid Unicode is replaced before it is sent, never escaped.
"""

import _socket
import array
import collections
import json
import os
import socket
import struct

LENGTH = struct.Struct(">I")
LARGEST_FRAME = 1 << 30
CHUNK = 1 << 16
# Linux; Python has no name for it before 3.13.
MSG_CMSG_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def frame(message):
    body = encode(message).encode("utf-8", "replace")
    return LENGTH.pack(len(body)) + body


def send(connection, message):
    connection.sendall(frame(message))

# Suites that forbid sockets replace socket.socket; ours were there first.
Socket = socket.socket


class Reader:
    """Decodes frames from a connected stream socket and keeps the descriptors that came with them."""

    def __init__(self, connection):
        self.connection = connection
        self.buffer = bytearray()
        self.descriptors = collections.deque()
        self.closed = False

    def receive(self, block):
        """Read what is there (with `block`: at least once) and return the complete messages."""
        messages = []
        while not self.closed:
            flags = 0 if block and not messages else socket.MSG_DONTWAIT
            if not self._fill(flags):
                break
            messages.extend(self._decode())
        return messages

    def _fill(self, flags):
        space = socket.CMSG_SPACE(16 * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self.connection.recvmsg(CHUNK, space, flags | MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except ConnectionError:
            data, ancillary = b"", []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self.descriptors.extend(numbers)
        if not data:
            self.closed = True
            return False
        self.buffer += data
        return True

    def _decode(self):
        messages = []
        start = 0
        while len(self.buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self.buffer, start)
            if length > LARGEST_FRAME:
                raise ValueError("a frame of %d bytes: the stream is out of step" % length)
            end = start + LENGTH.size + length
            if len(self.buffer) < end:
                break
            messages.append(json.loads(self.buffer[start + LENGTH.size : end].decode("utf-8")))
            start = end
        del self.buffer[:start]
        return messages


def connect_descriptor(number):
    """The connected socket behind an inherited descriptor, which no child may inherit again."""
    connection = Socket(fileno=int(number))
    # The suite may have called socket.setdefaulttimeout.
    connection.settimeout(None)
    os.set_inheritable(connection.fileno(), False)
    return connection


def pair():
    return tuple(connect_descriptor(end.detach()) for end in _socket.socketpair())
