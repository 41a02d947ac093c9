-- Times are microseconds since 1970 UTC, durations microseconds.
-- A column marked "sealed" holds a blob that opens only in its place, and one marked "blind" what
-- it is looked up by; with encryption off both hold the value itself. See docs/encryption.md.

CREATE TABLE intents (
  seq            INTEGER PRIMARY KEY,  -- of its first event: the order of admission
  id             TEXT    NOT NULL UNIQUE,
  name_key       BLOB    NOT NULL,     -- blind
  target_key     BLOB    NOT NULL,     -- blind
  facts          BLOB    NOT NULL,     -- sealed: name, digest, owner, target, correlation id
  size           INTEGER NOT NULL,
  received_at    INTEGER NOT NULL,
  priority       INTEGER NOT NULL,
  timeout        INTEGER,
  retry_of       TEXT,
  state          TEXT    NOT NULL,
  runs           INTEGER NOT NULL DEFAULT 0,  -- attempts started, each with its number
  failures       INTEGER NOT NULL DEFAULT 0,  -- attempts that count against it
  crashes        INTEGER NOT NULL DEFAULT 0,  -- attempts during which the daemon died
  not_before     INTEGER,
  final_at       INTEGER,
  filed          TEXT,                        -- where its file ended; NULL until it did
  body           BLOB                         -- sealed; NULL once it cannot be run again
) STRICT;

CREATE INDEX intents_unfinished ON intents (seq) WHERE final_at IS NULL;
CREATE INDEX intents_final ON intents (final_at) WHERE final_at IS NOT NULL;
CREATE INDEX intents_by_name ON intents (name_key, seq);
CREATE INDEX intents_retries ON intents (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX intents_admitted ON intents (target_key, seq)
  WHERE state NOT IN ('rejected', 'quarantined', 'duplicate');

CREATE TABLE events (
  seq    INTEGER PRIMARY KEY,
  intent INTEGER,  -- intents.seq; NULL for the service as a whole
  at     INTEGER NOT NULL,
  event  BLOB    NOT NULL  -- sealed
) STRICT;

CREATE INDEX events_of_intent ON events (intent, seq) WHERE intent IS NOT NULL;

-- How far the views on disk are in line with the events.
CREATE TABLE relay (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  seq  INTEGER NOT NULL
) STRICT;
INSERT INTO relay VALUES (1, 0);

-- Entries that a view could not take; later ones went on.
CREATE TABLE parked (
  seq INTEGER PRIMARY KEY,
  why BLOB NOT NULL  -- sealed
) STRICT;

-- Pauses in force; target '' is everything.
CREATE TABLE pauses (
  target_key BLOB PRIMARY KEY,  -- blind
  pause      BLOB    NOT NULL,  -- sealed: target, by, why
  at         INTEGER NOT NULL
) STRICT;

-- What the original program had processed, from its .conductor-state.json.
CREATE TABLE imported (
  file_key     BLOB PRIMARY KEY,  -- blind: digest and name
  file         BLOB    NOT NULL,  -- sealed: name, digest
  processed_at INTEGER NOT NULL
) STRICT;

-- Small facts about this journal: which handoff it serves, what was imported when.
CREATE TABLE facts (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- What seals the rest, each wrapped by the key-encryption key; none: nothing is sealed.
CREATE TABLE data_keys (
  kid     INTEGER PRIMARY KEY,  -- 0 is the key of the blind columns
  wrapped BLOB    NOT NULL,
  made_at INTEGER NOT NULL
) STRICT;

-- What there must be, sealed with every commit: a row that is gone shows.
CREATE TABLE ledger (
  only  INTEGER PRIMARY KEY CHECK (only = 1),
  count BLOB    NOT NULL
) STRICT;

-- Intents whose rows cannot be trusted: never run, until an operator says what is to be done.
CREATE TABLE damaged (
  seq INTEGER PRIMARY KEY,  -- intents.seq
  why TEXT    NOT NULL,
  at  INTEGER NOT NULL
) STRICT;
