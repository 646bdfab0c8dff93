"""Any Gymnasium environment as `floop train --env` sees it: loaded, checked at each step, flattened to vectors."""
