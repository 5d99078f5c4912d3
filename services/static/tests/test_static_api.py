"""The public application over a real folder and real keys, without a socket."""

import asyncio
import errno
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import static_pictures as pictures
from ashchat_core.messages import SESSION_IDS_MAX, SessionRevoked
from ashchat_core.tokens import TokenVerifier, device_hash
from ashchat_static import api, usage
from ashchat_static.ended_sessions import ENDED, NAMED_MAX, EndedSessions
from ashchat_static.folders import OWNERS
from ashchat_static.gate import Gate
from ashchat_static.service import DEFAULT_AVATAR, Quota, owner_of
from ashchat_static.settings import Settings
from ashchat_static.store import DRAFTS, Volume

KEY = ec.generate_private_key(ec.SECP256R1())
DEVICE = "device-of-ana"
PNG = pictures.png()
LIMIT = 100_000
QUOTA = Quota(stored_bytes=50_000, uploads_per_day=12)


def token(**changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "ashchat-auth-service", "aud": "ashchat", "sub": "ana", "type": "MAIN",
        "exp": now + 3600, "iat": now, "nbf": now, "jti": "1", "sid": "1", "epoch": 1,
        "dev": device_hash(DEVICE), **changes,
    }  # fmt: skip
    return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "k", "typ": "at+jwt"})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def name_of(content: bytes, user: str = "ana") -> str:
    return hashlib.sha256(owner_of(user).encode() + content).hexdigest() + ".png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
async def client(tmp_path: Path, folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    public = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [{**public, "kid": "k", "alg": "ES256", "use": "sig"}]}))
    settings = Settings(
        _env_file=None,
        uploads_dir=folder,
        upload_max_bytes=LIMIT,
        jwks_file=jwks,
        allowed_origins="https://app.example.org",
    )
    volume = Volume(folder, QUOTA)
    await volume.prepare()
    verifier = TokenVerifier(jwks, issuer="ashchat-auth-service", audience="ashchat")
    transport = httpx2.ASGITransport(
        app=api.build(settings, volume, Gate(verifier, EndedSessions(folder)))
    )
    headers = {"Authorization": f"Bearer {token()}", "device_token": DEVICE}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        yield client


@pytest.fixture
def stored(folder: Path) -> Iterator[None]:
    """Check at the end that no draft was left."""
    yield
    assert list((folder / DRAFTS).iterdir()) == []


pytestmark = pytest.mark.usefixtures("stored")


@pytest.mark.parametrize("path", ["/files", "/upload", "/"])
async def test_upload_and_download(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, files={"photo": ("../../x.html", PNG, "text/html")})
    assert answer.status_code == 201
    name = name_of(PNG)
    assert answer.json() == {
        "url": f"/files/{name}", "name": name, "size": len(PNG), "type": "image/png",
    }  # fmt: skip
    del client.headers["Authorization"]
    for public in (f"/files/{name}", f"/{name}"):
        file = await client.get(public)
        assert file.status_code == 200
        assert file.content == PNG
        assert file.headers["content-type"] == "image/png"
        assert "immutable" in file.headers["cache-control"]
        assert "sandbox" in file.headers["content-security-policy"]
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["content-disposition"] == f'inline; filename="{name}"'


async def test_a_raw_body_twice_is_one_file(client: httpx2.AsyncClient, folder: Path) -> None:
    for _ in range(2):
        answer = await client.post("/files", content=PNG, headers={"Content-Type": "image/png"})
        assert answer.status_code == 201
    assert names_in(folder) == [name_of(PNG)]
    assert names_in(folder / OWNERS / owner_of("ana")) == [usage.USAGE, name_of(PNG)]


async def test_the_same_picture_of_two_people_is_two_files(
    client: httpx2.AsyncClient, folder: Path
) -> None:
    urls = [
        (
            await client.post(
                "/files", content=PNG, headers={"Authorization": f"Bearer {token(sub=who)}"}
            )
        ).json()["url"]
        for who in ("ana", "ben")
    ]
    assert await Volume(folder, QUOTA).remove_owner(owner_of("ana")) == 1
    assert [(await client.get(url)).status_code for url in urls] == [404, 200]


async def test_who_deleted_their_account_uploads_nothing_more(
    client: httpx2.AsyncClient, folder: Path
) -> None:
    await Volume(folder, QUOTA).remove_owner(owner_of("ana"))
    answer = await client.post("/files", content=PNG)
    assert (answer.status_code, answer.json()["reason"]) == (401, "session_revoked")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert names_in(folder) == []


async def test_ranges_conditions_and_head(client: httpx2.AsyncClient) -> None:
    url = (await client.post("/files", content=PNG)).json()["url"]
    whole = await client.head(url)
    assert (whole.status_code, whole.content) == (200, b"")
    assert whole.headers["content-length"] == str(len(PNG))
    assert whole.headers["accept-ranges"] == "bytes"
    etag = whole.headers["etag"]

    part = await client.get(url, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, PNG[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(PNG)}"
    assert (await client.get(url, headers={"Range": "bytes=-5"})).content == PNG[-5:]
    outside = await client.get(url, headers={"Range": "bytes=9999-"})
    assert outside.status_code == 416
    assert outside.headers["content-range"] == f"bytes */{len(PNG)}"
    other = await client.get(url, headers={"Range": "bytes=4-7", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, PNG)

    known = await client.get(url, headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["etag"] == etag


async def test_a_document_is_saved_not_shown(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/files", content=b"%PDF-1.7\n" + bytes(100))
    assert answer.json()["type"] == "application/pdf"
    file = await client.get(answer.json()["url"])
    assert file.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Authorization": ""}, 401, "missing_token"),
        ({"Authorization": "Basic eA=="}, 401, "missing_token"),
        ({"Authorization": "Bearer nonsense"}, 401, "token_malformed"),
        ({"Authorization": f"Bearer {token(exp=int(time.time()) - 60)}"}, 401, "token_expired"),
        ({"Authorization": f"Bearer {token(aud='other')}"}, 401, "token_invalid"),
        ({"device_token": ""}, 400, "missing_device_token"),
        ({"device_token": "another"}, 401, "device_mismatch"),
    ],
    ids=["none", "basic", "nonsense", "expired", "audience", "no device", "other device"],
)
async def test_the_gate(
    client: httpx2.AsyncClient, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = await client.post("/files", content=PNG, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


async def test_tokens_of_ended_sessions_are_refused(
    client: httpx2.AsyncClient, folder: Path
) -> None:
    ended = EndedSessions(folder)
    made = await client.post("/files", content=PNG)

    async def accepted(**claims: Any) -> bool:
        headers = {"Authorization": f"Bearer {token(**claims)}"}
        uploaded = await client.post("/files", content=PNG, headers=headers)
        deleted = await client.delete(made.json()["url"], headers=headers)
        for answer in (uploaded, deleted):
            if answer.status_code == 401:
                assert answer.json()["reason"] == "session_revoked"
                assert answer.headers["www-authenticate"] == "Bearer"
        assert (uploaded.status_code == 401) == (deleted.status_code == 401)
        return uploaded.status_code == 201

    at = datetime.now(UTC)
    assert await accepted(sid="1", epoch=1)
    await ended.add(SessionRevoked(user_id="ana", session_ids=("1", "2"), at=at))
    assert [await accepted(sid=sid, epoch=1) for sid in ("1", "2", "3")] == [False, False, True]
    for _ in range(2):  # delivered again
        await ended.add(SessionRevoked(user_id="ana", below=3, but="3", at=at))
    await ended.add(SessionRevoked(user_id="ana", below=2, but="4", at=at))  # late
    found = [await accepted(sid=sid, epoch=epoch) for sid, epoch in (("3", 1), ("4", 2), ("5", 3))]
    assert found == [True, False, True]
    assert await accepted(sub="ben", sid="5", epoch=0), "another account"


async def test_what_is_remembered_of_ended_sessions_is_bounded(folder: Path) -> None:
    ended = EndedSessions(folder)
    (folder / OWNERS).mkdir(parents=True)
    (folder / DRAFTS).mkdir()
    named: tuple[str, ...] = ()
    for number in range(NAMED_MAX * 2 // SESSION_IDS_MAX):
        named = tuple(f"{number:032x}.{one}" for one in range(SESSION_IDS_MAX))
        at = datetime.now(UTC)
        await ended.add(SessionRevoked(user_id="ana", session_ids=named, at=at))
    found = json.loads((folder / OWNERS / owner_of("ana") / ENDED).read_text())
    assert len(found["named"]) == NAMED_MAX
    assert found["named"][-1] == named[-1]


async def test_the_device_token_without_an_underscore(client: httpx2.AsyncClient) -> None:
    del client.headers["device_token"]
    answer = await client.post("/files", content=PNG, headers={"Device-Token": DEVICE})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 400, "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_type"),
        (b"<!doctype html>" + b" " * 200, 415, "unsupported_type"),
        (PNG + bytes(LIMIT), 413, "too_large"),
        (PNG + bytes(LIMIT * 3), 413, "too_large"),
        (PNG[:-20], 415, "malformed_file"),
        (b"GIF89a", 415, "malformed_file"),
    ],
    ids=["empty", "svg", "html", "large", "larger", "cut", "nothing"],
)
async def test_rejected_uploads(
    client: httpx2.AsyncClient, folder: Path, content: bytes, status: int, reason: str
) -> None:
    for answer in (
        await client.post("/files", content=content),
        await client.post("/files", files={"photo": ("a.png", content)}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert names_in(folder) == []


async def test_too_large_without_a_declared_length(client: httpx2.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield PNG
        for _ in range(20):
            yield bytes(LIMIT // 10)

    answer = await client.post("/files", content=body())
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")


@pytest.mark.parametrize("failing", ["fsync", "rename"])
async def test_a_full_volume(
    client: httpx2.AsyncClient, folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, full)
    answer = await client.post("/files", content=PNG)
    assert (answer.status_code, answer.json()["reason"]) == (507, "storage_full")
    assert names_in(folder) == []


async def test_drafts_left_behind_are_removed(folder: Path) -> None:
    volume = Volume(folder, QUOTA)
    await volume.prepare()
    old, new = folder / DRAFTS / "old", folder / DRAFTS / "new"
    for draft in (old, new):
        draft.touch()
    os.utime(old, (0, 0))
    await volume.prepare()
    assert not old.exists()
    assert new.exists()
    new.unlink()


@pytest.mark.parametrize("accept", ["application/json", "text/html,*/*"])
async def test_not_found(client: httpx2.AsyncClient, accept: str) -> None:
    for path in (
        "/files/nothing", f"/files/{'a' * 64}.png", "/files/..%2f..%2fetc%2fpasswd",
        "/files/.drafts", "/files/.owners", "/a/b/c",
    ):  # fmt: skip
        answer = await client.get(path, headers={"Accept": accept})
        assert answer.status_code == 404
        html = answer.headers["content-type"].startswith("text/html")
        assert html == accept.startswith("text/html")
        assert html or answer.json()["reason"] == "not_found"


async def test_front_page(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert "<h1>AshChat</h1>" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/style.css", "/icon.svg"):
        assert path in page.text
        shipped = await client.get(path)
        assert shipped.status_code == 200
        again = await client.get(path, headers={"If-None-Match": shipped.headers["etag"]})
        assert again.status_code == 304


async def test_the_default_avatar(client: httpx2.AsyncClient) -> None:
    avatar = await client.get(f"/files/{DEFAULT_AVATAR}")
    assert avatar.headers["content-type"] == "image/png"
    assert avatar.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/files", "POST"),
        ("GET", "/upload", "POST"),
        ("PUT", "/", "GET, HEAD, POST"),
        ("POST", f"/files/{'a' * 64}.png", "GET, HEAD, DELETE"),
        ("PATCH", f"/{'a' * 64}.png", "GET, HEAD"),
        ("POST", "/style.css", "GET, HEAD"),
        ("DELETE", "/files/docs", "GET, HEAD"),
    ],
)
async def test_method_not_allowed(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["reason"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


async def test_pages_of_listed_origins_may_upload_and_read(client: httpx2.AsyncClient) -> None:
    origin = {"Origin": "https://app.example.org"}
    url = (await client.post("/files", content=PNG, headers=origin)).json()["url"]
    for answer in (
        await client.get(url, headers=origin),
        await client.get("/files/nothing", headers=origin),
        await client.post("/files", content=b"", headers=origin),
        await client.post("/files", content=PNG, headers={**origin, "Authorization": ""}),
    ):
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]


async def test_a_refusal_says_what_would_be_accepted(client: httpx2.AsyncClient) -> None:
    kind = (await client.post("/files", content=b"<svg/>" + bytes(2000))).json()
    assert {"image/png", "audio/ogg", "video/mp4"} < set(kind["details"]["accepted"])
    assert "PNG" in kind["error"]
    size = (await client.post("/files", content=PNG + bytes(LIMIT))).json()
    assert size["details"] == {"max_bytes": LIMIT}


async def test_a_photo_is_an_image(client: httpx2.AsyncClient) -> None:
    document = b"%PDF-1.7\n" + bytes(2000)
    assert (await client.post("/files", content=document)).status_code == 201
    answer = await client.post("/files?purpose=photo", content=document)
    assert (answer.status_code, answer.json()["reason"]) == (415, "unsupported_type")
    accepted = answer.json()["details"]["accepted"]
    assert accepted == ["image/gif", "image/jpeg", "image/png", "image/webp"]


async def test_the_bytes_of_an_account_are_limited(
    client: httpx2.AsyncClient, folder: Path
) -> None:
    large = [pictures.noise(number, QUOTA.stored_bytes * 2 // 5) for number in range(3)]
    urls = [(await client.post("/files", content=large[n])).json()["url"] for n in (0, 1)]
    full = await client.post("/files", content=large[2])
    assert (full.status_code, full.json()["reason"]) == (507, "quota_exceeded")
    assert int(full.headers["retry-after"]) > 0
    assert full.json()["details"]["max_bytes"] == QUOTA.stored_bytes
    assert len(names_in(folder)) == 2
    # The same file again takes no more space; others are not affected; deleting makes room.
    assert (await client.post("/files", content=large[0])).status_code == 201
    other = {"Authorization": f"Bearer {token(sub='ben')}"}
    assert (await client.post("/files", content=large[2], headers=other)).status_code == 201
    assert (await client.delete(urls[0], headers=other)).status_code == 404
    assert (await client.delete(urls[0])).status_code == 204
    assert (await client.get(urls[0])).status_code == 404
    assert (await client.delete(urls[0])).status_code == 404
    assert (await client.post("/files", content=large[2])).status_code == 201


async def test_the_uploads_of_a_day_are_limited(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(QUOTA.uploads_per_day):
        content = PNG if number % 2 else b"not accepted"
        assert (await client.post("/files", content=content)).status_code in {201, 415}
    over = await client.post("/files", content=PNG)
    assert (over.status_code, over.json()["reason"]) == (429, "too_many_uploads")
    wait = int(over.headers["retry-after"])
    assert usage.DAY_SECONDS - 60 < wait <= usage.DAY_SECONDS
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + wait)
    assert (await client.post("/files", content=PNG)).status_code == 201


async def test_concurrent_uploads_of_an_account_are_limited(client: httpx2.AsyncClient) -> None:
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield PNG[:10]
        begun.release()
        await go.wait()
        yield PNG[10:]

    few = [
        asyncio.create_task(client.post("/files", content=body()))
        for _ in range(api.CONCURRENT_UPLOADS)
    ]
    for _ in few:
        await begun.acquire()
    over = await client.post("/files", content=PNG)
    assert (over.status_code, over.json()["reason"]) == (429, "too_many_uploads")
    assert over.headers["retry-after"] == "1"
    go.set()
    assert {(await one).status_code for one in few} == {201}
    assert (await client.post("/files", content=PNG)).status_code == 201


async def test_a_replaced_photo_is_deleted_unless_it_is_also_a_file(
    client: httpx2.AsyncClient,
) -> None:
    photo = "/files?purpose=photo"
    first = (await client.post(photo, content=pictures.noise(1, 900))).json()["url"]
    assert (await client.delete(f"{first}?purpose=photo")).status_code == 204
    shared = (await client.post(photo, content=pictures.noise(2, 900))).json()["url"]
    await client.post("/files", content=pictures.noise(2, 900))
    await client.post(photo, content=pictures.noise(2, 900))
    assert (await client.delete(f"{shared}?purpose=photo")).status_code == 404
    assert (await client.get(shared)).status_code == 200


@pytest.mark.parametrize("kind", pictures.WITH_METADATA)
async def test_an_upload_loses_its_metadata(client: httpx2.AsyncClient, kind: str) -> None:
    answer = await client.post("/files", files={"f": ("a", pictures.WITH_METADATA[kind]())})
    assert answer.status_code == 201, answer.text
    stored = await client.get(answer.json()["url"])
    assert int(answer.json()["size"]) == len(stored.content)
    assert pictures.SECRET not in stored.content
