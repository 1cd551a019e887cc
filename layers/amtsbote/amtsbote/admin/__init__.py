"""Administration of portals from a command line: `python -m amtsbote.admin docxworld …`.

A tool for people, outside of the functions: no function loads it.
"""
