"""The sweep_row step."""
