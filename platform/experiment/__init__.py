"""An experiment on disk: its plan, its folder and lock, the places it writes to, how its wall time was spent."""
