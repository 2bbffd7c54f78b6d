"""Do the figures hold? Intervals and decisions by simulation; `make check-statistics` calls it."""
