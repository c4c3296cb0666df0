"""Several members of one shape trained together: one forward and backward pass for all of them."""
