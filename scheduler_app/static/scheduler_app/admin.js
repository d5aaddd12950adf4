// Small comforts; every page works without them.
"use strict";

// A menu closes when attention goes elsewhere.
document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.sch-menu[open]")) {
        if (!menu.contains(event.target)) {
            menu.open = false;
        }
    }
});

document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
        for (const menu of document.querySelectorAll("details.sch-menu[open]")) {
            menu.open = false;
            menu.querySelector("summary").focus();
        }
    }
});

// A second click, while the first is on its way, must not start a job twice.
document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") {
        return;
    }
    if (form.dataset.sent) {
        event.preventDefault();
        return;
    }
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 3000);
});
