"""Pictures as SVG and the colours they share with pages, light and dark."""
