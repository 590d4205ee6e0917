"""mkdocs hooks: add the generated pages and fill the generated parts of written ones (see _build.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import _build
from mkdocs.structure.files import File


def on_config(config: Any) -> Any:
    """The navigation lists what the registry holds."""
    config.nav = _build.navigation()
    return config


def on_files(files: Any, config: Any) -> Any:
    """Generated pages join the written ones."""
    for place, text in _build.pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Generated parts of written pages."""
    return _build.fill(markdown, up="../" * page.file.src_uri.count("/"))
