"""The start, output and end of commands, imports by dotted path, and atomic files.

This is the lowest layer. It needs Python's own library alone.
"""
