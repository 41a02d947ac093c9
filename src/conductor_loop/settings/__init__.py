"""Every setting, read once: flags > environment > file > defaults, all mistakes at once."""

from conductor_loop.settings.declared.logs import LogFormat, LogLevel
from conductor_loop.settings.loading import SettingsMistaken, load_settings
from conductor_loop.settings.model import Settings

__all__ = ["LogFormat", "LogLevel", "Settings", "SettingsMistaken", "load_settings"]
