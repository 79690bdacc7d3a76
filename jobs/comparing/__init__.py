"""Reports of `rdo-compare`: measured points of every codec, Bjøntegaard deltas, tables, and a page with pictures."""

LADDER = (1.0, 2.75, 4.5, 6.25, 8.0)  # default quality levels of a variable-rate model
