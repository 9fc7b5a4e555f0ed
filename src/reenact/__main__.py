"""`python -m reenact`."""

import sys

from reenact.cli.main import main

sys.exit(main())
