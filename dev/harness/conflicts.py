"""Conflicts between transactions, made at will."""

# A function for triggers that rolls back so many transactions as a deadlock does; a sequence counts, because it stays.
CONFLICTS = """
CREATE SEQUENCE tries;
CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF nextval('tries') <= TG_ARGV[0]::int THEN
        RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
    END IF;
    RETURN NEW;
END
$$;
"""


def conflicting(table: str, tries: int) -> str:
    """Return what makes inserts and updates of the table fail until the sequence has counted so many."""
    return (
        f"CREATE OR REPLACE TRIGGER conflicts BEFORE INSERT OR UPDATE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION conflict({tries})"
    )
