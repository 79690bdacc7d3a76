"""Pictures in memory, and reading and writing them; the only room that knows Pillow."""
