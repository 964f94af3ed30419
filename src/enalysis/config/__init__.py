"""The settings: what there is, where each comes from, and which values are refused."""

from enalysis.config.settings import Settings, settings_table
from enalysis.config.sources import load_settings, write_env
from enalysis.config.values import Setting

__all__ = ["Setting", "Settings", "load_settings", "settings_table", "write_env"]
