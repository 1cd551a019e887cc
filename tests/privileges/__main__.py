"""`PYTHONPATH=layers/amtsbote:. python -m tests.privileges` prints the table of docs/security.md."""

import logging
import sys
from contextlib import redirect_stdout
from io import StringIO

from tests.privileges.proof import table

logging.disable()
with redirect_stdout(StringIO()):  # where the functions write their metrics
    text = table()
sys.stdout.write(f"{text}\n")
