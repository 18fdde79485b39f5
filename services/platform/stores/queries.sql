-- take_duty --
-- Takes or keeps one of the places of a duty ($4 of them) for the holder $2, for as long as $3 says: its own, or one
-- that nobody holds any more. No row: all are held by others.
INSERT INTO duties (duty, place, holder, held_until)
SELECT $1, place.place, $2, clock_timestamp() + $3
FROM generate_series(1, $4::int) AS place (place) LEFT JOIN duties AS held ON held.duty = $1 AND held.place = place.place
WHERE held.holder IS NULL OR held.holder = $2 OR held.held_until < clock_timestamp()
ORDER BY held.holder = $2 DESC NULLS LAST, place.place LIMIT 1
ON CONFLICT (duty, place) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
WHERE duties.holder = excluded.holder OR duties.held_until < clock_timestamp()
RETURNING place

-- note_process --
-- Notes that the process $1 is there, and forgets those that were not for longer than $9, and those in its place that are
-- missing, which say nothing for $11: containers that share a host's name have the same pids. There are never more than $10.
WITH gone AS (
    DELETE FROM processes WHERE id IN (
        SELECT id FROM processes
        WHERE id <> $1 AND (seen_at < now() - $9::interval
                            OR roles = $2 AND instance = $3 AND pid = $4 AND seen_at < now() - $11::interval)
        ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO processes (id, roles, instance, pid, version, started_at, slots, busy_slots)
SELECT $1, $2::text[], $3, $4::int, $5, $6::timestamptz, $7::int, $8::int
WHERE (SELECT count(*) FROM processes) < $10 OR EXISTS (SELECT FROM processes WHERE id = $1)
ON CONFLICT (id) DO UPDATE SET seen_at = now(), slots = excluded.slots, busy_slots = excluded.busy_slots

-- forget_process --
-- Forgets a process that ends.
DELETE FROM processes WHERE id = $1

-- select_processes --
-- Reads up to $2 processes, by role and age, and whether they have said nothing for $1.
SELECT *, seen_at < now() - $1::interval AS missing FROM processes
ORDER BY array_to_string(roles, ' '), started_at, id LIMIT $2

-- leave_duty --
-- Gives up what the holder $2 has of a duty.
DELETE FROM duties WHERE duty = $1 AND holder = $2
