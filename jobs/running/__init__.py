"""Runs: worklist, settings, encoding of an image to a verified file, history of a folder, progress."""
