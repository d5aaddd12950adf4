// Follows the log of an execution that runs. Without this, the page has a link that loads it anew.
"use strict";

(() => {
    const INTERVAL_MS = 1000;
    const LONGEST_MS = 15000;
    const KEPT_CHARS = 1000000;

    const box = document.querySelector("[data-follow]");
    if (!box) {
        return;
    }
    const log = box.querySelector("pre");
    const state = document.querySelector("[data-follow-state]");
    const address = new URL(box.dataset.follow, location.href);
    let after = box.dataset.after;
    let style = "";
    let wait = INTERVAL_MS;
    let chars = log.textContent.length;

    const say = (text) => {
        if (state && state.textContent !== text) {
            state.textContent = text;
        }
    };

    // Only text and the names of known styles: whatever was printed cannot become markup.
    const append = (pieces) => {
        const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
        for (const [words, text] of pieces) {
            const piece = document.createElement("span");
            piece.className = words.split(" ").filter((word) => /^[a-z]+$/.test(word))
                .map((word) => `sch-ansi-${word}`).join(" ");
            piece.textContent = text;
            log.append(piece);
            chars += text.length;
        }
        while (chars > KEPT_CHARS && log.childNodes.length > 1) {
            chars -= log.firstChild.textContent.length;
            log.firstChild.remove();
        }
        if (pieces.length) {
            box.hidden = false;
            document.querySelector("[data-log-empty]")?.remove();
        }
        if (isAtEnd) {
            log.scrollTop = log.scrollHeight;
        }
    };

    const look = async () => {
        if (document.hidden) {
            say("paused while this page is hidden");
            document.addEventListener("visibilitychange", look, {once: true});
            return;
        }
        try {
            address.searchParams.set("after", after);
            address.searchParams.set("style", style);
            const answer = await fetch(address, {headers: {Accept: "application/json"}, redirect: "error"});
            if (!answer.ok) {
                throw new Error(`status ${answer.status}`);
            }
            const found = await answer.json();
            append(found.pieces);
            after = found.after;
            style = found.style;
            if (found.is_over) {
                // The page has what became of it.
                location.reload();
                return;
            }
            say("follows as it runs");
            wait = found.is_more ? 0 : INTERVAL_MS;
        } catch {
            wait = Math.min(Math.max(wait, INTERVAL_MS) * 2, LONGEST_MS);
            say(`no answer; trying again in ${Math.round(wait / 1000)} s`);
        }
        setTimeout(look, wait);
    };

    document.querySelector("[data-follow-refresh]")?.remove();
    log.scrollTop = log.scrollHeight;
    say("follows as it runs");
    setTimeout(look, INTERVAL_MS);
})();
