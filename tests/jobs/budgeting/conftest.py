"""Workers for runs that are killed: processes, or a cluster that is up meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@pytest.fixture
def workers_of() -> Callable[[str], AbstractContextManager[list[str]]]:
    """Gives `workers_of(kind)`: a context with the flags of two workers, `processes` or those of a `cluster`."""
    return _workers_of


@contextmanager
def _workers_of(kind: str) -> Iterator[list[str]]:
    if kind == "processes":
        yield ["-j", "2"]
        return
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        yield ["--ray", "--address", cluster.address, "--workers", "2"]
    finally:
        cluster.shutdown()
