"""A changed mail server login: if the new one is wrong, the old one stays in use."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest_asyncio

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import Label
from ashchat_dev.authority import Authority
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.traffic import traffic

NAMESPACE = "ashchat-strict-mail"
SERVER = "strict"
HOST = f"{SERVER}.{NAMESPACE}.svc"
LOGIN, AUTHORITY = "strict-mail-login", "strict-mail-authority"
USER = "ashchat"
USERS = ("first-password", "second-password")
"""The passwords that the server accepts, each for a different user."""

SEEN = {Label.WATCH.value: "true"}
"""Wakes the operator when the Secret is edited."""

NOTICED_S = 30.0
DISTRIBUTED_S = 150.0
"""A generous limit: without a nudge the kubelet rereads Secrets about once a minute."""

Measure = Callable[[str, float], None]
Object = dict[str, Any]


@dataclass
class Strict:
    """A mail server that requires StartTLS and a login, and its mailbox."""

    cluster: Cluster
    mailbox: Mailbox

    async def login(self, user: str, password: str) -> None:
        """Edit the Secret that the resource refers to."""
        text = {"username": user, "password": password}
        await self.cluster.put_secret(LOGIN, text, labels=SEEN)

    async def said(self, reason: str, within: float) -> Object:
        """Wait until the condition has a reason, and return its message."""

        async def found() -> Object | None:
            for item in (await self.cluster.resource())["status"]["conditions"]:
                if item["type"] == ConditionType.CREDENTIALS_ACCEPTED and item["reason"] == reason:
                    return dict(item)
            return None

        return await until(found, within=within, every=0.2, what=f"CredentialsAccepted {reason}")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def strict(cluster: Cluster) -> AsyncIterator[Strict]:
    """Configure a strict mail server; restore the previous one afterwards."""
    await cluster.wait_ready(within=120)
    before = (await cluster.resource())["spec"]["email"]["smtp"]
    authority = Authority()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server(cluster, authority))
        await cluster.put_secret(AUTHORITY, {"ca.crt": authority.certificate}, labels=SEEN)
        first = {"username": f"{USER}0", "password": USERS[0]}
        await cluster.put_secret(LOGIN, first, labels=SEEN)
        smtp = {
            "from": before["from"],
            "host": HOST,
            "port": 1025,
            "security": "StartTLS",
            "credentialsSecretRef": {"name": LOGIN},
            "caSecretRef": {"name": AUTHORITY},
        }
        await use(cluster, smtp)
        port = await stack.enter_async_context(
            cluster.forward(f"service/{SERVER}", 8025, namespace=NAMESPACE)
        )
        box = await stack.enter_async_context(Mailbox(f"http://127.0.0.1:{port}"))
        found = Strict(cluster, box)
        await found.said("InUse", DISTRIBUTED_S)
        await cluster.wait_ready(within=120)
        yield found
    await use(cluster, before)
    await cluster.wait_ready(within=120)
    for name in (LOGIN, AUTHORITY):
        await cluster.delete("secrets", name)
    await cluster.wait_former_gone("email")


async def use(cluster: Cluster, smtp: Object) -> None:
    """Configure the mail server."""
    change = [{"op": "replace", "path": "/spec/email/smtp", "value": smtp}]
    await cluster.patch("ashchats", cluster.name, change, kind="json")


@asynccontextmanager
async def server(cluster: Cluster, authority: Authority) -> AsyncIterator[None]:
    """Run the mail server in a separate namespace."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    await cluster.create(
        "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    )
    try:
        pair = authority.server(HOST)
        users = "".join(f"{USER}{number}:{word}\n" for number, word in enumerate(USERS))
        files = {"tls.crt": pair.certificate, "tls.key": pair.key, "users": users}
        await cluster.put_secret(SERVER, files, namespace=NAMESPACE)
        # Like the mailbox of `make up`, but strict.
        model = await cluster.read("deployments", "mailpit", namespace="mailpit")
        pod = model["spec"]["template"]["spec"]
        box = pod["containers"][0]
        box["command"] = [
            *("mailpit", "--database", "/data/mailpit.db", "--disable-version-check"),
            *("--smtp-disable-rdns", "--smtp-auth-file", "/files/users"),
            *("--smtp-tls-cert", "/files/tls.crt", "--smtp-tls-key", "/files/tls.key"),
            "--smtp-require-starttls",
        ]
        box["volumeMounts"].append({"name": "files", "mountPath": "/files", "readOnly": True})
        pod["volumes"].append({"name": "files", "secret": {"secretName": SERVER}})
        marks = {"name": SERVER, "labels": {"app": SERVER}}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": marks, "spec": pod}
        await cluster.create("pods", body, namespace=NAMESPACE)
        ports = [{"name": f"p{number}", "port": number} for number in (1025, 8025)]
        spec = {"selector": {"app": SERVER}, "ports": ports}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": marks, "spec": spec}
        await cluster.create("services", body, namespace=NAMESPACE)

        async def ready() -> bool:
            found = await cluster.read("pods", SERVER, namespace=NAMESPACE)
            conditions = found["status"].get("conditions", [])
            return any(x["type"] == "Ready" and x["status"] == "True" for x in conditions)

        await until(ready, within=60, what="the strict mail server ready")
        yield
    finally:
        await cluster.delete("namespaces", NAMESPACE)


async def test_a_wrong_password_is_reported_and_the_right_one_stays_in_use(
    strict: Strict, cluster: Cluster, person: PersonFactory, measure: Measure
) -> None:
    before = await cluster.secret(f"{cluster.name}-email-credentials")
    clock = asyncio.get_running_loop().time
    began = clock()
    await strict.login(f"{USER}0", "wrong-password")
    said = await strict.said("LoginRefused", NOTICED_S)
    measure("a rejected mail login reported", clock() - began)
    assert said["status"] == "False"
    assert LOGIN in said["message"]
    assert "stays in use" in said["message"]
    assert "wrong-password" not in str(await cluster.resource())
    assert await cluster.secret(f"{cluster.name}-email-credentials") == before
    # Nothing else is affected: the resource is Ready, and mails are sent.
    ready = (await cluster.resource())["status"]["conditions"][0]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    who = person.names_only("Ida", "en")
    await who.register(strict.mailbox)


async def test_a_correct_password_is_checked_and_used_without_a_restart(
    strict: Strict, cluster: Cluster, person: PersonFactory, measure: Measure
) -> None:
    pods = await cluster.pods("email")
    clock = asyncio.get_running_loop().time

    async def handed_out() -> bool:
        data = await cluster.secret(f"{cluster.name}-email-credentials")
        return data.get("smtp.password") == USERS[1].encode()

    async with traffic(person.reading(strict.mailbox), strict.mailbox) as seen:
        await until(lambda: seen.done["sign-up"] >= 1, within=60, what="users signing up")
        began = clock()
        await strict.login(f"{USER}1", USERS[1])
        await until(handed_out, within=NOTICED_S, every=0.2, what="the new login in email's Secret")
        measure("a new mail login, checked and distributed", clock() - began)
        await strict.said("InUse", DISTRIBUTED_S)
        measure("a new mail login, in use by every pod", clock() - began)
        more = seen.done["sign-up"] + 2
        await until(lambda: seen.done["sign-up"] >= more, within=60, what="users still signing up")
    assert seen.failed == []
    assert seen.reconnects == 0, "a socket was lost"
    assert await cluster.pods("email") == pods, "email was restarted"
    who = person.names_only("Ole", "en")
    await who.register(strict.mailbox)


async def test_a_deleted_secret_leaves_the_working_login_in_use(
    strict: Strict, cluster: Cluster, person: PersonFactory
) -> None:
    await cluster.delete("secrets", LOGIN)
    said = await strict.said("SecretMissing", NOTICED_S)
    assert LOGIN in said["message"]
    await person.names_only("Una", "en").register(strict.mailbox)
    await strict.login(f"{USER}1", USERS[1])
    await strict.said("InUse", DISTRIBUTED_S)
