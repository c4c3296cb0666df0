"""Ray's processes without their imports: a server has everything imported, and forks each of them.

`command` is what a runtime environment names as its Python; `client` runs for each process that Ray starts, and has
`server` fork it; `preload` says what is imported before; `child` is what becomes of the fork. Of the rest of the
platform nothing is needed.
"""
