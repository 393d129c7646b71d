"""The page's files, by the names under which a browser asks for them."""

from __future__ import annotations

from importlib.resources import files

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

ASK = "ask.js"
"""The module that asks the model: of a server, or in the browser itself."""

SERVER_ONLY = ("api.html", "api.js", "ask_server.js")
"""Those that are of no use without a server."""


def served() -> dict[str, bytes]:
    """The page as the server hands it out."""
    found = _folder("page")
    return {ASK: found.pop("ask_server.js"), **found}


def exported() -> dict[str, bytes]:
    """The page without a server, which lacks model and runtime: see `browser/ask_browser.js`."""
    found = {name: content for name, content in _folder("page").items() if name not in SERVER_ONLY}
    own = _folder("browser")
    return {ASK: own.pop("ask_browser.js"), **found, **own}


def _folder(name: str) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (files(__package__) / name).iterdir() if each.is_file()}
