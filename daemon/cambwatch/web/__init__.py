"""The intake: tasks come in over local HTTP, and whoever asks is told where they stand."""
