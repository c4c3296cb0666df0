"""The self-test of a machine with GPUs: is what it computes right, and how fast is it? It needs torch, not Ray."""
