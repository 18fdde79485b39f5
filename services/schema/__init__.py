"""The schema of the database: the files of migrations/, the roles that apply them and wait for them.

    python -m services migrate    # applies what is missing; one at a time, however many are started
    python -m services wait       # ends when the schema is at or above the version of these files

Files are plain SQL, named VERSION_what.sql. Each is applied in a transaction of its own, together with its row in
schema_migrations, which keeps the SHA-256 of the text. There is no way down: a schema that is newer than the files is
fine, because migrations only expand it and the release before runs on it. That is what a rollback needs.
"""
