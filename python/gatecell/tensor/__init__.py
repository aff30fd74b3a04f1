"""The array layer: NumPy arrays with a tape, under torch's names.  What is public of it, `gatecell` itself names."""
