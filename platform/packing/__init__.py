"""Images of any source to shards and their index; an index for shards that others made."""
