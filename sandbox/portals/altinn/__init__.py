"""A simulated Altinn with Maskinporten, written from the portal's own pages and from nothing else."""

from .apps import App, DataType, Task
from .identity import READ, WRITE, Login, new_key_pair
from .portal import PROPOSAL, V1, SimulatedAltinn
from .records import CloudEvent, Element, File, Instance, Issue, Upload

__all__ = [
    "PROPOSAL",
    "READ",
    "V1",
    "WRITE",
    "App",
    "CloudEvent",
    "DataType",
    "Element",
    "File",
    "Instance",
    "Issue",
    "Login",
    "SimulatedAltinn",
    "Task",
    "Upload",
    "new_key_pair",
]
