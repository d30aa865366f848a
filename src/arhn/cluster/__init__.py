"""A cleaning run on a Ray cluster: the same files as in one process, made by many machines (docs/cluster.md).

`run.run` is the way in, `settings.Cluster` says who cleans.
"""

#: Groups of a partition, unless given.
USUAL_PARTITION = 128
