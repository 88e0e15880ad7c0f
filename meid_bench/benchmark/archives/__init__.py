"""Archives of someone else's, here or on a server: opened with suspicion, read in parts."""
