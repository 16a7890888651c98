from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exq_anyio.address import Address, Cluster, Embedded, Sentinel, Tcp, Unix, mask, parse_url, redact
from exq_anyio.config import Config, QueueConfig, RedisOptions
from exq_anyio.errors import ConfigError, InvalidQueue
from exq_anyio.load import load_config
from exq_anyio.setting import check_node_identifier, check_queue_name

SECRET = "hunter2"


def loaded(environ: Mapping[str, str] | None = None, **settings: object) -> Config:
    return load_config(settings, environ=environ or {})


def from_environ(**environ: str) -> Config:
    return load_config(environ=environ)


def refusal(make: Callable[..., object], *args: object, **kwargs: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        make(*args, **kwargs)
    assert str(caught.value).startswith(f"{caught.value.key}: ")
    return caught.value


# Defaults


def test_the_defaults_are_those_of_the_reference() -> None:
    assert attrs.asdict(Config(), recurse=False) == {
        "name": "exq",
        "url": None,
        "host": "127.0.0.1",
        "port": 6379,
        "database": 0,
        "username": None,
        "password": None,
        "redis_options": RedisOptions(),
        "namespace": "exq",
        "queues": (QueueConfig("default"),),
        "groups": (),
        "concurrency": 100,
        "total_concurrency": math.inf,
        "poll_timeout": 5.0,
        "scheduler_enable": True,
        "scheduler_poll_timeout": 1.0,
        "max_retries": 25,
        "backoff": None,
        "dead_max_jobs": 10_000,
        "dead_timeout_in_seconds": 180 * 86400.0,
        "resque_queues": frozenset(),
        "mode": frozenset({"default"}),
        "shutdown_timeout": 5.0,
        "heartbeat_enable": True,
        "heartbeat_interval": 5.0,
        "missed_heartbeats_allowed": 5,
        "foreign_dead_after": 360.0,
        "max_rescues": 3,
        "blocked_limit": 60.0,
        "node_identifier": None,
        "middleware": None,
        "client_middleware": (),
        "listeners": (),
        "threads": 100,
        "queue_adapter": None,
        "workers": None,
        "imports": (),
        "resources": (),
        "periodic": (),
        "timestamps": "seconds",
        "max_payload_bytes": 1_048_576,
        "max_read_bytes": 16 * 1024 * 1024,
        "max_waiting_queues": 64,
    }


def test_nothing_given_and_nothing_in_the_environment_means_the_defaults() -> None:
    assert load_config(environ={}) == load_config({}, environ={}) == Config()


def test_the_process_environment_is_read_when_none_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXQ_PORT", "7000")
    assert load_config().port == 7000


def test_a_node_is_dead_after_one_beat_more_than_it_may_miss() -> None:
    assert Config(heartbeat_interval=2.0, missed_heartbeats_allowed=4).node_limit == 10.0


def test_a_config_is_hashable_and_survives_evolve() -> None:
    config = Config(queues={"mail": 3}, mode="api", redis_options={"sentinel": {"sentinels": [["h", 1]], "group": "g"}})
    assert attrs.evolve(config) == config
    assert hash(attrs.evolve(config)) == hash(config)


# Wrong values


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "", "must not be empty"),
        ("name", "a\nb", "control characters"),
        ("name", None, "text, not None"),
        ("url", 7, "text, not int"),
        ("url", b"redis://h", "text, not bytes"),
        ("host", "", "host"),
        ("host", "redis://h", "a URL in url"),
        ("host", "h:6379", "a port belongs in port"),
        ("port", 0, "from 1 to 65,535, not 0"),
        ("port", 65536, "from 1 to 65,535, not 65536"),
        ("port", "six", "whole number, not 'six'"),
        ("port", 6379.0, "whole number, not float"),
        ("port", True, "whole number, not bool"),
        ("database", -1, "from 0 to"),
        ("username", 7, "text, not int"),
        ("password", 7, "text, not int"),
        ("redis_options", 7, "mapping, not int"),
        ("redis_options", "{", "JSON object"),
        ("redis_options", "[]", "mapping, not list"),
        ("namespace", "exq:", 'must not end with ":"; leave it out'),
        ("namespace", "a\x00", "control characters"),
        ("namespace", "x" * 256, "at most 255 bytes"),
        ("queues", 7, "list, not int"),
        ("queues", [7], "list of names or of (name, concurrency), not of int"),
        ("queues", [""], "must not be empty"),
        ("queues", ["a", ("a", 3)], "'a' is named twice"),
        ("queues", {"mail": 0}, "concurrency of 'mail' must be 1 or more"),
        ("queues", {"mail": "ten"}, "concurrency of 'mail' must be a whole number"),
        ("queues", {"mail": True}, "'mail' must have a concurrency or a dequeuer, not bool"),
        ("queues", {"mail": {"limit": 3}}, "'mail' must have a concurrency or a dequeuer, not dict"),
        ("queues", "a:b", "concurrency of 'a'"),
        ("concurrency", 0, '1 or more, or inf ("infinite"), not 0'),
        ("concurrency", -math.inf, "whole number"),
        ("concurrency", math.nan, "whole number"),
        ("concurrency", 1.5, "whole number"),
        ("concurrency", "many", "whole number, not 'many'"),
        ("poll_timeout", 0, "from 0.01 to 3,600 seconds, not 0.0"),
        ("poll_timeout", math.nan, "from 0.01 to 3,600 seconds, not nan"),
        ("poll_timeout", "soon", "number of seconds, not 'soon'"),
        ("poll_timeout", True, "number of seconds or a timedelta, not bool"),
        ("poll_timeout", timedelta(hours=2), "from 0.01 to 3,600 seconds, not 7200.0"),
        ("scheduler_enable", 1, "true or false"),
        ("scheduler_enable", "maybe", "true or false"),
        ("scheduler_poll_timeout", math.inf, "from 0.01 to 3,600 seconds"),
        ("max_retries", -1, "0 or more, not -1"),
        ("backoff", 15, "callable, or a name (module:name), not int"),
        ("dead_max_jobs", -1, "0 or more, not -1"),
        ("dead_timeout_in_seconds", 0, "1 or more seconds"),
        ("mode", "enqeuer", "not 'enqeuer'"),
        ("mode", [], "at least one"),
        ("mode", [["api"]], '"default", "enqueuer" and "api"'),
        ("shutdown_timeout", -1, "from 0 to 86,400 seconds"),
        ("heartbeat_interval", 60, "from 0.01 to 30 seconds"),
        ("missed_heartbeats_allowed", 0, "from 1 to 10,000"),
        ("foreign_dead_after", 0, "0.01 or more seconds"),
        ("max_rescues", 0, "from 1 to"),
        ("blocked_limit", None, "seconds or a timedelta, not None"),
        ("node_identifier", "", "must not be empty"),
        ("node_identifier", "web#1", '"#"'),
        ("node_identifier", "a::b", '"::"'),
        ("node_identifier", "a\tb", "control characters"),
        ("node_identifier", 7, "text, not int"),
        ("middleware", ["x"], "list of callables, or of names (module:name); 'x' is none"),
        ("middleware", 7, "list, not int"),
        ("workers", {"a": 1}, "list, not dict"),
        ("imports", [7], "text, not int"),
        ("resque_queues", ["a\n"], "control characters"),
        ("resque_queues", 7, "list, not int"),
        ("timestamps", "minutes", "'seconds' or 'milliseconds', not 'minutes'"),
        ("max_payload_bytes", 0, "from 1 to 536,870,912"),
        ("max_read_bytes", 1000, "not be less than max_payload_bytes, 1,048,576"),
        ("max_waiting_queues", -1, "from 0 to 10,000"),
    ],
)
def test_a_wrong_value_is_refused_by_name_with_what_is_allowed(key: str, value: object, says: str) -> None:
    error = refusal(loaded, **{key: value})
    assert error.key == key
    assert says in error.problem


def test_each_setting_that_is_checked_is_refused_by_name_for_a_value_of_no_use() -> None:
    unchecked = {"queue_adapter"}
    for key in attrs.fields_dict(Config).keys() - unchecked:
        assert refusal(loaded, **{key: {"of": ["no use"]}}).key.startswith(key)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("queue", "queues"),
        ("poll-timeout", "poll_timeout"),
        ("pasword", "password"),
        ("heartbeat_intervall", "heartbeat_interval"),
    ],
)
def test_a_misspelt_key_is_refused_with_a_suggestion(given: str, meant: str) -> None:
    for error in (refusal(loaded, **{given: "x"}), refusal(load_config, None, environ={}, **{given: "x"})):
        assert error.key == given
        assert error.problem == f"is no setting; did you mean {meant!r}?"


def test_a_key_that_resembles_nothing_is_refused_without_a_suggestion() -> None:
    assert str(refusal(loaded, zzzz=1)) == "zzzz: is no setting"


def test_a_key_that_is_no_text_is_refused() -> None:
    mapping: Mapping[Any, object] = {1: 2}
    assert refusal(load_config, mapping).key == "1"


def test_something_that_is_no_config_is_refused() -> None:
    nothing: Any = ["redis://h"]
    assert refusal(load_config, nothing).key == "config"


# Forms of values


@pytest.mark.parametrize("value", [2.5, "2.5", timedelta(seconds=2.5)])
def test_a_duration_is_kept_as_seconds(value: float | str | timedelta) -> None:
    assert Config(poll_timeout=value).poll_timeout == 2.5


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", "Yes"])
def test_words_for_true_are_true(text: str) -> None:
    assert from_environ(EXQ_SCHEDULER_ENABLE=text).scheduler_enable is True


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "False", "OFF"])
def test_words_for_false_are_false(text: str) -> None:
    assert from_environ(EXQ_HEARTBEAT_ENABLE=text).heartbeat_enable is False


@pytest.mark.parametrize("value", [math.inf, "inf", "infinite", "infinity", "Infinity"])
def test_concurrency_may_have_no_limit(value: float | str) -> None:
    assert Config(concurrency=value).concurrency == math.inf


def test_queues_are_a_list_of_names() -> None:
    assert Config(queues=["b", "a"]).queues == (QueueConfig("b"), QueueConfig("a"))


def test_queues_are_pairs_of_name_and_concurrency() -> None:
    assert Config(queues=[("b", 10), "a"]).queues == (QueueConfig("b", 10), QueueConfig("a"))
    assert loaded(queues=[["b", "inf"]]).queues == (QueueConfig("b", math.inf),)


def test_queues_are_a_mapping_to_concurrency_or_dequeuer() -> None:
    dequeuer = object()
    assert Config(queues={"a": 1, "b": dequeuer, "c": None, "d": QueueConfig("d", 4)}).queues == (
        QueueConfig("a", 1),
        QueueConfig("b", dequeuer=dequeuer),
        QueueConfig("c"),
        QueueConfig("d", 4),
    )


def test_queues_as_text_are_separated_by_commas() -> None:
    assert Config(queues="mail:10, default,a:b:inf").queues == (
        QueueConfig("mail", 10),
        QueueConfig("default"),
        QueueConfig("a:b", math.inf),
    )


def test_there_may_be_no_queues_yet() -> None:
    assert Config(queues=[]).queues == ()


def test_a_queue_by_itself_names_its_setting_too() -> None:
    assert refusal(QueueConfig, "a", 0).key == "queues.concurrency"
    assert refusal(QueueConfig, " ").key == "queues.name"


@pytest.mark.parametrize(
    ("value", "modes"),
    [("api", {"api"}), ("api,enqueuer", {"api", "enqueuer"}), (["default"], {"default"}), ({"api"}, {"api"})],
)
def test_a_mode_is_one_or_several(value: str | list[str] | set[str], modes: set[str]) -> None:
    assert Config(mode=value).mode == modes


def test_middleware_and_workers_and_imports_become_tuples() -> None:
    config = Config(middleware=[print], workers=[math, "app.jobs"], imports=["a", "b"])
    assert (config.middleware, config.workers, config.imports) == ((print,), (math, "app.jobs"), ("a", "b"))


def test_no_middleware_is_not_the_default_middleware() -> None:
    assert Config(middleware=[]).middleware == ()


def test_the_namespace_may_be_empty() -> None:
    assert Config(namespace="").namespace == ""


def test_a_node_identifier_may_be_a_function() -> None:
    assert Config(node_identifier=lambda: "web").node_identifier is not None


def test_what_a_node_identifier_function_returns_can_be_checked() -> None:
    assert check_node_identifier("web-1.example:a") == "web-1.example:a"
    assert refusal(check_node_identifier, "web#1").key == "node_identifier"


# Queue names


@pytest.mark.parametrize("name", ["default", "a b", "a:b", "a::b", "größe", "{tag}:mail", "x" * 255, "backup"])
def test_a_queue_name_is_any_line_of_text(name: str) -> None:
    assert check_queue_name(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        (" \u3000", "empty"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "UTF-8"),
        ("ä" * 128, "at most 255 bytes long, not 256"),
        ("backup::web#1::mail", 'begin with "backup::"'),
        (b"mail", "text, not bytes"),
        (None, "text, not None"),
        (["mail"], "text, not list"),
    ],
)
def test_a_queue_name_that_breaks_a_key_or_a_line_is_refused(name: object, says: str) -> None:
    for _ in range(2):  # a refusal is remembered no better than a name
        with pytest.raises(InvalidQueue, match="queue ") as caught:
            check_queue_name(name)
        assert says in caught.value.problem
        assert caught.value.queue == name


def test_a_queue_name_from_an_enum_becomes_plain_text() -> None:
    class Queue(StrEnum):
        MAIL = "enum-mail"

    assert type(check_queue_name(Queue.MAIL)) is str


# The environment


def test_each_setting_that_is_not_code_can_come_from_the_environment() -> None:
    config = from_environ(
        EXQ_NAME="shop",
        EXQ_HOST="h",
        EXQ_PORT="7000",
        EXQ_DATABASE="2",
        EXQ_USERNAME="u",
        EXQ_PASSWORD="p",
        EXQ_REDIS_OPTIONS='{"timeout": 9}',
        EXQ_NAMESPACE="ns",
        EXQ_QUEUES="mail:10,default",
        EXQ_CONCURRENCY="inf",
        EXQ_MODE="enqueuer,api",
        EXQ_MAX_RETRIES="3",
        EXQ_WORKERS="app.jobs",
        EXQ_IMPORTS="a.b, c",
        EXQ_TIMESTAMPS="milliseconds",
        EXQ_SHUTDOWN_TIMEOUT="30",
    )
    assert config == Config(
        name="shop",
        host="h",
        port=7000,
        database=2,
        username="u",
        password="p",
        redis_options={"timeout": 9},
        namespace="ns",
        queues={"mail": 10, "default": None},
        concurrency=math.inf,
        mode=["api", "enqueuer"],
        max_retries=3,
        workers=["app.jobs"],
        imports=["a.b", "c"],
        timestamps="milliseconds",
        shutdown_timeout=30,
    )


def test_an_error_from_the_environment_names_setting_and_variable() -> None:
    error = refusal(from_environ, EXQ_PORT="99999")
    assert (error.key, error.problem) == ("port", "must be from 1 to 65,535, not 99999 (from EXQ_PORT)")


def test_an_empty_variable_is_unset() -> None:
    assert from_environ(EXQ_URL="", EXQ_PORT="", EXQ_QUEUES="", EXQ_BACKOFF="") == Config()


def test_an_empty_namespace_variable_means_no_prefix() -> None:
    assert from_environ(EXQ_NAMESPACE="").namespace == ""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("EXQ_QUEUE", "EXQ_QUEUES"),
        ("EXQ_CONCURENCY", "EXQ_CONCURRENCY"),
        ("EXQ_url", "EXQ_URL"),
        ("exq_port", "EXQ_PORT"),
    ],
)
def test_a_misspelt_variable_is_refused_with_a_suggestion(given: str, meant: str) -> None:
    error = refusal(from_environ, **{given: "1"})
    assert (error.key, error.problem) == (given, f"is no setting; did you mean {meant}?")


def test_variables_that_are_no_settings_are_left_alone() -> None:
    assert from_environ(EXQ_LOG_LEVEL="debug", EXQ_LIVE_VIEW_SALT="x", PORT="7000") == Config()


def test_an_object_cannot_come_from_the_environment() -> None:
    error = refusal(from_environ, EXQ_QUEUE_ADAPTER="app:thing")
    assert error.key == "queue_adapter"
    assert "EXQ_QUEUE_ADAPTER" in error.problem


# {"env": ...}


def test_a_value_may_be_read_from_a_variable_at_any_depth() -> None:
    config = loaded(
        {"PW": "p", "SENTINEL_PW": "s", "N": "7"},
        password={"env": "PW"},
        queues={"mail": {"env": "N"}},
        redis_options={
            "sentinel": {"sentinels": [["h", {"env": "N"}]], "group": "g", "password": {"env": "SENTINEL_PW"}}
        },
    )
    assert config.queues == (QueueConfig("mail", 7),)
    assert config.address().place == Sentinel((("h", 7),), "g", password="s")
    assert config.password == "p"


def test_a_variable_that_is_not_set_or_empty_gives_way_to_the_default() -> None:
    assert loaded(port={"env": "P", "default": 7000}).port == 7000
    assert loaded({"P": ""}, port={"env": "P", "default": 7000}).port == 7000
    assert loaded({"P": "1"}, port={"env": "P", "default": 7000}).port == 1
    assert loaded(url={"env": "P", "default": None}).url is None


def test_an_empty_namespace_may_be_read_from_a_variable() -> None:
    assert loaded({"NS": ""}, namespace={"env": "NS", "default": "x"}).namespace == ""


def test_a_missing_variable_is_refused_with_its_name_and_its_setting() -> None:
    error = refusal(loaded, password={"env": "DB_PASSWORD"})
    assert error.key == "password"
    assert "DB_PASSWORD is not set" in error.problem


def test_a_missing_variable_deep_down_is_refused_with_its_path() -> None:
    error = refusal(loaded, redis_options={"sentinel": {"password": {"env": "X"}}})
    assert error.key == "redis_options.sentinel.password"


def test_a_bad_value_of_a_variable_is_refused_with_its_name() -> None:
    assert "from P)" in refusal(loaded, {"P": "x"}, port={"env": "P"}).problem


def test_a_config_made_directly_says_where_references_belong() -> None:
    reference: Any = {"env": "X"}
    error = refusal(Config, password=reference)
    assert error.key == "password"
    assert "load_config" in error.problem


# Precedence


def test_keywords_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "exq.toml"
    file.write_text('name = "file"\nnamespace = "file"\nmode = "api"\nqueues = {mail = 10, low = "inf"}\n')
    config = load_config(file, environ={"EXQ_NAME": "env", "EXQ_NAMESPACE": "env"}, name="keyword")
    assert (config.name, config.namespace, config.mode) == ("keyword", "env", frozenset({"api"}))
    assert config.queues == (QueueConfig("mail", 10), QueueConfig("low", math.inf))


def test_a_mapping_is_complete_by_itself() -> None:
    assert load_config({"port": 1}, environ={"EXQ_HOST": "h", "EXQ_QUEUE": "misspelt"}) == Config(port=1)


def test_a_config_is_complete_by_itself_but_for_keywords() -> None:
    config = Config(port=1, queues=["a"])
    assert load_config(config, environ={"EXQ_PORT": "2"}) == config
    assert load_config(config, environ={}, port=3) == Config(port=3, queues=["a"])


def test_a_keyword_may_be_a_reference() -> None:
    assert load_config(Config(), environ={"P": "7"}, port={"env": "P"}).port == 7


def test_a_host_keyword_beats_the_url_of_the_environment() -> None:
    assert load_config(environ={"EXQ_URL": "redis://a:1"}, host="b").address().place == Tcp("b", 6379)
    assert load_config(Config(url="redis://a"), port=2).address().place == Tcp("127.0.0.1", 2)


def test_a_url_keyword_beats_the_host_of_the_environment() -> None:
    assert load_config(environ={"EXQ_HOST": "b"}, url="redis://a:1").address().place == Tcp("a", 1)


# Files


def test_pyproject_keeps_the_settings_under_tool_exq(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[project]\nname = 'x'\n[tool.exq]\nport = {env = 'P', default = 7}\n")
    assert load_config(str(file), environ={}).port == 7


@pytest.mark.parametrize("text", ["", "tool = 1", "[tool]\nexq = 1"])
def test_a_pyproject_without_the_table_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(text)
    assert "no table [tool.exq]" in refusal(load_config, file, environ={}).problem


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    error = refusal(load_config, tmp_path / "exq.toml", environ={})
    assert error.key == "config"
    assert f"{tmp_path / 'exq.toml'} cannot be read: No such file" in error.problem


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "exq.toml"
    file.write_text("port = 1\nhost = \n")
    assert "line 2" in refusal(load_config, file, environ={}).problem


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "exq.toml"
    file.write_bytes(b"name = '\xff'")
    assert "is not TOML" in refusal(load_config, file, environ={}).problem


def test_an_error_from_a_file_names_the_setting_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "exq.toml"
    file.write_text("[redis_options]\ntimeout = 0\n")
    error = refusal(load_config, file, environ={})
    assert error.key == "redis_options.timeout"
    assert error.problem.endswith("not 0.0 (from exq.toml)")


def test_a_misspelt_key_in_a_file_is_refused_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "exq.toml"
    file.write_text("prot = 1\n")
    assert str(refusal(load_config, file, environ={})) == "prot: is no setting; did you mean 'port'? (from exq.toml)"


def test_a_url_in_place_of_a_path_is_refused_and_not_repeated() -> None:
    error = refusal(load_config, f"redis://:{SECRET}@h", environ={})
    assert "url=" in error.problem
    assert SECRET not in str(error)


# Where Redis is


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address(place=Tcp("h", 6379))),
        ("REDIS://h", Address(place=Tcp("h", 6379))),
        ("valkey://h:1/2", Address(place=Tcp("h", 1), database=2)),
        ("redis://h/?db=2", Address(place=Tcp("h", 6379), database=2)),
        ("rediss://h", Address(place=Tcp("h", 6379), tls=True)),
        ("valkeys://h", Address(place=Tcp("h", 6379), tls=True)),
        ("redis://:p@h", Address(place=Tcp("h", 6379), password="p")),
        ("redis://u:p@h", Address(place=Tcp("h", 6379), username="u", password="p")),
        ("redis://u@h", Address(place=Tcp("h", 6379), username="u")),
        ("redis://:p%40%2F%3a:%25@h", Address(place=Tcp("h", 6379), password="p@/::%")),
        ("redis://:p@w@h", Address(place=Tcp("h", 6379), password="p@w")),
        ("redis://[::1]:1/0", Address(place=Tcp("::1", 1))),
        ("redis://[fe80::1]", Address(place=Tcp("fe80::1", 6379))),
        ("unix:///run/redis.sock?db=1", Address(place=Unix("/run/redis.sock"), database=1)),
        ("redis+unix://u:p@/run/a%20b", Address(place=Unix("/run/a b"), username="u", password="p")),
        ("embedded://", Address(place=Embedded(""))),
        ("embedded:///abs/dir", Address(place=Embedded("/abs/dir"))),
        ("embedded://rel/a%20b@c?d#e", Address(place=Embedded("rel/a%20b@c?d#e"))),
        (
            "redis+sentinel://u:p@a,b:2,[::1]:3/my%2Fgroup/4",
            Address(
                place=Sentinel((("a", 26379), ("b", 2), ("::1", 3)), "my/group"),
                username="u",
                password="p",
                database=4,
            ),
        ),
        ("rediss+sentinel://a/g", Address(place=Sentinel((("a", 26379),), "g"), tls=True)),
        ("redis+cluster://a,b:7001", Address(place=Cluster((("a", 6379), ("b", 7001))))),
    ],
)
def test_a_url_names_a_place(url: str, address: Address) -> None:
    assert Config(url=url, namespace="{exq}").address() == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"{SECRET}",
        f"{SECRET}@h",
        f":{SECRET}@h:6379",
        f"{SECRET}://h",
        f"http://:{SECRET}@h",
        f"redis:/:{SECRET}@h",
        f"redis://:{SECRET}",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@:6379",
        f"redis://:a/{SECRET}@h",
        f"redis://:a?{SECRET}@h",
        f"redis://:a#{SECRET}@h",
        f"redis://:{SECRET}%ff@h",
        f"redis://:{SECRET}\n@h",
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@h:0",
        f"redis://:{SECRET}@h:65536",
        f"redis://:{SECRET}@h:123456",
        f"redis://:{SECRET}@::1:6379",
        f"redis://:{SECRET}@[::1",
        f"redis://:{SECRET}@a,b",
        f"redis://:{SECRET}@h/-1",
        f"redis://:{SECRET}@h/mail",
        f"redis://:{SECRET}@h/1/2",
        f"redis://:{SECRET}@h/1?db=2",
        f"redis://:{SECRET}@h?db=",
        f"redis://h?password={SECRET}",
        f"redis://:{SECRET}@h?ssl_cert_reqs=none",
        f"unix://:{SECRET}@h/run/sock",
        f"unix://:{SECRET}@",
        f"unix:///run/{SECRET}%0a",
        "unix://relative.sock",
        f"redis+sentinel://:{SECRET}@h",
        f"redis+sentinel://:{SECRET}@h,/g",
        f"redis+sentinel://:{SECRET}@h/g%00",
        "embedded://a\0b",
    ],
)
def test_a_bad_url_is_refused_and_its_password_never_shown(url: str) -> None:
    for make in (parse_url, lambda text: loaded({"U": text}, url={"env": "U", "default": text})):
        if url == "" and make is not parse_url:
            continue  # empty text is no url at all
        error = refusal(make, url)
        assert error.key == "url"
        assert SECRET not in "".join(traceback.TracebackException.from_exception(error).format_exception_only())
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__
    assert SECRET not in redact(url)


def test_an_unreadable_url_in_a_file_does_not_show_its_password(tmp_path: Path) -> None:
    file = tmp_path / "exq.toml"
    file.write_text(f'url = "redis://:{SECRET}"\npasswrod = "{SECRET}"\n')
    assert SECRET not in str(refusal(load_config, file, environ={}))
    file.write_text(f'password = "{SECRET}\nport = 1\n')
    assert SECRET not in str(refusal(load_config, file, environ={}))


def test_a_url_beats_host_and_port() -> None:
    assert Config(url="redis://a:1", host="b", port=2).address().place == Tcp("a", 1)


def test_what_the_url_leaves_out_comes_from_the_fields() -> None:
    address = Config(url="redis://h", database=3, username="u", password="p").address()
    assert (address.database, address.username, address.password) == (3, "u", "p")


def test_what_the_url_says_beats_the_fields() -> None:
    address = Config(url="redis://v:q@h/0", database=3, username="u", password="p").address()
    assert (address.database, address.username, address.password) == (0, "v", "q")


def test_host_and_port_are_the_place_when_nothing_else_is() -> None:
    assert Config(host="[::1]", port=1, database=2).address() == Address(place=Tcp("::1", 1), database=2)


def test_an_embedded_server_has_no_password() -> None:
    assert Config(url="embedded://", password="p").address() == Address(place=Embedded(""))


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://[::1]:1/2",
        "unix:///a%20b?db=1",
        "embedded://",
        "embedded:///a b",
        "redis+sentinel://a:26379,b:1/g%2Fh/0",
        "rediss+cluster://a:1,[::2]:2",
    ],
)
def test_an_address_is_displayed_as_the_url_that_names_it(url: str) -> None:
    assert parse_url(url).display() == url


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_password_survives_its_way_through_a_url(password: str) -> None:
    assert parse_url(f"redis://:{quote(password, safe='')}@h").password == password


def shown(url: str) -> str:
    """All that a Config with this url, or its refusal, shows."""
    try:
        config = Config(url=url)
    except ConfigError as error:
        return f"{error} {error!r}"
    return f"{config!r} {config.address()!r} {config.address().display()}"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_no_text_around_a_password_makes_it_show(noise: str) -> None:
    for url in (f"redis://{noise}:{SECRET}@h{noise}", f"{noise}:{SECRET}@h", f"redis://:{SECRET}{noise}@h/{noise}"):
        assert SECRET not in shown(url)


@pytest.mark.parametrize(
    "config",
    [
        Config(password=SECRET),
        Config(url=f"redis://{SECRET}:{SECRET}@h"),
        Config(url=f"rediss://:a@{SECRET}@h"),
        Config(url=f"unix://u:{SECRET}@/s"),
        Config(url=f"redis+sentinel://u:{SECRET}@h/g"),
        Config(redis_options={"sentinel": {"sentinels": ["h"], "group": "g", "password": SECRET}}),
    ],
    ids=range(6),
)
def test_no_password_is_in_a_repr_or_on_display(config: Config) -> None:
    assert SECRET not in repr(config)
    assert "***" in repr(config)
    assert SECRET not in repr(config.address()) + config.address().display()


def test_a_repr_tells_whether_there_is_a_password() -> None:
    assert (mask(None), mask("x")) == ("None", "'***'")
    assert "password=None" in repr(Config())


def test_a_url_without_a_password_is_shown_as_it_is() -> None:
    assert redact("redis://h/1") == "redis://h/1"
    assert redact("embedded:///home/a@b") == "embedded:///home/a@b"


# redis_options


def test_sentinels_are_pairs_or_text() -> None:
    options = {"sentinel": {"sentinels": [["a", 1], ("::1", "2"), "c"], "group": "g", "username": "u", "password": "p"}}
    assert Config(redis_options=options, password="q").address() == Address(
        place=Sentinel((("a", 1), ("::1", 2), ("c", 26379)), "g", "u", "p"), password="q"
    )


def test_the_sentinels_password_goes_with_a_sentinel_url() -> None:
    config = Config(url="redis+sentinel://:q@a/g", redis_options={"sentinel": {"password": "p"}})
    assert config.address() == Address(place=Sentinel((("a", 26379),), "g", password="p"), password="q")


def test_tls_and_timeouts_come_from_the_options() -> None:
    options = {
        "tls": True,
        "ca_certs": "/ca",
        "certfile": "/cert",
        "keyfile": "/key",
        "check_hostname": False,
        "cert_reqs": "none",
        "connect_timeout": timedelta(seconds=1),
        "timeout": "3",
    }
    assert Config(redis_options=options).address() == Address(
        place=Tcp("127.0.0.1", 6379),
        tls=True,
        ca_certs="/ca",
        certfile="/cert",
        keyfile="/key",
        check_hostname=False,
        cert_reqs="none",
        connect_timeout=1.0,
        timeout=3.0,
    )


def test_a_unix_socket_may_be_an_option() -> None:
    assert Config(redis_options={"unix_socket_path": "/s"}).address().place == Unix("/s")


def test_a_cluster_is_found_through_one_host() -> None:
    assert loaded(redis_options={"cluster": True}, namespace="{exq}").address().place == Cluster((("127.0.0.1", 6379),))
    named = loaded(url="redis+cluster://a", redis_options={"cluster": "yes"}, namespace="x{y}z")
    assert named.address().place == Cluster((("a", 6379),))


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("redis_options.ssl", {"redis_options": {"ssl": True}}),
        ("redis_options.sentinel", {"redis_options": {"sentinel": 7}}),
        ("redis_options.sentinel.sentinel", {"redis_options": {"sentinel": {"sentinel": []}}}),
        ("redis_options.sentinel.sentinels", {"redis_options": {"sentinel": {"group": "g"}}}),
        ("redis_options.sentinel.sentinels", {"redis_options": {"sentinel": {"sentinels": ["a:b"]}}}),
        ("redis_options.sentinel.sentinels", {"redis_options": {"sentinel": {"sentinels": [["a"]]}}}),
        ("redis_options.sentinel.sentinels", {"redis_options": {"sentinel": {"sentinels": [["a", 0]]}}}),
        ("redis_options.sentinel.group", {"redis_options": {"sentinel": {"sentinels": ["a"]}}}),
        ("redis_options.sentinel", {"url": "redis://h", "redis_options": {"sentinel": {"password": "p"}}}),
        ("redis_options.sentinel", {"url": "redis+sentinel://h/g", "redis_options": {"sentinel": {"group": "g"}}}),
        ("redis_options.unix_socket_path", {"url": "redis://h", "redis_options": {"unix_socket_path": "/s"}}),
        ("redis_options.unix_socket_path", {"redis_options": {"unix_socket_path": "s"}}),
        ("redis_options.cluster", {"redis_options": {"cluster": "maybe"}}),
        ("redis_options.cluster", {"url": "unix:///s", "redis_options": {"cluster": True}}),
        ("redis_options.tls", {"url": "unix:///s", "redis_options": {"tls": True}}),
        ("redis_options.ca_certs", {"redis_options": {"ca_certs": "/ca"}}),
        ("redis_options.keyfile", {"url": "rediss://h", "redis_options": {"keyfile": "/key"}}),
        ("redis_options.cert_reqs", {"url": "rediss://h", "redis_options": {"cert_reqs": "maybe"}}),
        ("redis_options.cert_reqs", {"url": "rediss://h", "redis_options": {"cert_reqs": "none"}}),
        ("redis_options.connect_timeout", {"redis_options": {"connect_timeout": 0}}),
        ("redis_options.timeout", {"redis_options": {"timeout": "soon"}}),
        ("database", {"url": "redis+cluster://h", "database": 1, "namespace": "{exq}"}),
        ("namespace", {"url": "redis+cluster://h"}),
        ("namespace", {"url": "redis+cluster://h", "namespace": "{}exq"}),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(key: str, settings: dict[str, object]) -> None:
    assert refusal(loaded, **settings).key == key


def test_a_misspelt_option_is_refused_with_a_suggestion() -> None:
    assert (
        refusal(loaded, redis_options={"conect_timeout": 1}).problem == "is no setting; did you mean 'connect_timeout'?"
    )
