// What pages do more quickly with JavaScript; without it the same links and forms work by loading pages.

// A dialog: its opener is a link to it, and without this script it unfolds on the page (`:target`).
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.opens).showModal();
  }
  const closer = event.target.closest("[data-closes]");
  if (closer?.closest("dialog[open]")) {
    event.preventDefault();
    closer.closest("dialog").close();
  }
  // A menu closes when one looks elsewhere.
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// Copies an address that the page shows to be copied; prints the page.
document.addEventListener("click", async (event) => {
  const copier = event.target.closest("[data-copies]");
  if (copier) {
    const field = document.getElementById(copier.dataset.copies);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      copier.textContent = copier.dataset.done;
    } catch { /* The address stays selected, to be copied by hand. */ }
  }
  if (event.target.closest("[data-prints]")) window.print();
  const shutter = event.target.closest("[data-shuts]");
  if (shutter) document.getElementById(shutter.dataset.shuts).open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
  // Links that act as buttons answer to the space bar too.
  if (event.key === " " && event.target.matches("a[role=button]")) {
    event.preventDefault();
    event.target.click();
  }
});

// Filters and facets are sent as soon as something is chosen.
document.addEventListener("change", (event) => {
  const form = event.target.form?.matches("[data-send]") ? event.target.form : null;
  if (form && event.target.matches("select, input[type=checkbox], input[type=radio]")) form.requestSubmit();
});
