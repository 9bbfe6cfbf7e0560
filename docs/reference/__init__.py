"""Pages that are generated from the code: `make docs` writes them, `make docs-check` compares them."""
