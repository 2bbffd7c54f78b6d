"""The baseline step."""
