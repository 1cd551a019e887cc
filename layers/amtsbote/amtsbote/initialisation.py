"""The start of a function's process: imported before all else, ended by `observed`, which decorates what stands last.

Imports make no garbage, yet a sixth of their time goes into looking for it. So nobody looks until the app is loaded,
and what is loaded by then stays for ever and is not looked at again. Only functions may import this.
"""

import gc

gc.disable()
