"""`python -m amtsbote.cli`."""

import sys

from amtsbote.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
