"""The picture of a network: blocks, branches, widths on the arrows, costs as areas."""
