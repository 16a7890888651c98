"""Empties what a test has used of a Valkey, without an event loop and a client."""

from __future__ import annotations

import socket

SCRIPT = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end"
"""For a server of our own, of which nobody else expects an answer meanwhile."""


def flush(path: str, prefix: str) -> None:
    """Remove all keys that begin with *prefix*, a plain word, from the server with the socket *path*."""
    words = ("EVAL", SCRIPT, "0", f"{prefix}*")
    command = "".join([f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)])
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(command.encode())
        answer = client.recv(1024)
    if not answer.startswith(b"$-1"):
        raise RuntimeError(f"the keys of a test cannot be removed: {answer.decode('utf-8', 'replace')}")
