"""Ways a training can end that a search has to tell apart."""


class NonFiniteLoss(RuntimeError):
    """The training loss became NaN or infinite: this setting diverges."""


class CorruptCheckpoint(RuntimeError):
    """A checkpoint that cannot be read, or whose content does not match its checksum."""
