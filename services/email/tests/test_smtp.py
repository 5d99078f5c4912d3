"""Handing mails over, against a real SMTP server in this process."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ashchat_core.credentials import Credentials
from ashchat_email import smtp
from ashchat_email.ports import PermanentFailureError, ServerUnavailableError, TemporaryFailureError
from ashchat_email.settings import Settings
from ashchat_email.smtp import CONNECTIONS, Mailer
from smtp_server import HOST, Fault, SmtpServer

PASSWORD = "correct horse battery"


def mail(number: int = 1, to: str = "ana@example.org") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "AshChat <no-reply@example.org>"
    message["To"] = to
    message["Message-ID"] = f"<{number}@example.org>"
    message["Subject"] = f"mail {number}"
    message.set_content(f"مرحبًا {number}\n.begins with a dot\n")
    return message


# certificates


@dataclass(frozen=True)
class Authority:
    """Signs certificates; `file` is what clients are given to trust it."""

    file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def server(self, name: x509.GeneralName) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate("server", self.certificate.subject, key, self.key, name)
        pem = self.file.with_name(f"server-{signed.serial_number}.pem")
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        return context


def _certificate(
    name: str,
    issuer: x509.Name | None,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    alternative: x509.GeneralName | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.BasicConstraints(ca=alternative is None, path_length=None), critical=True
        )
    )
    if alternative is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def authority(folder: Path, name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(name, None, key, key)
    file = folder / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(file, certificate, key)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("others"), "others")


@pytest.fixture(scope="module")
def trusted(ours: Authority) -> ssl.SSLContext:
    """What a server shows that can be trusted: for the right address, by our authority."""
    return ours.server(x509.IPAddress(ipaddress.ip_address(HOST)))


# the client


class Folder:
    """A credentials folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.credentials = Credentials(path)

    def give(self, username: str, password: str, revision: str) -> None:
        for name, value in (("username", username), ("password", password), ("revision", revision)):
            (self.path / f"smtp.{name}").write_text(value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@asynccontextmanager
async def client(server: SmtpServer, folder: Folder, **settings: Any) -> AsyncIterator[Mailer]:
    mailer = Mailer(Settings(smtp_host=HOST, smtp_port=server.port, **settings), folder.credentials)
    try:
        yield mailer
    finally:
        await mailer.close()


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    """Return a server without encryption or logins."""
    async with SmtpServer() as running:
        yield running


@pytest.fixture
async def mailer(server: SmtpServer, folder: Folder) -> AsyncIterator[Mailer]:
    async with client(server, folder) as made:
        yield made


@asynccontextmanager
async def with_login(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> AsyncIterator[tuple[SmtpServer, Mailer]]:
    """A server that wants a login over TLS, and a client that has one."""
    folder.give("me", PASSWORD, "1")
    async with (
        SmtpServer(tls=trusted, implicit=True, logins={"me": PASSWORD}) as server,
        client(server, folder, smtp_security="tls", smtp_ca_file=str(ours.file)) as mailer,
    ):
        yield server, mailer


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"ashchat_email_{name}_total", labels) or 0.0


def connections(event: str) -> float:
    return metric("smtp_connections", event=event)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (a test looks on from outside)
            await asyncio.sleep(0.001)


# encryption


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_and_login_travel_encrypted_to_a_server_with_the_right_certificate(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority, security: str
) -> None:
    folder.give("me", PASSWORD, "1")
    async with (
        SmtpServer(tls=trusted, implicit=security == "tls", logins={"me": PASSWORD}) as server,
        client(server, folder, smtp_security=security, smtp_ca_file=str(ours.file)) as mailer,
    ):
        await mailer.send(mail())
    (received,) = server.mails
    assert (received.username, received.encrypted) == ("me", True)
    assert (received.sender, received.recipient) == ("no-reply@example.org", "ana@example.org")
    assert "مرحبًا 1\r\n.begins with a dot" in received.content


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("who", ["another authority", "another name", "public authorities only"])
async def test_a_server_that_cannot_prove_who_it_is_gets_neither_mail_nor_login(
    folder: Folder, ours: Authority, others: Authority, security: str, who: str
) -> None:
    signer = others if who == "another authority" else ours
    wrong_name = x509.DNSName("mail.example.net")
    right_name = x509.IPAddress(ipaddress.ip_address(HOST))
    shown = signer.server(wrong_name if who == "another name" else right_name)
    folder.give("me", PASSWORD, "1")
    ca = "" if who == "public authorities only" else str(ours.file)
    async with (
        SmtpServer(tls=shown, implicit=security == "tls", logins={"me": PASSWORD}) as server,
        client(server, folder, smtp_security=security, smtp_ca_file=ca) as mailer,
    ):
        with pytest.raises(ServerUnavailableError, match="SSLCertVerificationError"):
            await mailer.send(mail())
    assert not server.mails
    assert not server.tried


async def test_a_server_that_does_not_offer_starttls_gets_nothing(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    folder.give("me", PASSWORD, "1")
    async with (
        SmtpServer(tls=trusted, logins={"me": PASSWORD}) as server,
        client(server, folder, smtp_security="starttls", smtp_ca_file=str(ours.file)) as mailer,
    ):
        server.offers_starttls = False  # or a man in the middle removed it
        with pytest.raises(ServerUnavailableError):
            await mailer.send(mail())
    assert not server.tried
    assert "MAIL" not in server.commands


async def test_without_encryption_no_login_is_sent(folder: Folder) -> None:
    folder.give("me", PASSWORD, "1")
    async with SmtpServer(logins={"me": PASSWORD}) as server, client(server, folder) as mailer:
        with pytest.raises(ServerUnavailableError):
            await mailer.send(mail())
    assert not server.tried


async def test_an_authority_that_changes_is_trusted_from_the_next_connection_on(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority, others: Authority
) -> None:
    file = folder.path / "smtp-ca.pem"
    file.write_bytes(others.file.read_bytes())
    async with (
        SmtpServer(tls=trusted, implicit=True) as server,
        client(server, folder, smtp_security="tls", smtp_ca_file=str(file)) as mailer,
    ):
        with pytest.raises(ServerUnavailableError):
            await mailer.send(mail())
        file.unlink()
        with pytest.raises(ServerUnavailableError, match="FileNotFoundError"):
            await mailer.send(mail())
        file.write_bytes(ours.file.read_bytes())
        await mailer.send(mail())
    assert len(server.mails) == 1


# answers


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("RCPT", "451 4.7.1 greylisted, come back later"),
        ("RCPT", "452 4.2.2 mailbox full"),
        ("DATA", "451 4.3.0 later"),
        ("BODY", "451 4.3.0 later"),
    ],
)
async def test_a_temporary_refusal_is_one_and_the_connection_is_good_for_the_next_mail(
    server: SmtpServer, mailer: Mailer, command: str, answer: str
) -> None:
    later = metric("mails", outcome="later")
    server.instead[command].append(answer)
    with pytest.raises(TemporaryFailureError, match=answer[:3]):
        await mailer.send(mail(1))
    assert metric("mails", outcome="later") == later + 1
    await mailer.send(mail(2))
    assert ["mail 2" in received.content for received in server.mails] == [True]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("command", "answer", "reason"),
    [
        ("RCPT", "550 5.1.1 no such mailbox", "mailbox"),
        ("RCPT", "550 no such mailbox", "mailbox"),
        ("RCPT", "554 5.7.1 relay access denied", "policy"),
        ("BODY", "554 5.6.0 not wanted", "content"),
        ("BODY", "550 5.7.1 looks like spam", "policy"),
    ],
)
async def test_a_permanent_refusal_has_a_reason_and_does_not_quote_the_server(
    server: SmtpServer, mailer: Mailer, command: str, answer: str, reason: str
) -> None:
    server.instead[command].append(answer)
    with pytest.raises(PermanentFailureError) as caught:
        await mailer.send(mail(1))
    assert caught.value.reason == reason
    assert str(caught.value) == f"SMTP {answer[:3]}"
    await mailer.send(mail(2))
    assert (len(server.mails), server.connections) == (1, 1)


@pytest.mark.parametrize("command", ["HELLO", "EHLO", "MAIL", "RCPT", "DATA", "BODY"])
async def test_a_server_that_shuts_down_is_unavailable_and_reconnected(
    server: SmtpServer, mailer: Mailer, command: str
) -> None:
    server.instead[command].append("421 4.3.2 shutting down")
    with pytest.raises(ServerUnavailableError):
        await mailer.send(mail(1))
    await mailer.send(mail(1))
    assert (len(server.mails), server.connections) == (1, 2)


@pytest.mark.parametrize("command", ["HELLO", "EHLO", "MAIL", "RCPT", "DATA", "BODY"])
async def test_a_connection_dropped_anywhere_is_no_fault_of_the_mail(
    server: SmtpServer, mailer: Mailer, command: str
) -> None:
    server.instead[command].append(Fault.DROP)
    with pytest.raises(ServerUnavailableError):
        await mailer.send(mail(1))
    await mailer.send(mail(1))
    assert (len(server.mails), server.connections) == (1, 2)


async def test_a_refused_sender_is_our_fault_not_the_mails(
    server: SmtpServer, mailer: Mailer
) -> None:
    server.instead["MAIL"].append("550 5.7.1 sender not allowed")
    with pytest.raises(ServerUnavailableError):
        await mailer.send(mail(1))


async def test_nonsense_is_a_server_that_is_away(server: SmtpServer, mailer: Mailer) -> None:
    server.instead["RCPT"].append("what?")
    with pytest.raises(ServerUnavailableError):
        await mailer.send(mail(1))


async def test_a_server_that_says_nothing_is_away(
    server: SmtpServer, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "TIMEOUT_SECONDS", 0.05)
    async with client(server, folder) as mailer:
        server.instead["BODY"].append(Fault.HANG)
        with pytest.raises(ServerUnavailableError):
            await mailer.send(mail(1))
        await mailer.send(mail(1))
    assert (len(server.mails), server.connections) == (1, 2)


async def test_an_address_the_server_does_not_speak_can_never_be_mailed(
    server: SmtpServer, mailer: Mailer
) -> None:
    with pytest.raises(PermanentFailureError) as caught:
        await mailer.send(mail(1, to="josé@example.org"))
    assert caught.value.reason == "unsendable"
    assert "josé" not in str(caught.value)
    await mailer.send(mail(2))
    assert (len(server.mails), server.connections) == (1, 1)


async def test_a_server_that_is_gone_is_away_and_its_return_needs_nothing(
    server: SmtpServer, mailer: Mailer
) -> None:
    await mailer.send(mail(1))
    await server.stop()
    with pytest.raises(ServerUnavailableError, match="ConnectionRefusedError"):
        await mailer.send(mail(2))
    await server.start()
    await mailer.send(mail(2))
    assert len(server.mails) == 2


# the pool


async def test_mails_one_after_the_other_share_one_connection(
    server: SmtpServer, mailer: Mailer
) -> None:
    opened, reused = connections("opened"), connections("reused")
    for number in range(10):
        await mailer.send(mail(number))
    assert len(server.mails) == 10
    assert server.connections == 1
    assert (connections("opened") - opened, connections("reused") - reused) == (1, 9)


async def test_many_mails_at_once_take_few_connections_and_each_arrives_once(
    server: SmtpServer, mailer: Mailer
) -> None:
    await asyncio.gather(*(mailer.send(mail(number)) for number in range(40)))
    subjects = {
        received.content.partition("Subject: ")[2].split("\r\n")[0] for received in server.mails
    }
    assert (len(server.mails), len(subjects)) == (40, 40)
    assert 1 < server.connections <= CONNECTIONS


async def test_a_kept_connection_that_broke_is_replaced_without_losing_the_mail(
    server: SmtpServer, mailer: Mailer
) -> None:
    await mailer.send(mail(1))
    await server.hang_up()
    await mailer.send(mail(2))
    assert (len(server.mails), server.connections) == (2, 2)


async def test_a_kept_connection_that_is_silent_is_replaced(
    server: SmtpServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "CHECK_SECONDS", 0.05)
    broken = connections("broken")
    await mailer.send(mail(1))
    server.instead["RSET"].append(Fault.HANG)
    await mailer.send(mail(2))
    assert (len(server.mails), server.connections) == (2, 2)
    assert connections("broken") == broken + 1


async def test_a_connection_unused_for_long_is_ended_with_a_goodbye(
    server: SmtpServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mailer.send(mail(1))
    await mailer._close_idle()
    assert server.open == 1
    monkeypatch.setattr(smtp, "IDLE_SECONDS", 0.0)
    await mailer._close_idle()
    await until(lambda: server.open == 0)
    assert server.commands[-1] == "QUIT"
    await mailer.send(mail(2))
    assert server.connections == 2


async def test_mails_take_no_connection_that_is_being_ended(
    server: SmtpServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(mailer.send(mail(number)) for number in range(CONNECTIONS)))
    monkeypatch.setattr(smtp, "IDLE_SECONDS", 0.0)
    await asyncio.gather(
        mailer._close_idle(), *(mailer.send(mail(number)) for number in range(CONNECTIONS))
    )
    assert len(server.mails) == 2 * CONNECTIONS


async def test_a_mail_cancelled_in_the_middle_leaves_no_connection_to_the_next(
    server: SmtpServer, mailer: Mailer
) -> None:
    server.instead["RCPT"].append(Fault.HANG)
    sending = asyncio.create_task(mailer.send(mail(1)))
    await until(lambda: "RCPT" in server.commands)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await mailer.send(mail(2))
    assert ["mail 2" in received.content for received in server.mails] == [True]
    assert server.connections == 2


async def test_closing_says_goodbye_also_on_connections_in_use(
    server: SmtpServer, mailer: Mailer
) -> None:
    await mailer.send(mail(1))
    await mailer.close()
    await until(lambda: server.open == 0)
    await mailer.send(mail(2))  # what is in hand still goes out
    await until(lambda: server.open == 0)
    assert server.commands.count("QUIT") == 2


# logins


async def test_a_changed_login_is_used_from_then_on_and_the_old_connections_end(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        await mailer.send(mail(1))
        server.logins["you"] = "another password"
        folder.give("you", "another password", "2")
        # One is in use while the change happens: it ends what it does.
        server.instead["BODY"].append(Fault.HANG)
        busy = asyncio.create_task(mailer.send(mail(2)))
        await until(lambda: server.commands.count("DATA") == 2)
        assert await mailer._follow()
        assert folder.credentials.in_use == {"smtp": "2"}
        await mailer.send(mail(3))
        assert [received.username for received in server.mails] == ["me", "you"]
        server.go_on.set()
        await busy
        assert [received.username for received in server.mails] == ["me", "you", "me"]
        await until(lambda: server.open == 1)
        del server.logins["me"]
        await mailer.send(mail(4))
        assert server.mails[-1].username == "you"
        assert server.tried == ["me", "you"]


async def test_idle_connections_of_the_old_login_are_retired(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        retired = connections("retired")
        await asyncio.gather(*(mailer.send(mail(number)) for number in range(8)))
        before = server.open
        server.logins = {"me": "a new password"}
        folder.give("me", "a new password", "2")
        assert await mailer._follow()
        await until(lambda: server.open == 1)
        assert connections("retired") == retired + before
        await mailer.send(mail(9))
        assert server.connections == before + 1


async def test_a_login_that_is_refused_leaves_the_old_one_in_use_and_shows(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        await mailer.send(mail(1))
        refused = connections("login_refused")
        folder.give("me", "a typing error", "2")
        with capture_logs() as lines:
            assert not await mailer._follow()
        assert connections("login_refused") == refused + 1
        (line,) = [line for line in lines if line["log_level"] == "error"]
        assert line["event"] == "the mail server rejects the login"
        assert (line["revision"], line["status"], line["old_stays"]) == ("2", 535, True)
        assert "typing" not in str(lines)
        assert PASSWORD not in str(lines)
        assert folder.credentials.in_use == {"smtp": "1"}
        await mailer.send(mail(2))  # over the connection that lives
        await server.hang_up()
        await mailer.send(mail(3))  # and over a new one, by the old login
        assert [received.username for received in server.mails] == ["me"] * 3
        # Nor is the wrong one tried on and on.
        tries = len(server.tried)
        assert not await mailer._follow()
        assert len(server.tried) == tries
        folder.give("me", PASSWORD, "3")
        assert await mailer._follow()
        assert folder.credentials.in_use == {"smtp": "3"}


async def test_the_only_login_refused_holds_mails_without_being_tried_for_each(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        server.logins["me"] = "what it will be in a moment"
        for _ in range(20):
            with pytest.raises(ServerUnavailableError, match="login"):
                await mailer.send(mail(1))
        assert server.tried == ["me"]
        assert folder.credentials.in_use == {}
        # After the pause once more, and then a longer pause.
        ((login, refusal),) = mailer._refused.items()
        mailer._refused[login] = replace(refusal, until=0.0)
        for _ in range(20):
            with pytest.raises(ServerUnavailableError, match="login"):
                await mailer.send(mail(1))
        assert server.tried == ["me", "me"]
        pause = mailer._refused[login].until - time.monotonic()
        assert smtp.REFUSED_FIRST_SECONDS < pause <= 2 * smtp.REFUSED_FIRST_SECONDS
        # A login that is another is tried at once.
        folder.give("me", "what it will be in a moment", "2")
        assert await mailer._follow()
        await mailer.send(mail(1))
        assert len(server.mails) == 1


async def test_a_login_that_is_refused_for_now_is_not_held_against_it(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        server.instead["AUTH"].append("454 4.7.0 the directory is away")
        with pytest.raises(ServerUnavailableError):
            await mailer.send(mail(1))
        await mailer.send(mail(1))
        assert len(server.mails) == 1


async def test_a_login_that_is_no_text_is_no_end_of_the_service(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        await mailer.send(mail(1))
        (folder.path / "smtp.password").write_bytes(b"\xff\xfe")
        assert await mailer._follow()
        await mailer.send(mail(2))
        assert [received.username for received in server.mails] == ["me", "me"]


async def test_a_login_half_swapped_is_not_used(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        await mailer.send(mail(1))

        class Torn(Credentials):
            def read(self, name: str) -> Any:
                read = super().read(name)
                folder.give("you", "x", "2")
                return read

        mailer._credentials = Torn(folder.path)
        assert await mailer._follow()
        assert server.tried == ["me"]


async def test_a_login_that_is_taken_away_is_not_used_any_more(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority
) -> None:
    async with with_login(trusted, folder, ours) as (server, mailer):
        await mailer.send(mail(1))
        for name in ("username", "password", "revision"):
            (folder.path / f"smtp.{name}").unlink()
        assert await mailer._follow()
        await until(lambda: server.open == 0)
        server.logins = {}
        await mailer.send(mail(2))
        assert [received.username for received in server.mails] == ["me", None]


async def test_a_running_service_proves_its_login_before_the_first_mail_and_follows_it(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "POLL_SECONDS", 0.005)
    async with with_login(trusted, folder, ours) as (server, mailer):
        running = asyncio.create_task(mailer.run())
        try:
            await until(lambda: folder.credentials.in_use == {"smtp": "1"})
            server.logins["you"] = "x"
            folder.give("you", "x", "2")
            await until(lambda: folder.credentials.in_use == {"smtp": "2"})
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        await mailer.send(mail(1))
        assert server.mails[0].username == "you"


async def test_a_cancellation_that_the_library_swallows_still_ends_the_service(
    trusted: ssl.SSLContext, folder: Folder, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_login(trusted, folder, ours) as (_, mailer):
        following = asyncio.Event()

        async def follow() -> bool:
            following.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return True

        monkeypatch.setattr(mailer, "_follow", follow)
        running = asyncio.create_task(mailer.run())
        await following.wait()
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=5)
        assert done == {running}


def test_a_login_shows_nothing_of_itself() -> None:
    assert "secret" not in repr(smtp.Login("secret-name", "secret-word", "1"))
