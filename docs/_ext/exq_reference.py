"""What the reference is made of: settings from ``Config``, commands from ``exq``, examples from their files."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import click
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from exq_anyio.cli.main import SECTIONS
from exq_anyio.config import Config, RedisOptions, SentinelOptions
from exq_anyio.group import QueueGroup
from exq_anyio.load import _CODE_ONLY

EXAMPLES = Path(__file__).parents[2] / "examples"

SETTINGS = {
    "Config": Config,
    "RedisOptions": RedisOptions,
    "SentinelOptions": SentinelOptions,
    "QueueGroup": QueueGroup,
}

BELOW = re.compile(r"see :class:`(Redis|Sentinel)Options`")

DEFAULT = re.compile(r"attr_dict\['(\w+)'\]\.default")

LANGUAGES = {".py": "python", ".rb": "ruby", ".md": "markdown"}


class Made(SphinxDirective):
    """A directive whose text is made here, in reStructuredText."""

    def run(self) -> list[nodes.Node]:
        """See Directive."""
        lines = StringList("\n".join(self.lines()).splitlines(), source=f"<{self.name}>")
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(lines, 0, node, match_titles=True)
        return node.children

    def lines(self) -> Iterator[str]:
        """The text."""
        raise NotImplementedError


class Settings(Made):
    """``.. exq-settings:: Config`` with the names of fields: these, or all that none before it names."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"prefix": directives.unchanged}

    def lines(self) -> Iterator[str]:
        """See Made."""
        which = self.arguments[0]
        docs = ModuleAnalyzer.for_module(SETTINGS[which].__module__).find_attr_docs()
        fields = attrs.fields_dict(SETTINGS[which])
        names = " ".join(self.content).split()
        told = self.env.temp_data.setdefault("exq_settings", set())
        names = names or [name for name in fields if (which, name) not in told]
        told |= {(which, name) for name in names}
        for name in names:
            field = fields[name]
            yield f".. _{which.lower()}-{name.replace('_', '-')}:"
            yield ""
            yield f"**{self.options.get('prefix', '')}{name}** = ``{shown(field.default)}``"
            for line in docs[which, name]:
                yield f"    {BELOW.sub('see below', line)}"
            yield f"    {_limits(field)}{_variable(name) if which == 'Config' else ''}"
            yield ""


def shown(default: Any) -> str:
    """A default, as one would write it."""
    if default is attrs.NOTHING:
        return "(must be given)"
    if isinstance(default, frozenset):
        return repr(next(iter(default))) if len(default) == 1 else repr(set(default))
    if isinstance(default, tuple):
        return repr([getattr(part, "name", part) for part in default])
    if isinstance(default, float) and default != math.inf:
        return f"{default:,}".removesuffix(".0").replace(",", "_")
    if isinstance(default, RedisOptions):
        return "{}"
    return f"{default:_}" if type(default) is int and default >= 10_000 else repr(default)


def _limits(field: attrs.Attribute[Any]) -> str:
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if low is None:
        return ""
    unit = f" {field.metadata['unit']}" if field.metadata.get("unit") else ""
    return f"At least {low:,}{unit}. " if high == math.inf else f"From {low:,} to {high:,}{unit}. "


def _variable(name: str) -> str:
    if name in _CODE_ONLY:
        return "Code only: no variable, and no file, can say it."
    return f"Variable: ``EXQ_{name.upper()}``."


class Names(Made):
    """``.. exq-names:: module``: the public names that the page does not show otherwise; *made* ones without a call."""

    required_arguments = 1
    option_spec: ClassVar = {"called": directives.unchanged}

    def lines(self) -> Iterator[str]:
        """See Made."""
        module = importlib.import_module(self.arguments[0])
        page = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        told = {line.split("::")[1].strip(" ()") for line in page.splitlines() if line.startswith(".. auto")}
        told |= {"Middleware", "__version__"}
        yield from (f".. currentmodule:: {module.__name__}", "")
        for name in module.__all__:
            public = getattr(module, name)
            if name in told or getattr(public, "__module__", "") == "exq_anyio.errors":
                continue
            kind = "class" if inspect.isclass(public) else "function" if inspect.isroutine(public) else "data"
            made = kind == "class" and "called" in self.options and name not in self.options["called"].split()
            yield f".. auto{kind}:: {name}{'()' if made else ''}"
            yield from ([":members:".rjust(13), ""] if kind == "class" else [""])


class Commands(Made):
    """``.. exq-commands::``: what each command of ``exq`` says of itself."""

    def lines(self) -> Iterator[str]:
        """See Made."""
        for section, commands in SECTIONS.items():
            yield from (section, "-" * len(section), "")
            for command in commands:
                title = f"``exq {command.name}``"
                yield from (title, "^" * len(title), "", ".. code-block:: text", "")
                context = click.Context(command, info_name=f"exq {command.name}", max_content_width=90)
                context.terminal_width = 90
                for line in command.get_help(context).splitlines():
                    yield f"    {line}"
                yield ""


class Examples(Made):
    """``.. exq-examples::``: every example, with what it says of itself."""

    def lines(self) -> Iterator[str]:
        """See Made."""
        single = sorted(EXAMPLES.glob("*.py"))
        folders = sorted(path for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__")
        for path in single:
            yield from self.example(path.stem, [path])
        for folder in folders:
            files = [path for path in sorted(folder.rglob("*")) if path.suffix in LANGUAGES and path.read_text()]
            yield from self.example(folder.name, sorted(files, key=_first))

    def example(self, name: str, files: list[Path]) -> Iterator[str]:
        """One program."""
        yield from (name, "-" * len(name), "")
        for path in files:
            self.env.note_dependency(str(path))
            yield from (f".. literalinclude:: /../examples/{path.relative_to(EXAMPLES)}",)
            yield f"    :language: {LANGUAGES[path.suffix]}"
            yield f"    :caption: {path.relative_to(EXAMPLES.parent)}"
            yield ""


def _first(path: Path) -> tuple[bool, bool, str]:
    """Tests last, and packages' ``__init__`` not before what matters."""
    return path.name.startswith("test"), path.name == "__init__.py", str(path)


def write_defaults(
    app: Any, what: str, name: str, found: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write the defaults of attrs classes into their signatures, where autodoc finds the code that attrs made."""
    if signature and what == "class" and attrs.has(found):
        fields = attrs.fields_dict(found)
        signature = DEFAULT.sub(lambda default: shown(fields[default[1]].default), signature).replace("NOTHING", "...")
    return signature, returned


def setup(app: Any) -> dict[str, bool]:
    """See Sphinx."""
    app.add_directive("exq-settings", Settings)
    app.add_directive("exq-names", Names)
    app.add_directive("exq-commands", Commands)
    app.add_directive("exq-examples", Examples)
    app.connect("autodoc-process-signature", write_defaults)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
