"""A simulated Digitale-Gemeinde, written from the portal's own pages and from nothing else."""

from .options import DEFAULT_ROUTES, FileShape, Options, RateLimit, StatusNames
from .portal import SimulatedDigitaleGemeinde
from .records import DEFAULT_FIELDS, NEVER, Document, Form, FormField, StatusChange, StoredFile, file_field
from .tokens import TokenShape

__all__ = [
    "DEFAULT_FIELDS",
    "DEFAULT_ROUTES",
    "NEVER",
    "Document",
    "FileShape",
    "Form",
    "FormField",
    "Options",
    "RateLimit",
    "SimulatedDigitaleGemeinde",
    "StatusChange",
    "StatusNames",
    "StoredFile",
    "TokenShape",
    "file_field",
]
