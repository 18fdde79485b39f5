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

-- leave_duty --
-- Gives up what the holder $2 has of a duty.
DELETE FROM duties WHERE duty = $1 AND holder = $2
