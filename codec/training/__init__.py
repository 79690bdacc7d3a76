"""Training of a variable-rate codec: crops, loss, schedule, trainer, calibration; nothing here is needed to code."""
