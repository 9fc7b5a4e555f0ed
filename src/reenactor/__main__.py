"""`python -m reenactor`."""

import sys

from reenactor.cli.main import main

sys.exit(main())
