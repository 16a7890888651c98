"""The map in ARCHITECTURE.md is the truth: every file is on it, and imports point up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "exq_anyio"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def floors() -> list[tuple[str, list[str]]]:
    """The lines of the map: the name of the directory (empty for none), and the names on the line."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    lines = text.partition("## Map")[2].partition("```\n")[2].partition("```")[0].splitlines()
    directory, found = "", []
    for line in lines:
        names = re.findall(r"[\w/]+(?:\.py|/)(?= |$)", re.split(r" {2,}", line.strip())[0])
        if not line.startswith(" "):
            directory = names[0] if names[0].endswith("/") else ""
        found.append((directory, [name for name in names if name != directory]))
    return found


FLOOR = {directory + name: number for number, (directory, names) in enumerate(floors()) for name in names}


def imported(file: str) -> Iterator[str]:
    """What *file* imports: files of this package, and names of other packages."""
    folder = (PACKAGE / file).parent
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = folder.joinpath(*[".."] * (node.level - 1), *(node.module or "").split(".")).resolve()
            for alias in node.names:
                module = next(
                    path
                    for path in (base / f"{alias.name}.py", base.with_suffix(".py"), base / "__init__.py")
                    if path.exists()
                )
                yield module.relative_to(PACKAGE).as_posix()


def test_every_file_is_on_the_map_and_the_map_names_no_other() -> None:
    ours = [file for file in FILES if file == "__init__.py" or not file.endswith("__init__.py")]
    assert sorted(name for name in FLOOR if name.endswith(".py")) == ours
    assert [name for name in FLOOR if name.endswith("/") and not (PACKAGE / name).is_dir()] == []


def test_the_map_is_read_as_it_stands() -> None:
    assert FLOOR["errors.py"] == 0
    assert FLOOR["errors.py"] < FLOOR["redis/keys.py"] < FLOOR["node/node.py"] < FLOOR["app.py"] < FLOOR["__init__.py"]


@pytest.mark.parametrize("file", FILES)
def test_imports_point_up_the_map(file: str) -> None:
    directory = file.rpartition("/")[0]
    here = FLOOR.get(file, -1)
    below = [
        name
        for name in imported(file)
        # Within a directory the files are one floor; a command may ask the package for its version.
        if name in FLOOR and FLOOR[name] > here and not (directory and name.startswith(f"{directory}/"))
        if not (file.startswith("cli/") and name == "__init__.py")
    ]
    assert below == []


@pytest.mark.parametrize("file", FILES)
def test_redis_and_node_do_not_know_each_other(file: str) -> None:
    other = {"redis": "node/", "node": "redis/"}.get(file.partition("/")[0])
    assert [name for name in imported(file) if other and name.startswith(other)] == []


@pytest.mark.parametrize("file", FILES)
def test_only_redis_imports_coredis_and_nobody_the_package_by_its_own_name(file: str) -> None:
    names = {name.partition(".")[0] for name in imported(file)}
    assert (
        names & ({"exq_anyio"} if file.startswith("redis/") else {"exq_anyio", "coredis", "redis", "valkey"}) == set()
    )


@pytest.mark.parametrize("file", FILES)
def test_only_app_and_the_command_line_know_both_redis_and_node(file: str) -> None:
    both = [part for part in ("redis/", "node/") if any(name.startswith(part) for name in imported(file))]
    assert len(both) < 2 or file == "app.py" or file.startswith("cli/")


def test_the_pure_part_has_no_clock_no_chance_and_no_io() -> None:
    # What its files may still do: read settings (load.py), import workers by name (worker.py), make a jid (job.py).
    pure = [name for name in FLOOR if "/" not in name and FLOOR[name] <= FLOOR["worker.py"]]
    forbidden = {"time", "random", "socket", "subprocess", "anyio", "asyncio", "trio"}
    assert {name: found for name in pure if (found := forbidden & set(imported(name)))} == {"middleware.py": {"time"}}


SCRIPTS = sorted(path.stem for path in (PACKAGE / "redis" / "lua").glob("*.lua"))


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "head"])
def test_a_script_says_what_it_does_and_what_it_is_given(script: str) -> None:
    lines = (PACKAGE / "redis" / "lua" / f"{script}.lua").read_text(encoding="utf-8").splitlines()
    header = lines[: next(at for at, line in enumerate(lines) if not line.startswith("--"))]
    body = "\n".join(lines[len(header) :])
    assert re.match(r"-- [A-Z]", header[0])
    given = "\n".join(header)
    assert {name for name in ("KEYS", "ARGV") if name in body} <= set(re.findall(r"KEYS|ARGV", given))


def test_a_script_is_given_every_key_that_it_touches() -> None:
    # A key that is put together in Lua is one that a cluster, a proxy or an ACL does not know of.
    call = re.compile(r"redis\.p?call\('(\w+)',\s*([^,)]+)")
    local = {"key", "queue", "backup"}
    touched = {
        (script, place)
        for script in SCRIPTS
        for command, place in call.findall((PACKAGE / "redis" / "lua" / f"{script}.lua").read_text(encoding="utf-8"))
        if not place.startswith("KEYS[") and place not in local and command != "TIME"
    }
    assert touched == set()
