"""Metrics of a Ray cluster's workers, which each of its machines serves to Prometheus and its dashboard plots.

ray_rdo_pictures_total{status}   pictures that were encoded, or failed
ray_rdo_megapixels_total         of the encoded ones
ray_rdo_picture_seconds          histogram of the wall time of a picture
ray_rdo_gain_percent             histogram of the fall of its cost by refinement
"""

from jobs.record import Record

SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0]  # upper edges of the buckets
PERCENT = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0]


class Metrics:
    """Counters and histograms of one worker."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Histogram

        self.pictures = Counter("rdo_pictures", "Pictures that were encoded, or failed.", tag_keys=("status",))
        self.megapixels = Counter("rdo_megapixels", "Megapixels of encoded pictures.")
        self.seconds = Histogram("rdo_picture_seconds", "Wall time of a picture.", boundaries=SECONDS)
        self.gain = Histogram("rdo_gain_percent", "Fall of cost by refinement.", boundaries=PERCENT)

    def count(self, records: list[Record]) -> None:
        """Count finished pictures."""
        for record in records:
            self.pictures.inc(1, tags={"status": record.status})
            if record.seconds is not None:
                self.seconds.observe(record.seconds)
            if record.outcome:
                self.megapixels.inc(record.outcome.width * record.outcome.height / 1e6)
                self.gain.observe(record.outcome.gain_percent)
