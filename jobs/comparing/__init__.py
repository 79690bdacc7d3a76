"""Reports of `rdo-compare`: measured points of every codec, Bjøntegaard deltas, tables, and a page with pictures."""
