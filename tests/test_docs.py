"""All Python in the documentation runs, pasted as a reader would paste it; its commands name what there is.

The blocks of one document go together, in a directory of their own:

- a block that begins with ``# name.py`` is that file; it is run as a program, or, if it is a ``test_`` file, by pytest;
- the other blocks are entered one after the other where ``exq`` is imported and ``await`` may be used, as in a
  notebook.  Nothing is set but ``EXQ_URL``, which names a server that is empty.

All of it runs within this process, since to start an interpreter takes longer than most blocks; but for pytest.
"""

from __future__ import annotations

import ast
import gc
import inspect
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from click.testing import CliRunner

import exq_anyio
from exq_anyio.cli.main import exq
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing.flush import flush

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
DOCUMENTS = [str(path.relative_to(ROOT)) for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")))]


@attrs.frozen
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is, None when it is none."""
        named = re.match(r"# (\S+\.py)\n", self.text)
        return named and named[1]


def blocks(document: str, language: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(document, text.count("\n", 0, found.start()) + 2, language, found[1])
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


PROGRAMS = [name for name in DOCUMENTS if any(block.file for block in blocks(name, "python"))]
NOTEBOOKS = [name for name in DOCUMENTS if any(not block.file for block in blocks(name, "python"))]


@pytest.fixture
def place(tmp_path: Path, valkey: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of a reader with a server, where the files of a document are."""
    for name in [name for name in os.environ if name.startswith(("EXQ_", "PYTEST_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EXQ_URL", valkey.url)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loaded = set(sys.modules)
    yield tmp_path
    flush(valkey.socket, "")
    for name in set(sys.modules) - loaded:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write_files(document: str, place: Path) -> list[str]:
    """Write the blocks that are files; their names."""
    files = {block.file: block.text for block in blocks(document, "python") if block.file}
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return list(files)


@pytest.mark.parametrize("document", PROGRAMS)
def test_the_programs_of_a_document_run(document: str, place: Path) -> None:
    for file in write_files(document, place):
        if not Path(file).name.startswith("test_"):
            runpy.run_path(str(place / file), run_name="__main__")
            gc.collect()  # another program would not know its workers


@pytest.mark.parametrize("document", PROGRAMS)
def test_the_tests_of_a_document_pass(document: str, place: Path) -> None:
    tests = [file for file in write_files(document, place) if Path(file).name.startswith("test_")]
    if tests:
        without = ("cacheprovider", "hypothesispytest", "faker")  # these take longer to load than the tests take
        options = ["-q", *(f"-pno:{plugin}" for plugin in without)]
        command = [sys.executable, "-W", "error", "-m", "pytest", *options, *tests]
        ended = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(place)}, capture_output=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stdout.decode()


@pytest.mark.parametrize("document", NOTEBOOKS)
async def test_what_a_document_has_one_enter_works(document: str, place: Path) -> None:
    write_files(document, place)
    names: dict[str, Any] = {"__name__": "__main__", "exq": exq_anyio, "anyio": anyio}
    with anyio.fail_after(30):
        for block in blocks(document, "python"):
            if block.file is None:
                # Empty lines before it, so that a traceback shows the line of the document.
                text = "\n" * (block.line - 1) + block.text
                code = compile(text, document, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
                entered = eval(code, names)
                if inspect.iscoroutine(entered):
                    await entered


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name, "sh")])
def test_the_commands_of_a_document_have_the_options_that_it_gives_them(document: str) -> None:
    lines = [line for block in blocks(document, "sh") for line in block.text.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]  # a variable of this command alone
        if words and words[0] == "exq":
            # --help ends it after the options before were read.
            result = CliRunner().invoke(exq, [*words[1:], "--help"])
            assert result.exit_code == 0, f"{line}: {result.output}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_links_of_a_document_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    assert {target for target in targets if not ((ROOT / document).parent / target).exists()} == set()


def test_the_readme_begins_with_two_commands_of_one_line_each() -> None:
    first, second = blocks("README.md", "sh")[:2]
    assert first.text.count("\n") == second.text.count("\n") == 1
    assert first.text.endswith("exq demo\n")
    assert "pytest" in second.text


def test_the_example_of_the_readme_has_twenty_lines() -> None:
    example = blocks("README.md", "python")[0].text.splitlines()[1:]
    assert len([line for line in example if line]) <= 20
