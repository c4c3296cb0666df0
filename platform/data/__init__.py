"""Shards to batches: storage, cache, reader, index, order, read-ahead, decode, sampling, loader, pixels."""
