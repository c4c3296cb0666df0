"""Fault injection: clusters, servers and comparisons for `job=chaos` and the tests."""
