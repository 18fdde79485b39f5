"""The schema of the database: the files of migrations/, and the roles that apply them and wait for them.

    python -m services migrate    # applies missing files; if several are started, one works at a time
    python -m services wait       # ends when the schema is at or above the version of these files

Files are plain SQL, named VERSION_what.sql. Each is applied in its own transaction, together with its row in
schema_migrations, which keeps the SHA-256 of the text. There are no down migrations: a schema that is newer than the
files is accepted, because from 0.1.0 on migrations only expand it, so that the previous release runs on it after a
rollback.
"""
