"""One script a target, the notes' way of doing the same beside it; `python -m bench` runs them."""
