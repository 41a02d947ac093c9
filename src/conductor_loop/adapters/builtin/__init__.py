"""The built-in publisher: packages rendered in process and put into OUT."""
