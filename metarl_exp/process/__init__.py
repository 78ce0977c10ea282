"""The process that runs: its ranks, random streams, signals, memory, clock and terminal."""
