"""Latents to bytes and back: container, range coder, integer probability tables, portable rounding."""
