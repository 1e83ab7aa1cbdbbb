"""What fails at work through no fault of the command line: told in one line, exit code 1. Knows nothing of why."""


class ExportError(RuntimeError):
    """An export that was asked for rightly and did not come out whole, or could not be sent."""


class SaveError(RuntimeError):
    """Something of a run could not be written: the disk is full, or the system refuses."""
