"""Shards to batches: index, order, decode, sampling, loader, pixels; and pack, which makes the shards."""
