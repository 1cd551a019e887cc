"""The operator's console: a web application on the operator's own machine, over the operations of the command line.

It adds nothing to the cloud. It runs from a checkout, so it finds the package where the checkout has it.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("amtsbote") is None:
    sys.path.append(str(Path(__file__).parents[1] / "layers" / "amtsbote"))
