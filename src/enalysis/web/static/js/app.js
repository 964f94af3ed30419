// Small conveniences of every page; all of them work without this file, only less comfortably.
(() => {
  "use strict";

  const minute = 60;
  const hour = 3600;
  const day = 86400;

  // Same words as the server's: web/formats.py, age().
  function age(seconds) {
    if (seconds < minute) return "just now";
    if (seconds < hour) return `${Math.floor(seconds / minute)} min ago`;
    if (seconds < 2 * day) return `${Math.floor(seconds / hour)} h ago`;
    return `${Math.floor(seconds / day)} days ago`;
  }

  // The age the server wrote counts on from when it came: the viewer's clock may be wrong.
  function growOld(root) {
    for (const element of root.querySelectorAll("time[data-age]")) {
      if (element.dataset.then === undefined) {
        element.dataset.then = String(performance.now());
        const said = /(\d+) (min|h|days)/.exec(element.textContent || "");
        const unit = said ? { min: minute, h: hour, days: day }[said[2]] : 0;
        element.dataset.seconds = String(said ? Number(said[1]) * unit : 0);
      }
      const passed = (performance.now() - Number(element.dataset.then)) / 1000;
      element.textContent = age(Number(element.dataset.seconds) + passed);
    }
  }

  // Times stand in the site's zone; the viewer's own shows on hover.
  function hoverTimes(root) {
    const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
    for (const element of root.querySelectorAll("time[data-age], time[data-local]")) {
      if (element.dataset.hover) continue;
      element.dataset.hover = "1";
      const here = `${format.format(new Date(element.dateTime))} on your clock`;
      element.title = element.title ? `${element.title}; ${here}` : here;
    }
  }

  function secrets(root) {
    for (const button of root.querySelectorAll("button[data-reveal]")) {
      if (!button.hidden) continue;
      const input = document.getElementById(button.dataset.reveal);
      button.hidden = false;
      button.addEventListener("click", () => {
        const shown = input.type === "text";
        input.type = shown ? "password" : "text";
        button.textContent = shown ? "Show" : "Hide";
        button.setAttribute("aria-pressed", String(!shown));
      });
    }
  }

  function copies(root) {
    for (const button of root.querySelectorAll("button[data-copy]")) {
      // Browsers let pages copy over https and on this machine only.
      if (!button.hidden || !navigator.clipboard) continue;
      button.hidden = false;
      button.addEventListener("click", () => {
        navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent).then(
          () => { button.textContent = "Copied"; },
          () => { button.hidden = true; },
        );
      });
    }
  }

  function filters(root) {
    for (const form of root.querySelectorAll("form[data-auto]")) {
      form.addEventListener("change", (event) => {
        if (event.target.matches("select")) form.requestSubmit();
      });
      // An address that is shared should name only what was chosen.
      form.addEventListener("formdata", (event) => {
        for (const [name, value] of [...event.formData]) {
          if (value === "" || (name === "sort" && value === "worst")) event.formData.delete(name);
        }
      });
    }
  }

  function busy(root) {
    for (const form of root.querySelectorAll("form[method=post]")) {
      form.addEventListener("submit", (event) => {
        const button = event.submitter;
        if (!button || button.hasAttribute("hx-post")) return;
        // After the browser has collected the form: a disabled button would not be sent along.
        setTimeout(() => {
          button.disabled = true;
          if (button.dataset.busy) button.textContent = button.dataset.busy;
        }, 0);
      });
    }
  }

  function wire(root) {
    growOld(root);
    hoverTimes(root);
    secrets(root);
    copies(root);
  }

  function lost(message) {
    const note = document.getElementById("connection-lost");
    if (!note) return;
    note.textContent = message;
    note.hidden = message === "";
  }

  wire(document);
  filters(document);
  busy(document);
  setInterval(() => growOld(document), 15000);

  document.addEventListener("htmx:load", (event) => wire(event.detail.elt));
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) lost("");
  });
  document.addEventListener("htmx:responseError", () => {
    lost("The server could not answer just now. What you see is from the last good answer; it is tried again by itself.");
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => {
      lost("The server cannot be reached. What you see is from the last good answer; it is tried again by itself.");
    });
  }
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt } = event.detail;
    if (elt.dataset && elt.dataset.busy) {
      elt.dataset.idle = elt.textContent;
      elt.textContent = elt.dataset.busy;
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt } = event.detail;
    if (elt.dataset && elt.dataset.idle) elt.textContent = elt.dataset.idle;
  });
  // A page brought back by the browser's own history shows a button as it was left.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });
})();
