"""What came of a sweep, for people: its points ranked, how sure the order is, as tables, plots and a page."""
