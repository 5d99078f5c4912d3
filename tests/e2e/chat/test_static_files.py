"""Files through the edge: which uploads are accepted, and what any client can download."""

import asyncio
import hashlib

import httpx2
import pytest
import pytest_asyncio

from ashchat_dev.client import Person
from ashchat_dev.environment import Environment
from ashchat_dev.http import http_client
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.pictures import SECRET, png

pytestmark = pytest.mark.smoke

MIB = 1024 * 1024


@pytest_asyncio.fixture(loop_scope="session")
async def ana(person: PersonFactory) -> Person:
    """A user with an account."""
    return await person("Ana", "es")


async def test_an_image_is_uploaded_and_publicly_downloadable(
    ana: Person, anybody: httpx2.AsyncClient
) -> None:
    picture = png(2 * MIB)
    answer = await anybody.post(
        "/files", files={"photo": ("../../evil.html", picture, "text/html")}, headers=ana.headers
    )
    assert answer.status_code == 201, answer.text
    stored = answer.json()
    # The name is derived from owner and content, but does not reveal the owner.
    owner = hashlib.sha256(ana.user_id.encode()).hexdigest().encode()
    assert stored["name"] == hashlib.sha256(owner + picture).hexdigest() + ".png"
    assert (stored["size"], stored["type"]) == (len(picture), "image/png")

    whole = await anybody.get(stored["url"])
    assert whole.content == picture
    assert "immutable" in whole.headers["cache-control"]
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = await anybody.get(stored["url"], headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, picture[100:200])
    known = await anybody.get(stored["url"], headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


async def test_a_raw_body_and_the_header_without_an_underscore(
    ana: Person, cluster: Cluster
) -> None:
    # Behind an Ingress: our edge passes device_token and drops its hyphenated twin (Caddy's
    # protection against two spellings of one header).
    headers = {"Authorization": f"Bearer {ana.token}", "Device-Token": ana.device_token}
    async with (
        cluster.forward(f"service/{cluster.name}-static", 8080) as port,
        http_client(f"http://127.0.0.1:{port}", timeout=5) as ingress,
    ):
        for path in ("/files", "/"):  # with the prefix, and with the prefix cut off
            answer = await ingress.post(path, content=png(), headers=headers)
            assert answer.status_code == 201, answer.text


async def test_rejected_uploads(ana: Person, anybody: httpx2.AsyncClient) -> None:
    async def upload(content: bytes, **headers: str) -> tuple[int, str]:
        answer = await anybody.post("/files", content=content, headers={**ana.headers, **headers})
        return answer.status_code, answer.json()["reason"]

    assert await upload(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == (415, "unsupported_type")
    assert await upload(b"<!doctype html><p>" + b" " * 99) == (415, "unsupported_type")
    assert await upload(b"") == (400, "empty")
    assert await upload(png(), Authorization="") == (401, "missing_token")
    assert await upload(png(), Authorization="Bearer x") == (401, "token_malformed")
    assert await upload(png(), device_token="") == (400, "missing_device_token")
    assert await upload(png(), device_token="another") == (401, "device_mismatch")


@pytest.mark.parametrize("mib", [11, 40])
async def test_too_large(ana: Person, where: Environment, mib: int) -> None:
    # curl, because it reads a response that arrives before the whole body is sent.
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", "-H",
        f"Authorization: Bearer {ana.token}", "-H", f"device_token: {ana.device_token}",
        f"{where.url}/files", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate(png(mib * MIB))
    assert out == b"413"


@pytest.mark.parametrize(
    "path",
    [
        "/files/..%2f..%2f..%2fetc%2fpasswd",
        "/files/%2e%2e/%2e%2e/etc/passwd",
        "/files/.drafts",
        "/files/.owners",
        f"/files/{'0' * 64}.png",
        f"/files/{'0' * 64}.png%00",
        "/nothing",
    ],
    ids=["slashes", "dots", "drafts", "owners", "unknown", "nul", "root"],
)
async def test_paths_that_do_not_exist(anybody: httpx2.AsyncClient, path: str) -> None:
    answer = await anybody.get(path)
    assert answer.status_code == 404
    assert b"root:" not in answer.content


async def test_a_profile_photo(ana: Person, anybody: httpx2.AsyncClient) -> None:
    picture = png()
    answer = await ana.chat.patch("/user/photo", files={"photo": ("me.png", picture, "image/png")})
    assert answer.status == 200, answer.body
    photo = (await ana.profile())["photo_url"]
    assert photo == answer.body["url"]
    assert (await anybody.get(photo)).content == picture

    refused = await ana.chat.patch("/user/photo", files={"photo": ("me.png", b"<svg/>")})
    assert (refused.status, refused.body["reason"]) == (415, "unsupported_type")
    assert "image/png" in refused.body["details"]["accepted"]
    assert (await ana.profile())["photo_url"] == photo

    replaced = await ana.chat.patch("/user/photo", files={"photo": ("me.png", png())})
    assert (await ana.profile())["photo_url"] == replaced.body["url"] != photo
    assert (await anybody.get(photo)).status_code == 404


async def test_a_picture_loses_its_metadata(ana: Person, anybody: httpx2.AsyncClient) -> None:
    picture = png(metadata=True)
    assert SECRET in picture
    answer = await ana.chat.patch("/user/photo", files={"photo": ("me.png", picture)})
    assert SECRET not in (await anybody.get(answer.body["url"])).content


async def test_the_front_page(anybody: httpx2.AsyncClient) -> None:
    page = await anybody.get("/")
    assert page.status_code == 200
    assert "<h1>AshChat</h1>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (await anybody.get("/style.css")).status_code == 200
    missing = await anybody.get("/missing", headers={"Accept": "text/html"})
    assert (missing.status_code, "Nothing here" in missing.text) == (404, True)


async def test_files_outlive_their_pod(
    ana: Person, anybody: httpx2.AsyncClient, cluster: Cluster
) -> None:
    picture = png()
    answer = await anybody.post("/files", content=picture, headers=ana.headers)
    await cluster.kill("static")

    async def served() -> bool:
        # Ready comes a moment before the node routes the Service to the new pod; until then the
        # node may route it elsewhere.
        found = await anybody.get(answer.json()["url"])
        return found.status_code == httpx2.codes.OK and found.content == picture

    await until(served, within=60, what="the file", ignoring=(httpx2.TransportError,))
