"""What became of a run on a cluster, and why, in the words of whoever submitted it."""
