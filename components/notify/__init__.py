"""The notify step."""
