// The front page renews itself: part by part, while somebody looks. Without this it shows how things stood.
"use strict";

{
    const EVERY_MS = 5000;
    const live = document.getElementById("sch-live");
    let timer = null;
    let asking = null;
    let stopped = false;
    let failures = 0;

    const control = document.createElement("button");
    control.type = "button";
    control.className = "sch-button";
    const note = document.createElement("span");
    note.className = "sch-quiet";
    note.setAttribute("role", "status");

    // Seconds by the server's clock, whatever the one of this machine says.
    let offset = 0;
    const setClock = (part) => {
        if (part?.dataset.now) {
            offset = Date.parse(part.dataset.now) - Date.now();
        }
    };

    const words = (seconds) => {
        const whole = Math.max(0, Math.round(seconds));
        for (const [size, unit, small, smaller] of [
            [86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"],
        ]) {
            if (whole >= size) {
                const rest = Math.floor((whole % size) / small);
                return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
            }
        }
        return `${whole} s`;
    };

    const count = () => {
        for (const place of document.querySelectorAll("[data-countdown]")) {
            const left = (Date.parse(place.dataset.countdown) - Date.now() - offset) / 1000;
            const text = left < 0.5 ? "now" : `in ${words(left)}`;
            if (place.textContent !== text) {
                place.textContent = text;
            }
        }
    };

    const renew = (html) => {
        const fresh = new DOMParser().parseFromString(html, "text/html");
        const parts = new Map([...fresh.querySelectorAll("[data-part]")].map((part) => [part.id, part]));
        for (const part of document.querySelectorAll("[data-part]")) {
            const next = parts.get(part.id);
            // What somebody is at stays as it is: a link with the focus, an open table, selected text.
            const isBusy = part.contains(document.activeElement)
                || part.querySelector("details[open]")
                || (!document.getSelection().isCollapsed && part.contains(document.getSelection().anchorNode));
            if (!next || isBusy) {
                continue;
            }
            if (part.id === "sch-part-head") {
                setClock(next);
                next.append(control);
            }
            if (part.querySelector(".sch-banner")) {
                // It was announced when it appeared; only its age is new.
                next.querySelector(".sch-banner")?.removeAttribute("role");
            }
            part.replaceWith(document.adoptNode(next));
        }
        count();
    };

    const say = (text) => {
        note.textContent = text;
    };

    const ask = async () => {
        asking = new AbortController();
        try {
            const answer = await fetch(live.dataset.refresh, {
                signal: asking.signal, redirect: "manual", headers: { "X-Requested-With": "fetch" },
            });
            if (answer.type === "opaqueredirect" || answer.status === 403) {
                stopped = true;
                say("You are logged out; reload the page.");
                return;
            }
            if (!answer.ok) {
                throw new Error(`status ${answer.status}`);
            }
            renew(await answer.text());
            failures = 0;
            say("");
        } catch (error) {
            if (error.name !== "AbortError") {
                failures += 1;
                say("The server does not answer; this is how things stood.");
            }
        } finally {
            asking = null;
            schedule();
        }
    };

    const schedule = () => {
        clearTimeout(timer);
        if (!stopped && !document.hidden) {
            timer = setTimeout(ask, EVERY_MS * Math.min(6, 1 + failures));
        }
    };

    const draw = () => {
        control.textContent = stopped ? "Update again" : "Stop updating";
    };

    if (live) {
        setClock(live);
        draw();
        document.getElementById("sch-part-head").append(control);
        live.before(note);
        control.addEventListener("click", () => {
            stopped = !stopped;
            draw();
            stopped ? (clearTimeout(timer), asking?.abort()) : ask();
        });
        document.addEventListener("visibilitychange", () => {
            if (document.hidden) {
                clearTimeout(timer);
                asking?.abort();
            } else if (!stopped) {
                ask();
            }
        });
        schedule();
    }
    if (document.querySelector("[data-countdown]")) {
        setClock(document.querySelector("[data-now]"));
        count();
    }
    setInterval(count, 1000);
}
