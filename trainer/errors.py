"""What fails at work through no fault of the command line: told in one line, exit code 1. Knows nothing of why."""


class ExportError(RuntimeError):
    """An export that was asked for rightly and did not come out whole, or could not be sent."""
