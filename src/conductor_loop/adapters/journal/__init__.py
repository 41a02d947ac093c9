"""The journal: one SQLite file that is queue, history and bus; one writer, many readers."""

from conductor_loop.adapters.journal.data_keys import Sealing
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.adapters.journal.writer import SqliteJournal, open_journal

__all__ = ["JournalReader", "Sealing", "SqliteJournal", "open_journal", "open_reader"]
