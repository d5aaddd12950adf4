"""Make a virtual environment and keep it as a requirements file wants it.

    python scripts/make_venv.py DIRECTORY REQUIREMENTS_FILE

Installs only when a requirements file or the Python changed. Runs on the Python that the environment is to have,
which may be the environment's own.
"""

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
RUNTIME = ROOT / "requirements.txt"
CONSTRAINTS = ROOT / "constraints" / f"python{VERSION}.txt"


def main(directory: Path, requirements: Path) -> None:
    # Two commands in a fresh clone must not install into one environment at the same time.
    with open(RUNTIME) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not works(directory):
            say(f"Making {directory.name} with Python {VERSION}.")
            venv.create(directory, clear=True, with_pip=True)
        # Every other requirements file includes the runtime's, so that is installed by either.
        wanted = {file: fingerprint(RUNTIME, file, CONSTRAINTS) for file in (RUNTIME, requirements)}
        stamps = {file: directory / f".installed-{file.stem}" for file in wanted}
        stamp = stamps[requirements]
        if not stamp.exists() or stamp.read_text() != wanted[requirements]:
            say(f"Installing {requirements.name} into {directory.name}, a minute the first time.")
            install(directory, requirements)
            for file, text in wanted.items():
                stamps[file].write_text(text)


def works(directory: Path) -> bool:
    """Whether the environment is there, runs, and is of this Python's version."""
    code = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    try:
        said = subprocess.run(
            [directory / "bin" / "python", "-c", code], capture_output=True, text=True
        )
    except OSError:
        return False
    return said.returncode == 0 and said.stdout.strip() == VERSION


def fingerprint(*files: Path) -> str:
    texts = [file.read_text() for file in files if file.exists()]
    return hashlib.sha256("\0".join([sys.version, *texts]).encode()).hexdigest()


def install(directory: Path, requirements: Path) -> None:
    # A Python that has no constraints file yet gets what the ranges allow.
    pinned = ["--constraint", CONSTRAINTS] if CONSTRAINTS.exists() else []
    pip = [directory / "bin" / "python", "-m", "pip", "-qq", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", *pinned, "--requirement", requirements])
    if done.returncode != 0:
        sys.exit(f"{requirements.name} could not be installed; the reason is above.")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
    except KeyboardInterrupt:
        sys.exit("Interrupted; the next command goes on from here.")
