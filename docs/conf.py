"""The documentation: ``nox -s docs`` builds it, offline, with warnings as errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.ext.napoleon.docstring import GoogleDocstring

import exq_anyio

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "exq_anyio"
author = "the exq_anyio authors"
copyright = "the exq_anyio authors"  # noqa: A001  # the name is Sphinx's
release = version = exq_anyio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "exq_reference"]
exclude_patterns = ["_*"]
html_theme = "furo"
html_title = "exq_anyio"
html_static_path = ["_static"]
html_css_files = ["exq.css"]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["deflist", "fieldlist", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 100

# Types in signatures that nobody makes or asks for anything.
INSIDE = "P|R|T|JSON|Address|BoundWorker|HasApi|Keep|Keeper|Marker|Outgoing|Raw|ResourceMarker|Site|StandIn"

# A name of ours that is not documented is an error; those of others would need their sites, and so a network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!exq_anyio|exq\.).*"), ("py:.*", rf"exq_anyio\..*\.({INSIDE})")]

# The first line under a field is a sentence, which may have a colon; Napoleon would take what is before it for a type.
GoogleDocstring._parse_attribute_docstring = lambda self: self._dedent(self._consume_to_end())

ROOT = HERE.parent

# Pages that are files, or a section of one, beside this directory: a page here says which, and nothing else.
ELSEWHERE = {
    "README.md": "index",
    "README.md#what-is-promised": "start/promises",
    "ARCHITECTURE.md": "project/architecture",
    "CHANGELOG.md": "project/changelog",
    "CONTRIBUTING.md": "project/contributing",
    "SECURITY.md": "guides/security",
}


def text_of(source: str) -> str:
    """The text of a file, or of the section after ``#``."""
    file, _, anchor = source.partition("#")
    text = (ROOT / file).read_text(encoding="utf-8")
    if not anchor:
        return text
    title = anchor.replace("-", " ").capitalize()
    return f"# {title}\n" + text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def lead_home(text: str, place: Path) -> str:
    """*text* of a file in the directory *place*, with links to files turned into links to pages."""

    def page(link: re.Match[str]) -> str:
        target, _, anchor = link[2].partition("#")
        if "://" in target or not target or target.startswith("/"):
            return link[0]
        file = str((place / target).resolve().relative_to(ROOT))
        if (name := ELSEWHERE.get(f"{file}#{anchor}")) or (name := ELSEWHERE.get(file)):
            keep = f"#{anchor}" if anchor and file != "README.md" else ""
            return f"[{link[1]}](/{name}.md{keep})"
        if file.startswith("docs/"):
            return f"[{link[1]}](/{file.removeprefix('docs/')}{'#' + anchor if anchor else ''})"
        if file.startswith("examples"):
            return f"[{link[1]}](/start/examples.md)"
        return link[1]  # program text: named, and not led to

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", page, text)


def setup(app: Any) -> None:
    """See Sphinx."""
    guides = [f"guides/{path.stem}" for path in sorted(HERE.glob("guides/*.md"))]

    def read(app: Any, name: str, source: list[str]) -> None:
        elsewhere = next((file for file, page in ELSEWHERE.items() if page == name and name != "index"), None)
        if elsewhere is None:
            # Guides that the index does not name come last; a glob that finds none would be an error.
            others = [guide for guide in guides if f"{guide}\n" not in source[0]]
            source[0] = lead_home(source[0].replace("guides/*", "\n".join(others)), (HERE / name).parent)
        else:
            app.env.note_dependency(str(ROOT / elsewhere.partition("#")[0]))
            source[0] = lead_home(text_of(elsewhere), ROOT)

    app.connect("source-read", read)
