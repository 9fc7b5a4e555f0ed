"""The web app: a page for people, on their own computer."""

from reenact.serve.web.server import serve_web
from reenact.serve.web.settings import WebSettings

__all__ = ["WebSettings", "serve_web"]
