"""The start of a function's process: imported before all else, ended by `observed`, which decorates what stands last.

Imports make no garbage, yet a sixth of their time goes into looking for it. So nobody looks until the app is loaded,
and what is loaded by then stays for ever and is not looked at again. Only functions may import this.

urllib3 is loaded here, from as few frames as can be: CPython keeps frames in chunks of 16 KiB, and calls that go to and
fro across the end of one map memory each time. Loaded from deep within botocore, as it would be, its patterns took 12
to 30 ms to compile and not 4.5.
"""

import gc

gc.disable()

import urllib3  # noqa: E402, F401
