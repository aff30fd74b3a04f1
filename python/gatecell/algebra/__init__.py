"""Cells as algebra: primitives, programs, derivatives, intervals, and loops that a machine can run.

Not here: any cell, any array library beyond NumPy scalars, any output language.
"""
