"""Paths and URLs, told apart and joined. Nothing is opened, and nothing large imported."""


def is_remote(url: str) -> bool:
    """Whether it is a URL, which is fetched; `file://` too, to cache the shards of a slow network file system."""
    return "://" in url


def join(base: str, name: str) -> str:
    """The address of a file in a folder."""
    return f"{base.rstrip('/')}/{name}"
