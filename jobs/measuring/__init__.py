"""Benchmarks of `rdo-bench`: gain against time, operations, seconds and memory of each stage, rooflines."""
