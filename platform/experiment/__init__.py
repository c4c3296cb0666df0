"""An experiment on disk: its folder and who holds it, what it will take, where it writes, what its time went into."""
