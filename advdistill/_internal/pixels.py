"""Read and write lengths in pixel units as text; without torch, so that errors are reported at once."""

__all__ = ["pixels", "show_pixels"]


def pixels(value: float | str, what: str = "eps", limit: float = 1.0) -> float:
    """Read a length in pixel units, where 1 is white.

    Args:
        value: `0.03`, `"0.03"` or `"8/255"`.
        what: the value's name in messages.
        limit: the largest accepted value.

    Returns:
        The length in [0, limit].

    Raises:
        ValueError: not a number, negative, or larger than `limit`, such as a bare `8`.

    Example:
        >>> from advdistill.threat import pixels
        >>> pixels("51/255"), pixels(0.03)
        (0.2, 0.03)
    """
    try:
        whole, slash, parts = value.partition("/") if isinstance(value, str) else (value, "", "")
        number = float(whole) / (float(parts) if slash else 1)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{what} must be a number such as 0.03 or '8/255', got {value!r}.") from None
    if not 0 <= number <= limit:
        hint = f" Did you mean '{number:g}/255'?" if number > limit else ""
        raise ValueError(f"{what} must lie in [0, {limit:g}], in units of pixels in [0, 1]; got {value}.{hint}")
    return number


def show_pixels(value: float) -> str:
    """Return a length in pixel units as text.

    Args:
        value: in units where 1 is white.

    Returns:
        Text such as `8/255` for a whole number of 255ths that is not a short decimal, otherwise the plain number.

    Example:
        >>> from advdistill.threat import show_pixels
        >>> show_pixels(8 / 255), show_pixels(0.1)
        ('8/255', '0.1')
    """
    levels = round(value * 255)
    is_short = float(f"{value:.3g}") == value
    return f"{levels}/255" if levels / 255 == value and not is_short else f"{value:.10g}"
