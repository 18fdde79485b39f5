-- What keeps a due delivery from being sent, of its subscription (status, destination), its endpoint's breaker, and what held
-- the subscription at its last turn; null if nothing does. Written once for what shows, finds and counts deliveries.
CREATE FUNCTION delivery_hold(status text, destination text, breaker text, turn_held_by text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN status <> 'active' THEN status WHEN destination = 'pull' THEN 'pull'
                WHEN breaker <> 'closed' THEN 'breaker_open' ELSE turn_held_by END
$$;
