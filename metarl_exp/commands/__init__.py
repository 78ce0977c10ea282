"""The commands: each reads its command line, calls the wings below and prints."""
