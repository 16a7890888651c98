"""A payload and its record: what is read, what is written back, and what is no job."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exq_anyio.errors import MalformedPayload
from exq_anyio.job import MAX_BACKTRACE, Job, encode, instant, pack_backtrace, seconds, stamp, unpack_backtrace

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(10**60), 10**60) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)
required = st.fixed_dictionaries({"class": texts.filter(bool), "args": st.lists(values, max_size=4)})
records = st.builds(lambda others, own: {**others, **own}, st.dictionaries(texts, values, max_size=8), required)

# Fields whose types we know, with whatever another program may have put there.
KNOWN = (
    "jid", "queue", "retry", "retry_count", "rescue_count", "snooze_count", "created_at", "enqueued_at", "failed_at",
    "retried_at", "error_class", "error_message", "error_backtrace", "tags", "meta", "timeout", "retry_for",
    "expires_in", "expiry", "unique_token", "unique_until", "rescued_at", "backtrace", "retry_queue",
)  # fmt: skip


def read(**fields: Any) -> Job:
    return Job.decode(encode({"class": "W", "args": [], **fields}))


# The law of the wire


@given(records, st.dictionaries(texts.filter(lambda name: name not in ("class", "args")), values, max_size=4))
def test_what_is_not_changed_is_written_back_as_it_was(record: dict[str, Any], changes: dict[str, Any]) -> None:
    job = Job.decode(json.dumps(record).encode(), "q")

    again = Job.decode(job.changed(**changes).payload, "q")

    assert again.record == {**record, **changes}
    # 1 and 1.0 are equal in Python, and are not the same to the program that wrote them.
    assert json.dumps(again.record) == json.dumps({**record, **changes})


@given(records)
def test_a_record_is_written_in_one_way_only(record: dict[str, Any]) -> None:
    once = encode(Job.decode(json.dumps(record).encode()).record)

    assert encode(Job.decode(once).record) == once


@pytest.mark.parametrize(
    "digits", ["1" + "0" * 4_299, "-" + "9" * 4_299, "18446744073709551616", "-9223372036854775809"]
)
def test_an_integer_of_any_length_that_python_reads_survives(digits: str) -> None:
    payload = f'{{"class":"W","args":[{digits}],"other":{{"deep":[{digits}]}}}}'.encode()

    assert Job.decode(payload).changed(jid="a").payload == payload[:-1] + b',"jid":"a"}'


# What is no job


@given(
    st.binary()
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
    | values.map(lambda value: json.dumps(value).encode())
    | records.flatmap(lambda record: st.integers(0, 40).map(lambda end: json.dumps(record).encode()[:-end]))
)
@example(b"")
@example(b"\xff")
@example(b'"\xff"')
@example(b'{"class":"W","args":["\xed\xa0\x80"]}')
@example(b'{"class":"W","args":["\\ud800"]}')
@example(b"1" * 5_000)
@example(b'{"class":"W","args":[1e999]}')
@example(b"[" * 100_000)
@example(b'{"class":"W","args":' + b'{"a":' * 5_000)
@example(b'{"class":"W","args":[' + b"[" * 5_000 + b"]" * 5_000 + b"]}")
@example(b'{"class":"W","args":[]}\x00')
@example(b"\xef\xbb\xbf" + b'{"class":"W","args":[]}')
def test_no_bytes_raise_anything_but_malformed_payload(payload: bytes) -> None:
    try:
        job = Job.decode(payload)
    except MalformedPayload:
        return
    assert isinstance(job.record, dict)
    assert job.payload == payload


@pytest.mark.parametrize(
    ("payload", "is_json", "reason"),
    [
        (b"{nonsense", False, "not JSON that can be read (DecodeError)"),
        (b'"\xff"', False, "not JSON that can be read (UnicodeDecodeError)"),
        (b"[1]", True, "JSON, but not an object"),
        (b"null", True, "JSON, but not an object"),
        (b'{"args":[]}', True, "the object names no worker under 'class'"),
        (b'{"class":"","args":[]}', True, "the object names no worker under 'class'"),
        (b'{"class":["W"],"args":[]}', True, "the object names no worker under 'class'"),
        (b'{"class":"W"}', True, "'args' is not an array"),
        (b'{"class":"W","args":{"a":1}}', True, "'args' is not an array"),
    ],
)
def test_what_is_no_job_is_told_with_the_reason(payload: bytes, is_json: bool, reason: str) -> None:
    with pytest.raises(MalformedPayload) as caught:
        Job.decode(payload, "q")

    assert (caught.value.is_json, caught.value.reason) == (is_json, reason)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KNOWN, values)))
@example({"created_at": 10**400, "timeout": 10**400, "retry": 10**400, "retry_count": 10**400})
@example({"failed_at": -(10**400), "expires_in": 10**400, "enqueued_at": 1.0, "retry_for": -1})
@example({"error_backtrace": base64.b64encode(zlib.compress(b"[" * 100_000)).decode()})
@example({"error_backtrace": base64.b64encode(zlib.compress(b'["\xff"]')).decode()})
@example({"error_backtrace": base64.b64encode(zlib.compress(b'["a"]' * 1_000_000)).decode()})
@example({"error_backtrace": "é"})
def test_whatever_a_field_holds_reading_it_raises_nothing(fields: dict[str, Any]) -> None:
    job = Job.decode(json.dumps({**fields, "class": "W", "args": []}).encode())

    for name, attribute in vars(Job).items():
        if isinstance(attribute, property):
            getattr(job, name)
    assert job.max_retries(25) >= 0
    assert repr(job) == f"<Job {job.jid} W queue={job.queue}>"


# What is read


def test_a_job_without_any_options_is_read_with_defaults() -> None:
    job = Job.decode(b'{"class":"W","args":[1]}')

    assert (job.worker, job.args, job.jid, job.queue) == ("W", [1], "", "default")
    assert (job.retry, job.max_retries(25), job.retry_count, job.attempt) == (None, 25, None, 1)
    assert (job.rescue_count, job.snooze_count, job.tags, job.meta) == (0, 0, [], {})
    assert (job.created_at, job.enqueued_at, job.failed_at, job.retried_at) == (None, None, None, None)
    assert (job.error_class, job.error_message, job.error_backtrace) == (None, None, None)
    assert (job.timeout, job.unique_token, job.unique_until) == (None, None, "success")


def test_the_list_that_a_job_came_from_wins_over_its_own_field() -> None:
    payload = encode({"class": "W", "args": [], "queue": "said"})

    assert Job.decode(payload, "found").queue == "found"
    assert Job.decode(payload).queue == "said"


@pytest.mark.parametrize(
    ("retry", "most"),
    [(True, 25), (None, 25), (False, 0), (0, 0), (3, 3), (-1, 0), ("3", 25), (2.0, 25), (10**30, 10**30)],
)
def test_retry_is_a_switch_or_a_number(retry: Any, most: int) -> None:
    assert read(retry=retry).max_retries(25) == most


@pytest.mark.parametrize(
    ("count", "attempt"), [(0, 2), (1, 3), (24, 26), (-1, 1), (-2, 1), ("0", 1), (1.5, 1), (True, 1)]
)
def test_the_attempt_counts_from_one(count: Any, attempt: int) -> None:
    assert read(retry_count=count).attempt == attempt


@pytest.mark.parametrize(
    ("written", "unix"),
    [
        (1795486709.4639063, 1795486709.4639063),  # Sidekiq up to 7, Exq
        (1795486894647, 1795486894.647),  # Sidekiq 8
        (1795486709, 1795486709.0),
        (0, 0.0),
        (1e11 - 1, 1e11 - 1),
        (1e11, 1e8),
        (1e14, None),
        (10**400, None),
        (-1, None),
        (-(10**400), None),
        (True, None),
        ("2026-11-24T02:12:54Z", None),
        (None, None),
    ],
)
def test_a_time_is_read_in_whichever_unit_it_was_written(written: Any, unix: float | None) -> None:
    assert seconds(written) == unix
    assert instant(written) == (None if unix is None else datetime.fromtimestamp(unix, UTC))


@given(st.floats(1e8, 9e10))
def test_a_time_that_we_write_is_read_again(now: float) -> None:
    assert seconds(stamp(now, "seconds")) == now
    in_milliseconds = stamp(now, "milliseconds")
    assert isinstance(in_milliseconds, int)
    assert seconds(in_milliseconds) == pytest.approx(now, abs=0.001, rel=0)


# Backtraces

# As Sidekiq 6.4 (with a line feed) and 8.1 wrote them.
SIDEKIQ_6 = (
    "eJw9zUEKwjAQQNGrSDbd2AwRKdiriGhSxzo26cSZhOrtpYJu3+L/o4GSMiygdMWJnm30ARaWCUWthH7nepo3l4xyY0mN2RqoKqB3LwhSw3vEpC3NBUfx"
    "hXgGHyOs+C92dm8dRAo/gSw8oCrLenCH7rvAFw614PnBoTGnDycqNf4=\n"
)
SIDEKIQ_8 = (
    "eJxtzE0OQDAQQOGrSDc2dMJG4yoiaI2k/qZmCMeXSFjZfnl5lYJ9CXCC+B4nv6VzZ+EknpBFsy3zrPRr1AbkgXiJVfLX9xjkA6MzXcDs7SsQmByKED/D"
    "3DxHvNAdOzYj2VjVN3nsLvk="
)


@pytest.mark.parametrize("packed", [SIDEKIQ_6, SIDEKIQ_8], ids=["6.4.1", "8.1.7"])
def test_a_backtrace_of_sidekiq_is_read(packed: str) -> None:
    lines = read(error_backtrace=packed).error_backtrace

    assert lines is not None
    assert len(lines) == 2
    assert all(":in " in line for line in lines)


@given(st.lists(st.text(), max_size=30))
def test_a_backtrace_that_we_pack_is_one_that_sidekiq_reads(lines: list[str]) -> None:
    packed = pack_backtrace(lines)

    said = [line.encode("utf-8", "replace").decode() for line in lines]
    assert json.loads(zlib.decompress(base64.b64decode(packed))) == said
    assert unpack_backtrace(packed) == said


def test_a_backtrace_is_cut_at_a_thousand_lines() -> None:
    lines = [str(number) for number in range(MAX_BACKTRACE + 1)]

    assert unpack_backtrace(pack_backtrace(lines)) == lines[:MAX_BACKTRACE]


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (["a.rb:1", 2, "b.rb:2"], ["a.rb:1", "b.rb:2"]),  # Sidekiq before 5 kept bare lines
        (pack_backtrace(["x"])[:8], None),
        ("no base64", None),
        (base64.b64encode(zlib.compress(b'{"a":1}')).decode(), None),
        (base64.b64encode(zlib.compress(b'["a",1]')).decode(), ["a"]),
        (7, None),
    ],
)
def test_a_backtrace_that_is_none_is_not_shown(written: Any, lines: list[str] | None) -> None:
    assert read(error_backtrace=written).error_backtrace == lines
