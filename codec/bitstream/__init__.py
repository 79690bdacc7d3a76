"""Bitstream: container, range coder, integer probability tables and portable rounding of their parameters."""
