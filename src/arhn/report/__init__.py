"""One HTML file that shows a run: what changed, how sure it was, what went wrong, what it cost. `arhn report`."""
