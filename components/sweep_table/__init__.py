"""The sweep_table step."""
