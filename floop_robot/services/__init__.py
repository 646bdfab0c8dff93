"""One file with a `main` for each process of a fleet; `supervision/` starts and watches them."""
