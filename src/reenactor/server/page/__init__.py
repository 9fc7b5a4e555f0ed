"""The page for browsers, a client of the job system and of the live protocol."""
