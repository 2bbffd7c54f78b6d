"""What a run tells while it works: progress, and what it cost."""
