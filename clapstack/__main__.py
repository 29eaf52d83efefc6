"""``python -m clapstack`` is the ``clapstack`` command."""

from clapstack.cli import main

main()
