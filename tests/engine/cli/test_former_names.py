"""Former names of options: still accepted, and not shown in the help."""

import pytest

from engine.cli.main import build_parser, main


@pytest.mark.parametrize(
    ("command", "former", "current"),
    [
        (["generate", "a red ball"], "--takes", "--variations"),
        (["pairs", "folder"], "--takes", "--variations"),
        (["evaluate", "run"], "--takes", "--variations"),
        (["campaigns", "create", "title"], "--takes", "--variations"),
        (["bench", "run"], "--recipe", "--preset"),
    ],
)
def test_a_former_name_is_accepted_and_hidden(capsys, command, former, current):
    one, other = (build_parser().parse_args([*command, name, "3"]) for name in (former, current))
    assert one == other and "3" in map(str, vars(one).values())
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    shown = capsys.readouterr().out
    assert current in shown and former not in shown
