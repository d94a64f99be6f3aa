"""Links out of docs/, to sources and examples: the site carries the files, as text, and a link to what is not there fails.

A link to a folder of the repository is kept as words: a site has no page for it.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+)([^)#\s]+)(?:#[^)]*)?\)")
OWN = {"README.md": "index.md"}
"""What the site has a page of its own for."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.docs_dir).parent
    for page in list(files.documentation_pages()):
        out = "../" * (page.src_uri.count("/") + 1)
        for path in dict.fromkeys(path for _, up, path in LINK.findall(page.content_string) if up == out):
            there = root / path
            if not there.exists():
                raise PluginError(f"{page.src_uri}: there is no {out}{path}")
            if there.is_file() and path not in OWN and not files.get_file_from_path(f"source/{path}.txt"):
                files.append(File.generated(config, f"source/{path}.txt", content=there.read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    back = "../" * page.file.src_uri.count("/")

    def inside(link: re.Match[str]) -> str:
        words, up, path = link.groups()
        if up != f"{back}../":
            return link[0]
        target = OWN.get(path) or f"source/{path}.txt"
        return f"[{words}]({back}{target})" if files.get_file_from_path(target) else words

    return LINK.sub(inside, markdown)
