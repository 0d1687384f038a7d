"""What an error says, to be quoted in the sentence of another."""


def reason(error: BaseException) -> str:
    r"""Return the first line of an error's message without a full stop, or its kind without one.

    Examples
    --------
    >>> reason(ValueError("no such format.\nSee the manual."))
    'no such format'
    >>> reason(EOFError())
    'EOFError'
    """
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__
