"""A simulated docxworld, written from the portal's own documentation and from nothing else."""

from .catalogue import Target, Workflow
from .downloads import Acknowledgement, Download, Readiness
from .encryption import Encryption
from .identity import ROLES, Account, scope_of
from .jobs import Job, Script, Step
from .portal import Content, SimulatedDocxworld
from .uploads import Decision, UploadOptions

__all__ = [
    "ROLES",
    "Account",
    "Acknowledgement",
    "Content",
    "Decision",
    "Download",
    "Encryption",
    "Job",
    "Readiness",
    "Script",
    "SimulatedDocxworld",
    "Step",
    "Target",
    "UploadOptions",
    "Workflow",
    "scope_of",
]
