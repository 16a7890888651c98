"""The recorded states in ``tests/golden``: read as they stand, and put into a server again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import coredis
import msgspec

GOLDEN = Path(__file__).parent.parent / "golden"

Record = dict[str, Any]


@attrs.frozen
class Held:
    """What one key held."""

    kind: str
    """As the command TYPE says it."""
    seconds: float
    """Time to live; -1: for ever."""
    value: Any
    """str; list of str, the head first; set of str; dict of str; list of (member, score)."""


State = dict[str, Held]


def read(file: str) -> State:
    """The state in *file*, for example ``"sidekiq-8.1.7/07-fails.json"``."""
    text = (GOLDEN / file).read_text(encoding="utf-8")
    return _of_json(text) if file.endswith(".json") else dict(_of_text(text))


def _of_json(text: str) -> State:
    state: State = {}
    for key, held in json.loads(text).items():
        value = held["value"]
        if held["type"] == "zset":
            value = [(entry["member"], float(entry["score"])) for entry in value]
        state[key] = Held(held["type"], held["ttl"], set(value) if held["type"] == "set" else value)
    return state


def _of_text(text: str) -> Iterator[tuple[str, Held]]:
    # Not splitlines(): it would take U+2028 in a job for the end of its line.
    blocks = re.split(r"^KEY  ", text, flags=re.M)[1:]
    for block in blocks:
        head, *lines = block.split("\n")
        found = re.match(r"(.*?)   TYPE (\w+)  TTL (none|\d+ms)", head)
        assert found, head
        key, kind, ttl = found.groups()
        seconds = -1 if ttl == "none" else int(ttl.removesuffix("ms")) / 1000
        yield key, Held(kind, seconds, _value(kind, [line for line in lines if line]))


def _value(kind: str, lines: list[str]) -> Any:
    match kind:
        case "string":
            return lines[0].removeprefix("  = ")
        case "set":
            return {line.removeprefix("  - ") for line in lines}
        case "list":
            return [re.sub(r"^  \[\d+\] ", "", line) for line in lines[1:]]
        case "hash":
            pairs = (re.match(r"  \{(.*?)\} (.*)", line) for line in lines)
            return {pair[1]: pair[2] for pair in pairs if pair}
        case _:
            scores = [float(line.removeprefix("  score ")) for line in lines[::2]]
            return list(zip([line.strip() for line in lines[1::2]], scores, strict=True))


def payloads(state: State) -> list[str]:
    """Every job in *state*, wherever it is: queues, backup queues, sorted sets, busy lists."""
    found: list[str] = []
    for key, held in state.items():
        if held.kind == "list" and "queue:" in key:
            found += held.value
        elif held.kind == "zset" and key.rpartition(":")[2] in ("schedule", "retry", "dead"):
            found += [member for member, _ in held.value]
        elif held.kind == "hash" and key.rpartition(":")[2] in ("work", "workers"):
            found += [json.loads(entry)["payload"] for entry in held.value.values()]
    return found


def records(state: State) -> list[Record]:
    """The jobs in *state* that are JSON objects."""
    found = []
    for payload in payloads(state):
        try:
            found.append(msgspec.json.decode(payload))
        except msgspec.DecodeError:
            continue
    return found


async def load(redis: coredis.Redis[bytes], state: State) -> None:
    """Put *state* into the server, with its times to live."""
    for key, held in state.items():
        match held.kind:
            case "string":
                await redis.set(key, held.value)
            case "set":
                await redis.sadd(key, held.value)
            case "list":
                await redis.rpush(key, held.value)
            case "hash":
                await redis.hset(key, held.value)
            case _:
                # As text: the client would round to 15 digits.
                await redis.zadd(key, {member: repr(score) for member, score in held.value})  # type: ignore[misc]  # the score as text, to the last digit
        if held.seconds > 0:
            await redis.pexpire(key, int(held.seconds * 1000))


def shape(values: Iterable[Record]) -> dict[str, set[str]]:
    """The types that each field has in *values*; ``absent`` where one of them lacks it."""
    every = list(values)
    fields = {field for value in every for field in value}
    return {field: {type(value[field]).__name__ if field in value else "absent" for value in every} for field in fields}
