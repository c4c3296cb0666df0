"""Shards to batches: from storage, cache and index through order and decoding to loader, pixels and dataset."""
