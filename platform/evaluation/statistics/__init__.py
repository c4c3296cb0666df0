"""How sure figures are: intervals, paired tests, calibration, and how members differ. Pure NumPy and SciPy."""
