"""Pictures of the admin's pages in docs/images, of a database filled with a made-up company's jobs.

    python scripts/screenshots.py [NAME ...]

The cluster's clock stands still at one moment, so that two runs give the same pictures, to the second. Everything runs in a
temporary directory: an embedded database, a web process, the installed Chromium.
"""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TALLEST = 1900
"""Pixels; a page goes on, a picture need not."""

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1360, "height": 850}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1360, "height": 850}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}

# A screenshot has thousands of colours, nearly all of them in smoothed letters. The 256 that cover most pixels stay,
# each other becomes the nearest of them: a fifth of the size, and nobody sees it.
TO_PALETTE = """
async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const data = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
    const counts = new Map();
    for (const pixel of data) {
        counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
    }
    const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([pixel]) => pixel);
    const places = new Map(palette.map((pixel, place) => [pixel, place]));
    const part = (pixel, shift) => (pixel >> shift) & 255;
    const nearest = (pixel) => {
        let best = 0;
        let least = Infinity;
        palette.forEach((other, place) => {
            const distance = [0, 8, 16].reduce(
                (sum, shift) => sum + (part(pixel, shift) - part(other, shift)) ** 2, 0);
            if (distance < least) {
                [best, least] = [place, distance];
            }
        });
        places.set(pixel, best);
        return best;
    };
    const indexes = new Uint8Array(data.length);
    data.forEach((pixel, at) => {
        indexes[at] = places.get(pixel) ?? nearest(pixel);
    });
    let text = "";
    for (let at = 0; at < indexes.length; at += 32768) {
        text += String.fromCharCode(...indexes.subarray(at, at + 32768));
    }
    return {
        width: image.width, height: image.height, indexes: btoa(text),
        palette: palette.map((pixel) => [part(pixel, 0), part(pixel, 8), part(pixel, 16)]),
    };
}
"""


def main(names: list[str]) -> None:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"No browser is installed: none of {', '.join(BROWSERS)} is on PATH.")
    IMAGES.mkdir(exist_ok=True)
    with demo_site() as (address, cookie, pages):
        unknown = set(names) - pages.keys()
        if unknown:
            sys.exit(f"No page is called {', '.join(unknown)}; there are {', '.join(pages)}.")
        wanted = {name: page for name, page in pages.items() if not names or name in names}
        take_pictures(browser, address, cookie, wanted)


@contextmanager
def demo_site() -> Iterator[tuple[str, str, dict[str, str]]]:
    """A web process on a filled database: its address, a session, the addresses of the pages by name."""
    directory = Path(tempfile.mkdtemp(prefix="jobscheduler-screenshots-"))
    # Lets the unprivileged user through that runs the server when this runs as root.
    directory.chmod(0o711)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("DATABASE_URL", "SECRET_KEY", "TIME_ZONE"):
        os.environ.pop(name, None)
    os.environ |= {
        "DATA_DIR": str(directory),
        "ENV_FILE": os.devnull,
        "DEBUG": "1",
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "jobscheduler.settings",
    }
    sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
    import django

    django.setup()
    from demo_data import fill, session_of
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from jobscheduler.embeddeddb.server import EmbeddedServer

    web = None
    try:
        call_command("migrate", verbosity=0)
        pages = fill()
        cookie = session_of("ana")
        connection.close()
        web = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "jobscheduler.wsgi", "--log-level", "warning"],
            cwd=ROOT,
        )
        wait_for_web(port)
        yield f"http://127.0.0.1:{port}", cookie, pages
    finally:
        if web is not None:
            web.terminate()
            web.wait(30)
        connection.close()
        EmbeddedServer(settings.EMBEDDED_DATABASE_DIRECTORY).destroy()
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_web(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/livez")
            return
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("The web process does not answer.")
            time.sleep(0.1)


def take_pictures(browser: str, address: str, cookie: str, pages: dict[str, str]) -> None:
    from playwright.sync_api import sync_playwright

    total = 0
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        workshop = chromium.new_page()
        for look, options in LOOKS.items():
            context = chromium.new_context(base_url=address, reduced_motion="reduce", **options)
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
            page = context.new_page()
            for name, path in pages.items():
                response = page.goto(path)
                if response is None or not response.ok:
                    sys.exit(f"{path} answers {response and response.status}.")
                height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
                taken = page.screenshot(
                    full_page=True,
                    animations="disabled",
                    clip={"x": 0, "y": 0, "width": options["viewport"]["width"], "height": height},
                )
                url = "data:image/png;base64," + base64.b64encode(taken).decode()
                png = png_of(workshop.evaluate(TO_PALETTE, url))
                (IMAGES / f"{name}-{look}.png").write_bytes(png)
                total += len(png)
            context.close()
        chromium.close()
    print(f"{len(pages) * len(LOOKS)} pictures in {IMAGES.relative_to(ROOT)}, {total / 1e6:.1f} MB")


def png_of(image: dict[str, Any]) -> bytes:
    """A PNG file of indexes into a palette."""
    width, height = image["width"], image["height"]
    indexes = base64.b64decode(image["indexes"])
    lines = b"".join(b"\0" + indexes[at : at + width] for at in range(0, width * height, width))
    palette = bytes(part for colour in image["palette"] for part in colour)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data)
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", palette),
            (b"IDAT", zlib.compress(lines, 9)),
            (b"IEND", b""),
        )
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    main(sys.argv[1:])
