"""Why pictures are not sent."""


class Withheld(Exception):
    """The pictures of a study stay here; the text says why."""
