"""Pools of workers: in this process, beside it, on a Ray cluster."""
