"""Networks: settings -> module with its initial weights. One file each, with a function `build`."""
