"""Pictures through workers: in this process, in others or on a Ray cluster, with nothing lost."""
