"""A model behind HTTP: Ray Serve, and a page for people."""
