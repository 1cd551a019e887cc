"""What botocore has to know of AWS to make a function's clients: five services, and the operations that are called.

Before its first client botocore looks through the folders of four hundred services and reads all endpoints that AWS
has, more than a megabyte: with the models of the services, a seventh of a first invocation. `api_models.d` beside this
file holds what functions need of that, as `tools/api_models.py` cut it out; all else (another service, a paginator,
what a later botocore asks for) is found where botocore keeps it.
"""

import os
from functools import cached_property
from pathlib import Path

from botocore.loaders import Loader

FOLDER = Path(__file__).with_name("api_models.d")


class LeanLoader(Loader):
    """botocore's loader, which finds what is in our folder there, and opens no folder to know that a service is."""

    def __init__(self) -> None:
        super().__init__(extra_search_paths=[str(FOLDER)])

    @cached_property
    def _folders(self) -> list[str]:
        present = [path for path in self.search_paths if Path(path).is_dir()]
        return sorted({name for path in present for name in os.listdir(path)})  # noqa: PTH208 - pathlib takes 3 ms

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's signature
        """Return the services of any type: which has a model of this one is seen when that is asked for."""
        return self._folders

    def is_builtin_path(self, path: str) -> bool:
        """Return whether a file is AWS's own: so are our extracts, and endpoints follow the same rules with them."""
        return path.startswith(str(FOLDER)) or bool(super().is_builtin_path(path))
