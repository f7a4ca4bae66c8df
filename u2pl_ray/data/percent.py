"""Shares of pixels as text, of classes that may be very rare."""


def percent(share: float) -> str:
    """Return a share (0 .. 1) in per cent with two digits; `<0.01` for what is less, but not nothing."""
    return "<0.01" if 0 < share < 0.5e-4 else f"{100 * share:.2f}"
