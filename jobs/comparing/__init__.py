"""Points of every method, from which a report is made: gathered, gained, drawn, put on a page."""
