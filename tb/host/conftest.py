"""What several tests of the host begin with."""

import pytest
from scoville_host import cli
from scoville_host.runtime.golden import GoldenBackend


@pytest.fixture
def run(capsys):
    """Run the command in this process: (status, standard output, standard error)."""
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return stop.value.code, out, err
    return call


@pytest.fixture
def another_golden(monkeypatch):
    """The golden model of one sequence has another logit in its last row."""
    alone = GoldenBackend.generate

    def other(backend, *arguments, **options):
        result = alone(backend, *arguments, **options)
        result.logits[-1, 3] += 1
        return result

    monkeypatch.setattr(GoldenBackend, "generate", other)
