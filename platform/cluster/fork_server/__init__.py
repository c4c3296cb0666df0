"""Ray's processes without their imports: a server has imported everything, and forks each of them.

`command` is the Python that a runtime environment names; `client` runs for each process that Ray starts, and asks
`server` to fork it; `preload` lists what is imported before; `child` turns the fork into the process. Of the
rest of the platform it needs `platform/cluster/ray_internals.py` alone.
"""
