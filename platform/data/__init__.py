"""Shards to batches: storage, cache, reader, index, order, read-ahead, modes, decode, sampling, loader, pixels."""
