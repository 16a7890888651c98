"""Who is compared: each peer, what is installed for it, and how its worker is started for speed and for crash safety.

"Speed" is the fastest that its own documentation offers for jobs that do nothing, with the durability that it has then;
"safe" are those of its settings that bring the jobs of a killed worker back soonest.  ``peers/NAME.py`` has the rest.
"""

import pathlib
import sys

import attrs

VENVS = pathlib.Path(__file__).parent.parent / ".nox" / "peers"
"""Where each peer has a venv of its own."""


@attrs.frozen
class Setting:
    """One way to run a peer."""

    says: str
    """What is set, for the reader of the table."""
    jobs: int
    """No-op jobs in one measurement: what takes it two or three seconds."""
    worker: tuple[str, ...]
    """Command of its worker; the first word is a program of its venv."""
    pause: float = 0.02
    """Seconds between two jobs that are sent to an idle worker, more than it takes for one."""
    environment: dict[str, str] = attrs.field(factory=dict)
    """What is set beside ``BENCH_...``."""


@attrs.frozen
class Peer:
    """One library."""

    packages: tuple[str, ...]
    """What is installed for it; the first is the library."""
    settings: dict[str, Setting]
    """By name: ``speed`` and ``safe``, or with a backend: ``speed, trio``."""
    module: str = ""
    """Its module in ``benchmarks.peers``, where that is not its own name."""
    processes: tuple[int, ...] = (1,)
    """With how many worker processes it is measured."""


def _exq(backend: str) -> tuple[str, ...]:
    run = ("exq", "run", "benchmarks.peers.exq_anyio", "--concurrency", "100", "--log-level", "warning")
    return (*run, "--backend", backend)


_ARQ = ("arq", "benchmarks.peers.arq.WorkerSettings")
_SAQ = ("saq", "--quiet", "benchmarks.peers.saq.settings")
_STREAQ = ("streaq", "run", "benchmarks.peers.streaq:worker")
_TASKIQ = ("taskiq", "worker", "--workers", "1", "--log-level", "WARNING", "benchmarks.peers.taskiq:broker")
_DRAMATIQ = ("dramatiq", "--processes", "1", "--skip-logging", "--threads")
_CELERY = ("celery", "--app", "benchmarks.peers.celery", "--quiet", "worker", "--loglevel", "WARNING")
_ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat")
_TRIO = {"BENCH_BACKEND": "trio"}

OURS = Peer(
    ("exq-anyio",),
    {
        "safe, uvloop": Setting("all defaults, 100 at a time", 60_000, _exq("asyncio")),
        "safe, trio": Setting("all defaults, 100 at a time", 40_000, _exq("trio")),
    },
    processes=(1, 2),
)

PEERS = {
    "exq_anyio": OURS,
    "streaq": Peer(
        ("streaq", "uvloop", "trio"),
        {
            "speed, uvloop": Setting("100 at a time, no results kept", 6_000, _STREAQ),
            "speed, trio": Setting("the same on Trio", 5_000, _STREAQ, environment=_TRIO),
            "safe, uvloop": Setting("idle_timeout 5 s", 6_000, _STREAQ),
            "safe, trio": Setting("the same on Trio", 5_000, _STREAQ, environment=_TRIO),
        },
    ),
    "arq": Peer(
        ("arq", "uvloop", "hiredis"),
        {
            "speed": Setting("100 at a time, polls every 10 ms, no results kept", 8_000, _ARQ),
            "safe": Setting("the same, job_timeout 2 s", 8_000, _ARQ),
        },
    ),
    "saq": Peer(
        ("saq[redis,hiredis]", "uvloop", "typing-extensions"),
        {
            "speed": Setting("100 at a time, no results kept", 8_000, _SAQ),
            "safe": Setting("the same, sweep and timeout 5 s, 10 retries", 8_000, _SAQ),
        },
    ),
    "taskiq": Peer(
        ("taskiq", "taskiq-redis", "uvloop", "hiredis"),
        {
            "speed": Setting("streams, acknowledged when received", 15_000, (*_TASKIQ, "--ack-type", "when_received")),
            "safe": Setting(
                "streams, acknowledged when executed, idle_timeout 5 s",
                15_000,
                (*_TASKIQ, "--ack-type", "when_executed"),
            ),
        },
        processes=(1, 2),
    ),
    "pydocket": Peer(
        ("pydocket", "uvloop", "hiredis"),
        {
            "speed": Setting(
                "100 at a time, checks every 2 ms", 10_000, ("python", "-m", "benchmarks.peers.docket", "work")
            ),
            "safe": Setting(
                "the same, redelivery_timeout 5 s", 10_000, ("python", "-m", "benchmarks.peers.docket", "work")
            ),
        },
        module="docket",
    ),
    "dramatiq": Peer(
        ("dramatiq[redis]", "hiredis"),
        {
            "speed": Setting("8 threads (its default)", 12_000, (*_DRAMATIQ, "8", "benchmarks.peers.dramatiq")),
            "safe": Setting(
                "heartbeat_timeout 5 s, maintenance in one of ten commands",
                12_000,
                (*_DRAMATIQ, "8", "benchmarks.peers.dramatiq"),
            ),
        },
        processes=(1, 2),
    ),
    "huey": Peer(
        ("huey", "redis", "hiredis"),
        {
            "speed": Setting(
                "10 threads, no results kept; nothing guards against a crash",
                10_000,
                ("huey_consumer", "benchmarks.peers.huey.huey", "--workers", "10", "--quiet"),
            )
        },
        processes=(1, 2),
    ),
    "rq": Peer(
        ("rq", "hiredis"),
        {
            "speed": Setting(
                "SimpleWorker, which does not fork",
                800,
                ("rq", "worker", "--quiet", "--worker-class", "rq.SimpleWorker"),
                0.1,
            ),
            "safe": Setting("a fork for each job", 150, ("rq", "worker", "--quiet"), 0.2),
        },
    ),
    "celery": Peer(
        ("celery[redis,gevent]", "hiredis"),
        {
            "speed": Setting(
                "gevent, 100 at a time, prefetch 10 each, no results, gossip, mingle or heartbeat",
                4_000,
                (*_CELERY, *_ALONE, "--pool", "gevent", "--concurrency", "100"),
            ),
            "safe": Setting(
                "prefork of one, acks_late, reject_on_worker_lost, prefetch 1, visibility_timeout 5 s",
                3_000,
                (*_CELERY, "--pool", "prefork", "--concurrency", "1"),
            ),
        },
    ),
}
"""Everybody who is compared, ours first."""


def program(peer: str, name: str) -> str:
    """The path of a program for *peer*: in its venv, or for ours in the one that we run in."""
    bin_ = pathlib.Path(sys.executable).parent if PEERS[peer] is OURS else VENVS / peer / "bin"
    return str(bin_ / name)


def is_installed(peer: str) -> bool:
    """Whether *peer* has its venv."""
    return pathlib.Path(program(peer, "python")).exists()
