"""Packs images of many kinds of sources into shards with an index; verifies shards; indexes shards that others made."""
