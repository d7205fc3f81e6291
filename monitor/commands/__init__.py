"""What stands behind `cli`: how a command reaches the daemon or its store, what it looks at, and what it prints."""
