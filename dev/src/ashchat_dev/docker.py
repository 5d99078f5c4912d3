"""Images by Docker, for clusters that can pull: the official bases, our Containerfiles."""

import subprocess
from pathlib import Path
from typing import Final

from ashchat_dev.images import Image, Sources
from ashchat_node.commands import run_logged
from ashchat_node.errors import NodeError
from ashchat_node.progress import Progress

SECONDS_TO_ANSWER: Final = 15


def answers() -> bool:
    """Return whether a Docker engine responds; the client alone cannot build."""
    try:
        done = subprocess.run(
            ["docker", "info", "--format={{.ServerVersion}}"],
            capture_output=True,
            check=False,
            timeout=SECONDS_TO_ANSWER,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def build_command(reference: str, image: Image, sources: Sources) -> list[str]:
    """Return the command that builds an image from its Containerfile's own base."""
    arguments = [f"--build-arg={key}={value}" for key, value in sorted(image.args.items())]
    return [
        "docker", "build", "--progress=plain", *arguments,
        f"--file={sources.recipe(image)}", f"--tag={reference}", str(sources.root),
    ]  # fmt: skip


def exists(reference: str) -> bool:
    """Return whether Docker has an image."""
    done = subprocess.run(
        ["docker", "image", "inspect", reference], capture_output=True, check=False
    )
    return done.returncode == 0


def build(reference: str, image: Image, sources: Sources, progress: Progress, logs: Path) -> None:
    """Build an image unless its tag exists.

    Raises:
        NodeError: The build failed.
    """
    if exists(reference):
        return
    with progress.step(f"image {image.name}") as step:
        run_logged(
            f"image {image.name}",
            build_command(reference, image, sources),
            log=logs / f"image-{image.name}.log",
            step=step,
        )


def in_registry(reference: str) -> bool:
    """Return whether a registry has an image, by its manifest."""
    done = subprocess.run(
        ["docker", "manifest", "inspect", reference], capture_output=True, check=False
    )
    return done.returncode == 0


def push(reference: str, image: Image, progress: Progress, logs: Path) -> None:
    """Push an image to its registry.

    Raises:
        NodeError: The registry refused it.
    """
    with progress.step(f"push {image.name}") as step:
        run_logged(
            f"push {image.name}",
            ["docker", "push", reference],
            log=logs / f"push-{image.name}.log",
            step=step,
            what_to_do="Look whether `docker login` is done for IMAGE_REGISTRY, then run it again.",
        )


def require() -> None:
    """Refuse to continue without an engine.

    Raises:
        NodeError: No Docker engine answers.
    """
    if not answers():
        raise NodeError(
            "Docker",
            "no Docker engine answers, and the images are built with it",
            what_to_do="Start Docker, or use CLUSTER=node (Linux, root).",
        )
