"""The docxworld client and adapter, against what the portal's page documents."""
