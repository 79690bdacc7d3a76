"""Budgets of bytes for a folder: plain passes, allocation at equal slope, refinement, corrections, and a page."""
