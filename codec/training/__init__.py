"""Training a codec: data, loss, schedule, trainer."""
