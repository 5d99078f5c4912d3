import io

import pytest
from rich.console import Console

from ashchat_dev import checks, timings
from ashchat_dev.checks import Check
from ashchat_dev.suite_namespaces import WORKERS


def test_all_unit_tests_run_on_all_cores() -> None:
    assert checks.unit().command[: len(checks.UNIT.command)] == checks.UNIT.command
    assert "--numprocesses=auto" in checks.unit().command
    assert not any(each.startswith("--num") for each in checks.unit("dev/tests").command)


def test_unit_tests_at_a_path_with_more_arguments() -> None:
    command = checks.unit("operator/tests/kube dev/tests", "-k 'a or b' -x").command
    assert command[-5:] == ("-k", "a or b", "-x", "operator/tests/kube", "dev/tests")


def test_all_end_to_end_tests_run_in_parallel() -> None:
    command = checks.e2e().command
    assert f"--numprocesses={WORKERS}" in command
    assert command[-3:] == ("-m", "not nodes", "tests/e2e")


def test_the_tests_of_three_nodes_run_alone() -> None:
    command = checks.nodes("-x").command
    assert command[-2:] == ("-x", "tests/e2e/nodes")
    assert not any(each.startswith("--numprocesses") for each in command)


@pytest.mark.parametrize(("where", "marks"), [("chat", ""), ("", "smoke"), ("chat", "not slow")])
def test_a_few_end_to_end_tests_run_in_this_process(where: str, marks: str) -> None:
    command = checks.e2e(where, marks).command
    assert not any(each.startswith("--numprocesses") for each in command)
    assert command[-1] == ("tests/e2e/chat" if where else "tests/e2e")
    assert (marks in command) is bool(marks)


def test_a_path_of_an_end_to_end_test_may_be_whole() -> None:
    assert (
        checks.e2e("tests/e2e/chat/test_demo.py::test_x").command[-1].startswith("tests/e2e/chat")
    )


def test_a_soak_asks_for_new_examples_and_whole_sweeps() -> None:
    properties, sweeps = checks.soak()
    assert properties.command[-2:] == ("-m", "hypothesis")
    assert sweeps.command == checks.e2e().command
    assert all(dict(each.environ) == {"ASHCHAT_SOAK": "1"} for each in (properties, sweeps))


def test_a_check_that_passed_is_announced_with_its_last_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(timings, "FILE", tmp_path_factory.mktemp("clone") / "a" / "timings.json")
    passing = Check("a check", ("python", "-c", ""))
    failing = Check("another", ("python", "-c", "raise SystemExit(1)"))
    printed = io.StringIO()
    console = Console(file=printed)
    assert not checks.run([passing, failing], console)
    assert "last time" not in printed.getvalue()
    assert timings.last("a check") is not None
    assert timings.last("another") is None, "a failure's time says nothing about the next run's"
    assert checks.run([passing], console)
    assert "a check (last time 0." in printed.getvalue()
