"""The `gatecell` command: what a wrong request looks like, and nothing else.  The commands: commands.py, demo/."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

FAILED, INTERRUPTED = 2, 130
"""Exit codes: something was wrong with the request, its files or tools; Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, sys.argv's by default, and exit: 0, or FAILED with one line on stderr, or INTERRUPTED."""
    try:
        from .commands import gatecell  # the library is loaded when a command is run, not when this module is named

        gatecell.main(arguments, prog_name="gatecell", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        sys.exit(_say(error.format_message()))
    except OSError as error:
        sys.exit(_say(": ".join(map(str, filter(None, (error.filename, error.strerror)))) or str(error)))
    except (TypeError, ValueError, RuntimeError, ImportError) as error:  # what the library raises for what it was given or lacks
        sys.exit(_say(str(error)))
    sys.exit(0)


def _say(message: str) -> int:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    click.echo(f"gatecell: {lines[0] if lines else 'failed'}", err=True)
    return FAILED
