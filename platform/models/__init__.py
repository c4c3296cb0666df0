"""Networks: name -> module with the given initial weights."""
