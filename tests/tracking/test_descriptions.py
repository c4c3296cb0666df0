"""The short reports on the pages of MLflow's runs."""

import shlex
from pathlib import Path

from platform.experiment.goodput import Attempt
from platform.tracking.descriptions import MOST_LINES, WIDTH, commands_of, of_experiment, of_member
from tests.evaluation.test_report import scores


def test_commands_are_whole_and_no_line_is_wide():
    command = "python -m platform.launch +experiment=x " + shlex.join(f"key{n}='a b'" for n in range(20))
    lines = commands_of(command, Path("runs/my run"), several=False)
    assert max(map(len, lines)) <= WIDTH + 20
    code = "\n".join(lines)
    first = code[code.index("python") : code.index("# classify")]
    assert shlex.split(first.replace("\\\n", "")) == shlex.split(command)
    assert "job=predict 'predict.model=runs/my run' predict.images=FILE" in code.replace(" \\\n   ", "")
    assert "job=promote promote.sweep=runs/sweep" in "\n".join(commands_of(command, Path("runs/sweep"), several=True))


def test_of_a_long_table_the_first_lines_are_shown(tmp_path: Path):
    table = tmp_path / "ranking.md"
    table.write_text("\n".join(f"line {n}" for n in range(500)))
    text = of_experiment("The verdict.", [table], [Path("report/curves.png")], ["A note."], ["python"])
    assert text.startswith("The verdict.\n\nline 0\n")
    assert f"line {MOST_LINES - 1}\n\n... and {500 - MOST_LINES} lines more, in ranking.md among the artifacts" in text
    assert "line 499" not in text
    assert text.index("A note.") < text.index("```") < text.index("![curves](/get-artifact?path=report/curves.png&")


def test_of_a_member_its_error_comes_first_and_without_scores_what_became_of_it():
    attempts = [Attempt(0, 5, first_step_at=10, last_step_at=50, ended=70, reason="finished", queued_s=30)]
    text = of_member("one", scores(), attempts, "")
    assert "| 10 | 9.00% | 5.77 to 13.78% | 0.50% | 0.09 to 2.78% | 0.1900 |" in text
    assert "Time: 30 s in the queue, 10 s starting, 40 s training, 20 s evaluating." in text
    assert of_member("one", None, [], "Failed: no.") == "Failed: no."
