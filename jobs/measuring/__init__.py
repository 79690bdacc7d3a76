"""What `rdo-bench` counts and times: operations, seconds, memory, and the floor under them."""
