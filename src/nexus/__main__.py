"""`python -m nexus` is the command line."""

from nexus.entry.cli import main

main()
