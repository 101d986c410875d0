"""Wait for long-running operations of Bentley's iTwin Platform from asyncio."""

from schedules_async.version import __version__

__all__ = ["__version__"]
