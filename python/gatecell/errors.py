"""The exceptions that are the project's own; every other error is Python's TypeError, ValueError, IndexError or RuntimeError.  No logic
here."""


class Unsupported(ValueError):
    """A backend cannot do what was asked, and why: the message is the sentence that the README's table of cells and backends gives."""
