"""The web app: a page for people, on their own computer."""

from reenactor.server.page.server import serve_web
from reenactor.server.page.settings import WebSettings

__all__ = ["WebSettings", "serve_web"]
