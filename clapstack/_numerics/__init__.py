"""Numbers: checks of values, tables that are read in parts, ranks, products, SVD."""
