"""The ``clapstack`` command."""

from clapstack.cli._app import app, main

__all__ = ["app", "main"]
