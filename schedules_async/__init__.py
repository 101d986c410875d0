from schedules_async.version import __version__

__all__ = ["__version__"]
