"""Errors that are meant for the user: one line instead of a traceback.

Any exception with an attribute ``exit_code`` is one, in whichever room it is defined: 2 for a bad config or argument,
1 for a failure at work. ``trainer.command_line`` prints its message and exits with that code. One that knows what to do
has it in ``remedy``, and the rest of its message in ``found``; ``launch/doctor.py`` shows the two apart.
"""


class CommandFailed(RuntimeError):
    """A command could not do its work, or a part of it: a library or the system refused."""

    exit_code = 1


class ExportError(RuntimeError):
    """An export that was asked for rightly and did not come out whole, or could not be sent."""

    exit_code = 1


class SaveError(RuntimeError):
    """Something of a run could not be written: the disk is full, or the system refuses."""

    exit_code = 1
