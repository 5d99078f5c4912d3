"""The command line itself: exit codes, help, completion, against a fake API server."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from typer.testing import CliRunner, Result

from ashchat_cli import complete
from ashchat_cli.app import app, dlq
from ashchat_cli.faults import Exit

RECORDED = json.loads((Path(__file__).parent / "recorded" / "ready.json").read_text())
PLACE = "/apis/ashchat.dev/v1alpha1/namespaces/ashchat/ashchats"


class Server:
    """An API server that answers what a test says; keeps the patches."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.patches: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "PATCH":
            self.patches.append(await request.json())
        status, body = self.answers.get(request.path, (404, {"message": "not found"}))
        return web.json_response(body, status=status)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server in a thread: the command line runs its own event loop."""
    made = Server()
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", made.handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        (address,) = runner.addresses
        made.url = f"http://127.0.0.1:{address[1]}"
        started.set()
        try:
            await stop.wait()
        finally:
            await runner.cleanup()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield made
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Any:
    """Run a command with a kubeconfig that leads to the server."""
    file = tmp_path / "kubeconfig"

    def call(*arguments: str, url: str = "") -> Result:
        file.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "clusters": [{"name": "c", "cluster": {"server": url or server.url}}],
                    "users": [{"name": "u", "user": {"token": "secret-token"}}],
                    "contexts": [
                        {
                            "name": "here",
                            "context": {"cluster": "c", "user": "u", "namespace": "ashchat"},
                        }
                    ],
                }
            )
        )
        return CliRunner().invoke(app, [*arguments, "--kubeconfig", str(file)])

    return call


def serve_demo(server: Server, **changes: Any) -> None:
    resource = {**RECORDED["resource"], **changes}
    server.answers[f"{PLACE}/demo"] = (200, resource)
    server.answers[PLACE] = (200, {"items": [resource]})
    server.answers["/api/v1/namespaces/ashchat/pods"] = (200, {"items": RECORDED["pods"]})


def test_ready_is_0_and_what_could_not_be_read_is_listed(server: Server, run: Any) -> None:
    serve_demo(server)
    server.answers["/api/v1/namespaces/ashchat/secrets/demo-rabbitmq-admin"] = (
        403,
        {"message": "secrets is forbidden"},
    )
    result = run("status")
    assert result.exit_code == Exit.OK
    assert "not read: secrets is forbidden" in result.output


def test_not_ready_is_1(server: Server, run: Any) -> None:
    serve_demo(server, status={})
    assert run("status", "demo", "--no-queues").exit_code == Exit.NOT_OK


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_data_is_versioned(server: Server, run: Any, form: str) -> None:
    serve_demo(server)
    result = run("status", "--no-queues", "-o", form)
    told = yaml.safe_load(result.output)
    assert (told["apiVersion"], told["kind"]) == ("cli.ashchat.dev/v1alpha1", "StatusList")
    assert told["items"][0]["name"] == "demo"


def test_usage_is_2(server: Server, run: Any) -> None:
    serve_demo(server)
    assert run("stauts").exit_code == Exit.USAGE
    assert run("dlq", "replay", "translate").exit_code == Exit.USAGE
    result = run("restart", "caht")
    assert result.exit_code == Exit.USAGE
    assert "there are: " in result.output
    assert not server.patches


def test_several_and_no_name_is_2(server: Server, run: Any) -> None:
    two = [RECORDED["resource"], {**RECORDED["resource"], "metadata": {"name": "other"}}]
    server.answers[PLACE] = (200, {"items": two})
    result = run("status")
    assert result.exit_code == Exit.USAGE
    assert "demo, other" in result.output


def test_no_kubeconfig_is_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--kubeconfig", str(tmp_path / "none")])
    assert result.exit_code == Exit.USAGE


def test_nobody_there_is_3(run: Any) -> None:
    result = run("status", url="http://127.0.0.1:9")
    assert result.exit_code == Exit.UNREACHABLE
    assert "no answer from http://127.0.0.1:9" in result.output
    assert run("doctor", url="http://127.0.0.1:9").exit_code == Exit.UNREACHABLE


def test_not_found_is_4(server: Server, run: Any) -> None:
    result = run("status", "nobody")
    assert result.exit_code == Exit.NOT_FOUND
    assert "no AshChat nobody in namespace ashchat" in result.output
    server.answers[PLACE] = (200, {"items": []})
    assert run("status").exit_code == Exit.NOT_FOUND


def test_a_missing_right_is_5_and_the_token_is_not_shown(server: Server, run: Any) -> None:
    server.answers[f"{PLACE}/demo"] = (403, {"message": "ashchats is forbidden"})
    result = run("status", "demo")
    assert result.exit_code == Exit.REFUSED
    assert "ashchats is forbidden" in result.output
    assert "secret-token" not in result.output


def test_commands_set_annotations(server: Server, run: Any) -> None:
    serve_demo(server)
    assert run("restart", "chat").exit_code == Exit.OK
    assert run("pause", "demo").exit_code == Exit.OK
    assert run("resume").exit_code == Exit.OK
    assert run("rotate", "--kind", "signing-keys").exit_code == Exit.OK
    assert run("rotate").exit_code == Exit.OK
    set_to = [patch["metadata"]["annotations"] for patch in server.patches]
    assert [next(iter(each)) for each in set_to] == [
        "ashchat.dev/restart-chat",
        "ashchat.dev/pause",
        "ashchat.dev/pause",
        "ashchat.dev/rotate-signing-keys",
        "ashchat.dev/rotate",
    ]
    assert (set_to[1]["ashchat.dev/pause"], set_to[2]["ashchat.dev/pause"]) == ("true", None)
    tokens = [next(iter(each.values())) for each in (set_to[0], set_to[3], set_to[4])]
    assert len(set(tokens)) == 3


def test_a_kind_that_is_not_there_is_2(server: Server, run: Any) -> None:
    rotation = [{"name": "users", "phase": "Idle"}]
    serve_demo(server, status={**RECORDED["resource"]["status"], "rotation": rotation})
    result = run("rotate", "--kind", "uzers")
    assert result.exit_code == Exit.USAGE
    assert "there are: users" in result.output


def test_every_command_teaches_by_example() -> None:
    for group, before in ((app, []), (dlq, ["dlq"])):
        for command in group.registered_commands:
            name = command.name or str(getattr(command.callback, "__name__", ""))
            text = CliRunner().invoke(app, [*before, name, "--help"]).output
            assert f"kubectl ashchat {' '.join([*before, name])}" in text


@pytest.mark.parametrize(
    ("words", "choice"),
    [
        (["st"], "status\t"),
        (["dlq", ""], "replay\t"),
        (["dlq", "show", "TRANSLATE_"], "TRANSLATE_QUEUE"),
        (["restart", "ch"], "chat"),
        (["status", "--all"], "--all-namespaces\t"),
    ],
)
def test_kubectl_completes(
    words: list[str],
    choice: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("_ASHCHAT_COMPLETE", "_TYPER_COMPLETE_FISH_ACTION", "_TYPER_COMPLETE_ARGS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("sys.argv", ["kubectl_complete-ashchat", *words])
    complete.main()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(choice) for line in lines[:-1])
    assert lines[-1] == ":4"
