"""Why a store cannot be used."""


class StoreError(Exception):
    """The store cannot be started or must not be used; the text names the cause and the remedy."""
