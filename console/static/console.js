// A confirmation opens as a dialog over the page. Without this file every link is a page of its own, and all works the same.
"use strict";

document.addEventListener("htmx:afterSettle", (event) => {
  const dialog = document.getElementById("dialog");
  if (event.detail.target === dialog && !dialog.open) dialog.showModal();
});

document.addEventListener("click", (event) => {
  const cancel = event.target.closest("[data-close]");
  const dialog = document.getElementById("dialog");
  if (!cancel || !dialog.open) return;
  event.preventDefault();
  dialog.close();
});
