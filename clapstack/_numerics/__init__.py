"""Numerical routines: input checks, tables read in parts, ranks, products, SVD."""
