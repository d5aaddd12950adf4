// Keys: ? lists them. Everything they do can be done by links and fields too.
"use strict";

{
    const ROWS = "[data-row], .sch-table > tbody > tr, .sch-entries > li:not(.sch-hour):not(.sch-empty)";
    const KEYS = [
        ["?", "this list"],
        ["/", "search the list, or the jobs"],
        ["j  k", "next row, previous row"],
        ["Enter", "open the row's link"],
        ["x", "choose the row"],
        ["[  ]", "earlier, later; page before, page after"],
        ["g o", "overview"], ["g j", "jobs"], ["g e", "executions"], ["g t", "timeline"],
        ["g a", "agenda"], ["g h", "heat map"], ["g n", "nodes"],
        ["Esc", "close, leave a field"],
    ];
    let afterG = 0;

    const isVisible = (element) => element && element.getClientRects().length > 0;

    const rows = () => [...document.querySelectorAll(ROWS)].filter(
        (row) => isVisible(row) && row.querySelector("a[href]"),
    );

    const move = (step) => {
        const found = rows();
        const here = found.findIndex((row) => row.contains(document.activeElement));
        const place = here < 0 ? (step > 0 ? 0 : found.length - 1) : here + step;
        const row = found[place];
        row?.querySelector("a[href]:not([tabindex='-1'])")?.focus();
        row?.scrollIntoView({ block: "nearest" });
    };

    const list = () => {
        let dialog = document.getElementById("sch-keys");
        if (!dialog) {
            dialog = document.createElement("dialog");
            dialog.id = "sch-keys";
            dialog.className = "sch sch-keys";
            dialog.setAttribute("aria-labelledby", "sch-keys-title");
            const title = document.createElement("h2");
            title.id = "sch-keys-title";
            title.textContent = "Keys";
            const table = document.createElement("dl");
            for (const [keys, words] of KEYS) {
                const term = document.createElement("dt");
                for (const key of keys.split(/ +/)) {
                    const cap = document.createElement("kbd");
                    cap.textContent = key;
                    term.append(cap, " ");
                }
                const text = document.createElement("dd");
                text.textContent = words;
                table.append(term, text);
            }
            const close = document.createElement("button");
            close.className = "sch-button";
            close.textContent = "Close";
            close.addEventListener("click", () => dialog.close());
            dialog.append(title, table, close);
            document.body.append(dialog);
        }
        dialog.open ? dialog.close() : dialog.showModal();
    };

    const follow = (...selectors) => {
        const link = selectors.map((one) => document.querySelector(one)).find(isVisible);
        link?.click();
        return Boolean(link);
    };

    const KNOWN = {
        "?": () => list(),
        "/": () => {
            const field = ["#searchbar", ".sch [type='search']"]
                .map((one) => document.querySelector(one)).find(isVisible);
            const jobs = document.querySelector("[data-go='j']");
            if (field) {
                field.focus();
                field.select();
            } else if (jobs) {
                // A page without a search of its own: that of the jobs, which takes the focus by its fragment.
                location.assign(`${jobs.href}#searchbar`);
            }
        },
        "j": () => move(1),
        "k": () => move(-1),
        "x": () => {
            const row = rows().find((one) => one.contains(document.activeElement));
            row?.querySelector("input[type='checkbox']")?.click();
        },
        "[": () => follow("[data-key='[']", "a[rel='prev']"),
        "]": () => follow("[data-key=']']", "a[rel='next']"),
        "g": () => {
            afterG = Date.now();
        },
    };

    document.addEventListener("keydown", (event) => {
        const field = event.target.closest?.("input, textarea, select, [contenteditable]");
        if (event.key === "Escape" && field) {
            field.blur();
            return;
        }
        const isText = field && !["checkbox", "radio", "button", "submit"].includes(field.type);
        if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isText) {
            return;
        }
        if (document.querySelector("dialog[open]") && event.key !== "?") {
            return;
        }
        const isGoing = Date.now() - afterG < 1500;
        afterG = 0;
        if (isGoing && follow(`[data-go='${CSS.escape(event.key)}']`)) {
            event.preventDefault();
            return;
        }
        if (Object.hasOwn(KNOWN, event.key)) {
            event.preventDefault();
            KNOWN[event.key]();
        }
    });
}
