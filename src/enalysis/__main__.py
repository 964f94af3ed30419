"""Runs the command line as `python -m enalysis`."""

import sys

from enalysis.cli.app import main

sys.exit(main())
