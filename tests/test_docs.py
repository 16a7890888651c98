"""All Python in the documentation runs, pasted as a reader would paste it; its commands name what there is.

The blocks of one document go together, in a directory of their own:

- a block that begins with ``# name.py`` is that file; it is run as a program, or, if it is a ``test_`` file, by pytest;
- the other blocks are entered one after the other where ``exq`` is imported and ``await`` may be used, as in a
  notebook.  Nothing is set but ``EXQ_URL``, which names a server of the document's own.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import attrs
import pytest
from click.testing import CliRunner

from exq_anyio.cli.main import exq
from exq_anyio.redis.embedded import private_directory, start_server

ROOT = Path(__file__).parent.parent
DOCUMENTS = [str(path.relative_to(ROOT)) for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")))]

# Reads a document's blocks from its arguments: pairs of a place, as it is to be named in a traceback, and a file.
NOTEBOOK = """
import ast, inspect, sys, anyio
import exq_anyio as exq

async def main():
    names = {"__name__": "__main__", "exq": exq, "anyio": anyio}
    for place, file in zip(sys.argv[2::2], sys.argv[3::2]):
        code = compile(open(file).read(), place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        entered = eval(code, names)
        if inspect.iscoroutine(entered):
            await entered

anyio.run(main, backend=sys.argv[1])
"""


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


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a reader with a server."""
    with private_directory() as directory:
        server = start_server(directory)
        try:
            inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EXQ_", "PYTEST_"))}
            yield {**inherited, "EXQ_URL": server.url, "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "error"}
        finally:
            server.stop()


async def run(command: list[str], directory: Path, environ: dict[str, str]) -> None:
    with anyio.fail_after(60):
        ended = await anyio.run_process(
            command, cwd=directory, env=environ, check=False, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    assert ended.returncode == 0, ended.stdout.decode()


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name, "python")])
async def test_the_python_of_a_document_runs(
    document: str, tmp_path: Path, environ: dict[str, str], anyio_backend: str
) -> None:
    entered: list[str] = []
    for block in blocks(document, "python"):
        place = f"{document}:{block.line}"
        if block.file is None:
            # Empty lines before it, so that a traceback shows the line of the document.
            file = tmp_path / f"block{block.line}.txt"
            file.write_text("\n" * (block.line - 1) + block.text)
            entered += [place, str(file)]
            continue
        (tmp_path / block.file).write_text(block.text)
        program = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if block.file.startswith("test_") else []
        await run([sys.executable, *program, block.file], tmp_path, environ)
    if entered:
        await run([sys.executable, "-c", NOTEBOOK, anyio_backend, *entered], tmp_path, environ)


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name, "sh")])
def test_the_commands_of_a_document_have_the_options_that_it_gives_them(document: str) -> None:
    lines = [line for block in blocks(document, "sh") for line in block.text.splitlines()]
    for line in lines:
        words = shlex.split(line)
        if words[0] == "exq":
            # --help ends it after the options before were read.
            result = CliRunner().invoke(exq, [*words[1:], "--help"])
            assert result.exit_code == 0, f"{line}: {result.output}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_links_of_a_document_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = {target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target}
    assert {target for target in targets if not ((ROOT / document).parent / target).exists()} == set()


def test_the_readme_begins_with_two_commands_of_one_line_each() -> None:
    first, second = blocks("README.md", "sh")[:2]
    assert first.text.count("\n") == second.text.count("\n") == 1
    assert first.text.endswith("exq demo\n")
    assert "pytest" in second.text


def test_the_example_of_the_readme_has_twenty_lines() -> None:
    example = blocks("README.md", "python")[0].text.splitlines()[1:]
    assert len([line for line in example if line]) <= 20
