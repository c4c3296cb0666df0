"""Shards to batches: index, order, decode, sampling, loader, pixels; and pack, which makes shards of any source."""
