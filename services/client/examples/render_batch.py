"""Render a folder of action files, so many at once, and go on where an earlier run stopped.

    python render_batch.py http://127.0.0.1:8080 actions/ frames/ --at-once 4

Each `actions/NAME.json` ({"keyboard": [[...6]], "mouse": [[...2]]}) becomes `frames/NAME.mjpeg`:
the frames' JPEGs one after the other, which most players play. A file appears whole or not at all,
so one that is there is finished. Files that fail are told at the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from worldloom_client import SessionError, SessionOptions, connect

ATTEMPTS = 5
LONGEST_PAUSE_SECONDS = 30.0


async def render(url: str, api_key: str | None, source: Path, target: Path, seed: int) -> None:
    """Render one file; raises `SessionError` when the gateway will not."""
    actions = json.loads(source.read_text())
    keyboard, mouse = actions["keyboard"], actions["mouse"]
    partial = target.with_suffix(".partial")
    async with connect(url, api_key=api_key, options=SessionOptions(seed=seed)) as session:
        await session.act(keyboard, mouse)
        await session.finish()
        with partial.open("wb") as out:
            async for frame in session.frames():
                out.write(frame.data)
    partial.replace(target)


async def render_patiently(
    url: str, api_key: str | None, source: Path, target: Path, seed: int
) -> None:
    """Render one file; a gateway that is busy is asked again, later each time."""
    pause = 1.0
    for _ in range(ATTEMPTS - 1):
        try:
            await render(url, api_key, source, target, seed)
        except SessionError as error:
            if not error.is_retryable:
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            return
    await render(url, api_key, source, target, seed)


async def render_all(asked: argparse.Namespace) -> list[str]:
    """Render what is not there yet; return a sentence for each file that failed."""
    asked.out.mkdir(parents=True, exist_ok=True)
    targets = {
        path: asked.out / f"{path.stem}.mjpeg" for path in sorted(asked.actions.glob("*.json"))
    }
    waiting = [source for source, target in targets.items() if not target.exists()]
    print(f"{len(targets)} files, {len(targets) - len(waiting)} of them rendered before")
    failures: list[str] = []

    async def work() -> None:
        while waiting:
            source = waiting.pop(0)
            try:
                await render_patiently(
                    asked.url, asked.api_key, source, targets[source], asked.seed
                )
            except (SessionError, OSError, KeyError, ValueError) as error:
                failures.append(f"{source}: {error}")
            print(f"\r{len(waiting)} left, {len(failures)} failed ", end="", flush=True)

    await asyncio.gather(*(work() for _ in range(asked.at_once)))
    print()
    return failures


def main() -> int:
    """Render a folder and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="address of the gateway")
    parser.add_argument("actions", type=Path, help="folder of action files, .json")
    parser.add_argument("out", type=Path, help="folder for the frames, .mjpeg")
    parser.add_argument("--api-key", help="key of the gateway, where it asks for one")
    parser.add_argument("--at-once", type=int, default=4, help="sessions at a time")
    parser.add_argument("--seed", type=int, default=0, help="seed of every session")
    failures = asyncio.run(render_all(parser.parse_args()))
    for sentence in failures:
        print(sentence, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
