"""Pictures: image files found, read and written, and pixels in memory; the only package that imports Pillow."""
