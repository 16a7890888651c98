"""What the operator says to those who work."""

from __future__ import annotations

from .operator import Namespace, Typed, jid, lines


def signals(there: Namespace, node: str) -> list[str]:
    """What was sent to a node, the latest first."""
    return list(there.client.lrange(f"{there.name}:{node}-signals", 0, -1))


def test_a_running_job_is_cancelled(typed: Typed, there: Namespace) -> None:
    there.node("web-1#1")
    there.node("web-2#1")
    there.runs("web-1#1", 8)
    status, out, err = typed("cancel", jid(8), "--yes")
    assert (status, out, err) == (0, f"cancelled: {jid(8)}, on web-1#1\n", "")
    assert signals(there, "web-1#1") == signals(there, "web-2#1") == [f"CANCEL {jid(8)}"]
    assert lines(typed("cancel", jid(8), "--yes", "--json")[1]) == [
        {"action": "cancelled", "jid": jid(8), "nodes": ["web-1#1", "web-2#1"], "running_on": ["web-1#1"]}
    ]


def test_a_job_that_nobody_says_to_run_may_have_just_begun(typed: Typed, there: Namespace) -> None:
    there.node("web-1#1")
    status, out, err = typed("cancel", "nosuch", "--yes")
    assert (status, out) == (3, "")
    assert err == "exq: no node says that it runs 'nosuch'; 1 node was told, in case it has just begun\n"
    assert signals(there, "web-1#1") == ["CANCEL nosuch"]


def test_nodes_are_made_quiet_and_stopped(typed: Typed, there: Namespace) -> None:
    there.node("web-1#1")
    there.node("web-2#1")
    assert typed("quiet", "web-1#1") == (0, "made quiet: web-1#1\n", "")
    assert typed("stop", "--all", "--yes")[:2] == (0, "told to stop: web-1#1\ntold to stop: web-2#1\n")
    assert (signals(there, "web-1#1"), signals(there, "web-2#1")) == (["TERM", "TSTP"], ["TERM"])
    assert lines(typed("quiet", "--all", "--json")[1])[0] == {"action": "made quiet", "node_id": "web-1#1"}


def test_a_node_that_is_gone_is_status_3(typed: Typed, there: Namespace) -> None:
    there.node("web-1#1")
    status, out, err = typed("stop", "web-9#1", "web-1#1", "--yes")
    assert (status, out) == (3, "told to stop: web-1#1\n")
    assert err == "exq: there is no node 'web-9#1'; exq nodes shows those that are\n"


def test_without_nodes_there_is_nobody_to_tell(typed: Typed) -> None:
    assert typed("quiet", "--all") == (3, "", "exq: there are no nodes: nobody works on the queues\n")


def test_which_nodes_has_to_be_said(typed: Typed, there: Namespace) -> None:
    there.node("web-1#1")
    for arguments in (["quiet"], ["quiet", "--all", "web-1#1"], ["stop"], ["stop", "--yes"]):
        status, _, err = typed(*arguments)
        assert status == 2
        assert "name NODEs, or say --all" in err
    assert signals(there, "web-1#1") == []


def test_a_queue_is_paused_and_resumed(typed: Typed, there: Namespace) -> None:
    there.node("web-1#1")
    there.queue("mail", there.job(1))
    assert typed("pause", "mail")[:2] == (0, "paused: mail; 1 node was told\n")
    assert list(there.client.smembers(f"{there.name}:paused")) == ["mail"]
    assert lines(typed("resume", "mail", "--json")[1]) == [{"action": "resumed", "queue": "mail", "nodes": ["web-1#1"]}]
    assert not there.client.smembers(f"{there.name}:paused")


def test_a_queue_that_nobody_has_pushed_to_is_paused_with_force(typed: Typed, there: Namespace) -> None:
    status, out, err = typed("pause", "mial")
    assert (status, out) == (3, "")
    assert err == "exq: there is no queue 'mial'; exq queues shows those that are\n"
    assert not there.client.smembers(f"{there.name}:paused")
    assert typed("pause", "mial", "--force")[0] == 0
    assert typed("resume", "mial")[0] == 0


def test_a_name_that_no_queue_can_have_is_one_line(typed: Typed) -> None:
    for command in ("pause", "jobs", "queues"):
        status, out, err = typed(command, "a\nb")
        assert (status, out) == (1, "")
        assert err == "exq: queue 'a\\nb': must not hold control characters\n"
