"""The page on the chat benchmark."""

import textwrap
from typing import Any

from ashchat_e2e.bench.chat.scenarios import LATE_MS, P99_MS, RECEIVERS, sustained

Found = dict[str, Any]
PAGE_CHARS = 96


def markdown(found: Found) -> str:
    """Return the page."""
    versions = textwrap.fill(
        ", ".join(f"{name} {value}" for name, value in found["versions"].items() if value),
        width=PAGE_CHARS,
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    left_out = "".join(f"- left out: {name}: {why}\n" for name, why in found["left_out"].items())
    begun = f"{found['begun_at']}, load average before {found['load_before']:.1f}"
    return f"""# Chat and its peers, each on one core

```console
$ make bench-chat
```

## One room, {RECEIVERS:,} receivers

Messages of 100 bytes, on a fixed schedule (open-loop); latency counts from the moment at which a
message was to be sent. A rate is carried if every message reaches every receiver, p99 at most
{P99_MS:.0f} ms; one that is not carried is tried twice. CPU is in cores: of the server, the
generator, and everything else on the machine, without which a server may be better.

| server | offered/s | delivered/s | p50 ms | p99 | missing | cores | generator | others | carried |
|---|---|---|---|---|---|---|---|---|---|
{"".join(map(_broadcast, found["broadcast"]))}
{_stores(found)}
## Idle sockets

Each with a heartbeat every 30 s where the protocol has one. Kernel memory (slab) is that of both
ends.

| server | sockets | topics each | KB each | kernel, KB each | cores |
|---|---|---|---|---|---|
{"".join(map(_idle, found["idle"]))}
{_stalled(found)}
## How

- measured {begun}
- {found["cores"]} cores, {found["processor"]}: the server on one, the generator and the backends
  on another
- The generator is written in Go (tests/load). Where it was itself late by more than
  {LATE_MS:.0f} ms (p99), the line is marked `*`, and the server may be better.
{left_out}- {versions}
- raw data: [chat.json](chat.json)
"""


def _broadcast(result: Found) -> str:
    late = "*" if result["generator_lateness"]["p99_ms"] > LATE_MS else ""
    return (
        f"| {result['server']}{late} | {result['offered_per_s']:,.0f} "
        f"| {result['deliveries_per_s']:,.0f} | {result['delivery']['p50_ms']:.0f} "
        f"| {result['delivery']['p99_ms']:.0f} | {result['expected'] - result['received']:,} "
        f"| {result['server_cores']:.2f} | {result['generator_cores']:.2f} "
        f"| {result['others_cores']:.2f} "
        f"| {'yes' if sustained(result) else 'no'} |\n"
    )


def _stores(found: Found) -> str:
    stored = [one for one in found["broadcast"] if one["stores_cores"]]
    if not stored:
        return ""
    lines = "".join(
        f"| {one['offered_per_s']:,.0f} | {one['replies']['p50_ms']:.0f} "
        f"| {one['replies']['p99_ms']:.0f} | "
        + ", ".join(f"{name} {used:.2f}" for name, used in one["stores_cores"].items())
        + " |\n"
        for one in stored
    )
    return f"""
With everything stored, and the sender's acknowledgement:

| offered/s | acknowledgement p50 ms | p99 ms | backends, cores |
|---|---|---|---|
{lines}"""


def _idle(result: Found) -> str:
    return (
        f"| {result['server']} | {result['sockets']:,} | {result['topics']} "
        f"| {result['rss_per_socket_bytes'] / 1000:.1f} "
        f"| {result['kernel_per_socket_bytes'] / 1000:.1f} | {result['server_cores']:.3f} |\n"
    )


def _stalled(found: Found) -> str:
    if not found["stalled"]:
        return ""
    lines = "".join(
        f"| {one['load']['stalled']} | {one['deliveries_per_s']:,.0f} "
        f"| {one['delivery']['p50_ms']:.0f} | {one['delivery']['p99_ms']:.0f} "
        f"| {one['expected'] - one['received']:,} | {one['server_rss_bytes'] / 1e6:.0f} |\n"
        for one in found["stalled"]
    )
    return f"""
## Readers that take nothing

| of {RECEIVERS:,} do not read | delivered/s to others | p50 ms | p99 ms | missing | MB in all |
|---|---|---|---|---|---|
{lines}"""
