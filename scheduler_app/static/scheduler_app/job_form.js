// The job's form while somebody types: what its schedule means, and the fields of what it would run.
// Without this, "Preview the schedule" and "Show its fields" do the same.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("job_form");
    const preview = document.getElementById("preview");
    if (!form || !preview) {
        return;
    }
    for (const button of form.querySelectorAll(".sch-show-fields")) {
        button.remove();
    }
    const body = preview.querySelector("#preview-body");
    let timer = 0;
    let asked = null;

    const isArgument = (element) => element.closest("#arguments") !== null;
    const replaces = (element) => element.name === "kind" || element.name === "target";

    // What was typed while the answer was on its way stays.
    const showArguments = (answer) => {
        const place = document.getElementById("arguments");
        const focused = document.activeElement && document.activeElement.id;
        place.replaceChildren(...answer.querySelector("#arguments").childNodes);
        document.querySelector('label[for="id_target"]').textContent =
            answer.querySelector("#target-label").textContent.trim() + ":";
        const again = focused && document.getElementById(focused);
        if (again && place.contains(again)) {
            again.focus();
        }
    };

    const ask = async (withFields) => {
        if (asked) {
            asked.abort();
        }
        const mine = (asked = new AbortController());
        const data = new FormData(form);
        data.append(withFields ? "_fields" : "_preview", withFields || "1");
        preview.setAttribute("aria-busy", "true");
        try {
            const response = await fetch(preview.dataset.assist, {
                method: "POST",
                body: data,
                signal: mine.signal,
                redirect: "error",
            });
            if (!response.ok) {
                throw new Error(`the server answered ${response.status}`);
            }
            const answer = new DOMParser().parseFromString(await response.text(), "text/html");
            body.replaceChildren(...answer.querySelector("#preview-body").childNodes);
            if (withFields) {
                showArguments(answer);
            }
        } catch (error) {
            if (error.name === "AbortError") {
                return;
            }
            const note = document.createElement("p");
            note.className = "sch-callout";
            note.textContent =
                "The preview could not be fetched. What you typed is not lost; " +
                "you can still save, or press Preview the schedule.";
            body.replaceChildren(note);
        } finally {
            if (asked === mine) {
                asked = null;
                preview.removeAttribute("aria-busy");
            }
        }
    };

    // Empty: only the preview. Else what the server is told about why the fields are asked for.
    let wantsFields = "";
    const soon = (withFields) => {
        wantsFields = wantsFields || withFields;
        clearTimeout(timer);
        timer = setTimeout(() => {
            const fields = wantsFields;
            wantsFields = "";
            ask(fields);
        }, 250);
    };

    form.addEventListener("input", (event) => {
        if (event.target.name === "arguments_as") {
            soon("switched");
        } else if (!isArgument(event.target)) {
            soon(replaces(event.target) ? "1" : "");
        }
    });
});
