"""Resume file: the saved state of a refinement, beside the output that it is for, until that is written.

The invariant: it is read only by a run with the same picture, settings and weights; any other replaces it.
"""

from dataclasses import dataclass

from codec import places
from codec.errors import StorageError
from jobs.running.worklist import NOT_WRITTEN, STDIO

SUFFIX = ".resume"


@dataclass(frozen=True)
class ResumeFile:
    """Store (`rdo.resuming`) of one picture's states.

    Attributes:
        name: path or URL of the file, which need not exist.
        identity: of picture, settings and weights; a file of another is taken for none.
    """

    name: str
    identity: str

    def read(self) -> bytes | None:
        """Return the states written last for this identity, None where there are none."""
        try:
            identity, _, data = places.read(self.name).partition(b"\n")
        except (OSError, StorageError):
            return None
        return data if identity == self.identity.encode() else None

    def write(self, data: bytes) -> None:
        """Replace the states. A disk that is full or closed leaves what is there: the picture itself is not harmed."""
        try:
            places.write(self.name, self.identity.encode() + b"\n" + data)
        except (OSError, StorageError):
            return

    def remove(self) -> None:
        """Remove the file, of whatever identity, once the picture is written."""
        try:
            places.remove(self.name)
        except (OSError, StorageError):
            return


def resume_file(output: str, config_hash: str | None, input_sha256: str | None) -> ResumeFile | None:
    """Return the resume file of an output; None for one that is no file."""
    if output in (STDIO, NOT_WRITTEN):
        return None
    return ResumeFile(f"{output}{SUFFIX}", f"{config_hash} {input_sha256}")
