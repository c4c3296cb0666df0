"""How fast a device is, against what its memory and its arithmetic allow: one file a subject."""
