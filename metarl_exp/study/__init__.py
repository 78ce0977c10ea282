"""Studies: from a file that says which runs make which table, and the runs that there are, to tables and figures.

declaration (the file) ─► runs (wanted, found, summary) ─► cells (numbers) ─► rendering, drawing
"""
