"""The notes' way: Keras's own generator over a folder of files, float32, the whole network at each step."""
