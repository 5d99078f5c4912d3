"""Responses to GET and HEAD of an uploaded file (RFC 9110: conditions, ranges)."""

from typing import Final

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from ashchat_static import pages, ranges, service
from ashchat_static.store import Volume

HEADERS: Final = {
    # The name is a hash of the content, so the content never changes.
    "Cache-Control": "public, max-age=31536000, immutable",
    # A file that passed the type check by mistake cannot run scripts.
    "Content-Security-Policy": "default-src 'none'; sandbox",
    # Clients of other origins (desktop, mobile) show images, too.
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_AVATAR_HEADERS: Final = {**HEADERS, "Cache-Control": "public, max-age=86400"}


async def respond(name: str, request: Request, volume: Volume) -> Response | None:
    """Return the response; None if there is no such file."""
    if name == service.DEFAULT_AVATAR:
        return pages.respond(name, request, _AVATAR_HEADERS)
    kind = service.kind_of(name)
    file = await volume.open(name) if kind else None
    if kind is None or file is None:
        return None
    etag = f'"{name.partition(".")[0]}"'
    disposition = "inline" if kind.inline else "attachment"
    headers = {
        **HEADERS,
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Disposition": f'{disposition}; filename="{name}"',
    }
    if ranges.matches(request.headers.get("if-none-match"), etag):
        file.close()
        return Response(None, 304, headers)
    # Ranges apply to GET, and only to the version of the file that the client has
    # (RFC 9110, sections 14.2 and 13.1.5).
    whole = request.method != "GET" or request.headers.get("if-range", etag) != etag
    try:
        part = None if whole else ranges.parse(request.headers.get("range"), file.size)
    except ranges.UnsatisfiableRangeError:
        file.close()
        return Response(None, 416, {**headers, "Content-Range": f"bytes */{file.size}"})
    status = 200 if part is None else 206
    if part is not None:
        headers["Content-Range"] = part.content_range(file.size)
    part = part or ranges.Part(0, file.size)
    headers["Content-Length"] = str(part.length)
    if request.method == "HEAD":
        file.close()
        return Response(None, status, headers, kind.media_type)
    return StreamingResponse(file.chunks(part), status, headers, kind.media_type)
