"""`python -m amtsbote.admin`."""

import sys

from amtsbote.admin.cli import main

if __name__ == "__main__":
    sys.exit(main())
