"""Ways a training can end that a search has to tell apart."""


class NonFiniteLoss(RuntimeError):
    """The training loss became NaN or infinite: this setting diverges."""


class Preempted(RuntimeError):
    """The training left a machine that is about to be taken away, with a checkpoint of what it had done."""


class CorruptCheckpoint(RuntimeError):
    """A checkpoint that cannot be read, or whose content does not match its checksum."""
