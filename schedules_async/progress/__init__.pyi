from schedules_async.progress.rich_bars import RichProgress
from schedules_async.progress.tqdm_bars import TqdmProgress

__all__ = ["RichProgress", "TqdmProgress"]
