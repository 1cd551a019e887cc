"""docxworld's API, one module per part of it."""
