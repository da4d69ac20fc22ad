"""``python -m ctdenoise``."""

import sys

from ctdenoise.cli import main

sys.exit(main())
