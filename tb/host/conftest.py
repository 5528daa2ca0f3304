"""What several tests of the host begin with."""

import pytest
from scoville_host import cli


@pytest.fixture
def run(capsys):
    """Run the command in this process: (status, standard output, standard error)."""
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return stop.value.code, out, err
    return call
