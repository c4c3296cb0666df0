"""Other loaders beside this project's, on the same shards: `job=bench bench.parts=[rivals]` after `make rivals`."""
