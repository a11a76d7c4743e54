"""Let `python -m ctp` be the command line."""

from ctp.cli import main

main()
