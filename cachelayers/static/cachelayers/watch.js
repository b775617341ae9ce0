// While a warmer runs: fetch the page again, and put what it says in place of what is shown.
"use strict";
{
    const SECONDS = 1.5;

    async function look() {
        const shown = document.getElementById("cl-runs");
        try {
            const response = await fetch(window.location.href, {credentials: "same-origin"});
            const page = new DOMParser().parseFromString(await response.text(), "text/html");
            const found = page.getElementById("cl-runs");
            if (found === null) {
                return; // logged out meanwhile
            }
            const focused = shown.contains(document.activeElement);
            if (!focused) {
                shown.replaceChildren(...found.childNodes);
            }
            if (!found.hasAttribute("data-watch") && !focused) {
                shown.removeAttribute("data-watch");
                return;
            }
        } catch (error) {
            if (!(error instanceof TypeError)) { // which fetch() raises while the site is away
                throw error;
            }
        }
        window.setTimeout(look, SECONDS * 1000);
    }

    window.setTimeout(look, SECONDS * 1000);
}
