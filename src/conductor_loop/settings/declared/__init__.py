"""Each setting, declared once: its name, default, kind and meaning."""
