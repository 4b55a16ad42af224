"""The two ways a run ends early. Each message says what is wrong, where, and what to do."""


class StrataError(Exception):
    """Bad input to the command or a broken set-up: exit code 1."""

    exit_code = 1


class GateStopped(StrataError):
    """A gate refused the data: exit code 2. Nothing that was published before has changed."""

    exit_code = 2
