"""Faults done on purpose, and what came of them: `make test-faults` writes docs/reliability.md."""
