"""Pages that are made from the code: `make docs` writes them, `make docs-check` compares them."""
