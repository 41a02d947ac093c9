-- Times are microseconds since 1970 UTC, durations microseconds. Names are bytes.

CREATE TABLE intents (
  seq            INTEGER PRIMARY KEY,  -- of its first event: the order of admission
  id             TEXT    NOT NULL UNIQUE,
  name           BLOB    NOT NULL,
  digest         TEXT    NOT NULL,
  size           INTEGER NOT NULL,
  submitted_by   TEXT    NOT NULL,
  received_at    INTEGER NOT NULL,
  namespace      TEXT    NOT NULL,
  target         TEXT    NOT NULL,
  priority       INTEGER NOT NULL,
  timeout        INTEGER,
  correlation_id TEXT    NOT NULL,
  retry_of       TEXT,
  state          TEXT    NOT NULL,
  runs           INTEGER NOT NULL DEFAULT 0,  -- attempts started, each with its number
  failures       INTEGER NOT NULL DEFAULT 0,  -- attempts that count against it
  crashes        INTEGER NOT NULL DEFAULT 0,  -- attempts during which the daemon died
  not_before     INTEGER,
  final_at       INTEGER,
  filed          TEXT,                        -- where its file ended; NULL until it did
  body           BLOB                         -- NULL once it cannot be run again
) STRICT;

CREATE INDEX intents_unfinished ON intents (seq) WHERE final_at IS NULL;
CREATE INDEX intents_final ON intents (final_at) WHERE final_at IS NOT NULL;
CREATE INDEX intents_by_name ON intents (name, seq);
CREATE INDEX intents_retries ON intents (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX intents_admitted ON intents (namespace, target, seq)
  WHERE state NOT IN ('rejected', 'quarantined', 'duplicate');

CREATE TABLE events (
  seq    INTEGER PRIMARY KEY,
  intent INTEGER,  -- intents.seq; NULL for the service as a whole
  at     INTEGER NOT NULL,
  event  BLOB    NOT NULL
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
  why TEXT NOT NULL
) STRICT;

-- Pauses in force; target '' is everything.
CREATE TABLE pauses (
  target TEXT PRIMARY KEY,
  by     TEXT NOT NULL,
  why    TEXT NOT NULL,
  at     INTEGER NOT NULL
) STRICT;

-- What the original program had processed, from its .conductor-state.json.
CREATE TABLE imported (
  name         BLOB NOT NULL,
  digest       TEXT NOT NULL,
  processed_at INTEGER NOT NULL,
  PRIMARY KEY (name, digest)
) STRICT, WITHOUT ROWID;

-- Small facts about this journal: which handoff it serves, what was imported when.
CREATE TABLE facts (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
