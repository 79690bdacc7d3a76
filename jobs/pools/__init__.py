"""Pools of workers: this process, worker processes, or actors on a Ray cluster."""
