-- add a subscription to uploads and deletes
INSERT INTO subscriptions (id, url, description, event_types, ordering, max_concurrency, status, created_at, created_by, updated_at, version, start_position, live, cursor, slow_count, secret) VALUES ('01937000000070008000000000000001', 'http://127.0.0.1:9/hook', '', 'upload delete', 'per_file', 10, 'active', '2026-01-15 10:30:00.000000', 'tester', '2026-01-15 10:30:00.000000', 1, 0, 1, 0, 0, X'');

-- change its types to updates
UPDATE subscriptions SET event_types='update', updated_at='2026-01-15 10:30:00.000000', version=2 WHERE subscriptions.id = '01937000000070008000000000000001';

-- read it
SELECT subscriptions.id, subscriptions.url, subscriptions.description, subscriptions.event_types, subscriptions.ordering, subscriptions.max_concurrency, subscriptions.rate_limit_per_second, subscriptions.headers, subscriptions.status, subscriptions.status_reason, subscriptions.created_at, subscriptions.created_by, subscriptions.updated_at, subscriptions.version, subscriptions.secret, subscriptions.old_secret, subscriptions.old_secret_until, subscriptions.start_position, subscriptions.live, subscriptions.cursor, subscriptions.replay_cursor, subscriptions.replay_until, subscriptions.failing_since, subscriptions.slow_until, subscriptions.slow_count, subscriptions.next_send_at
FROM subscriptions
WHERE subscriptions.id = '01937000000070008000000000000001';

-- flag the anomalies of events 1 to 8
UPDATE sync_events SET anomaly=(anon_1.event_type || '_of_' || anon_1.condition || '_file') FROM (SELECT sync_events_1.position AS position, sync_events_1.event_type AS event_type, coalesce((SELECT CASE WHEN (sync_events_2.event_type = 'delete') THEN 'deleted' WHEN (sync_events_2.event_type = 'upload') THEN 'present' WHEN (sync_events_2.anomaly IS NULL) THEN 'present' WHEN (sync_events_2.anomaly LIKE '%' || '_of_deleted_file') THEN 'deleted' ELSE 'unknown' END AS anon_2
FROM sync_events AS sync_events_2
WHERE sync_events_2.file_id = sync_events_1.file_id AND sync_events_2.position < sync_events_1.position AND (sync_events_2.event_type != 'update' OR sync_events_2.processed = 1) ORDER BY sync_events_2.position DESC
 LIMIT 1 OFFSET 0), 'unknown') AS condition
FROM sync_events AS sync_events_1
WHERE sync_events_1.position BETWEEN 1 AND 8 AND sync_events_1.event_type != 'upload') AS anon_1 WHERE sync_events.position = anon_1.position AND anon_1.condition != 'present';

-- add the deliveries of events 1 to 8
INSERT INTO deliveries (subscription_id, position, file_id, status, due_at, created_at, settled_at) SELECT anon_1.subscription_id, anon_1.position, anon_1.file_id, 'pending' AS anon_2, CASE WHEN (anon_1.ordering = 'none') THEN strftime('%Y-%m-%d %H:%M:%f000', 'now') WHEN (anon_1.rank = 1 AND (SELECT 1 AS anon_4
FROM deliveries AS deliveries_1
WHERE deliveries_1.subscription_id = anon_1.subscription_id AND deliveries_1.file_id = anon_1.file_id AND deliveries_1.status = 'pending'
 LIMIT 1 OFFSET 0) IS NULL) THEN strftime('%Y-%m-%d %H:%M:%f000', 'now') ELSE NULL END AS anon_3, strftime('%Y-%m-%d %H:%M:%f000', 'now') AS statement_now_1, NULL AS anon_5
FROM (SELECT subscriptions.id AS subscription_id, subscriptions.ordering AS ordering, sync_events.position AS position, sync_events.file_id AS file_id, row_number() OVER (PARTITION BY subscriptions.id, sync_events.file_id ORDER BY sync_events.position) AS rank
FROM sync_events JOIN subscriptions ON (subscriptions.event_types LIKE '%' || sync_events.event_type || '%')
WHERE sync_events.position BETWEEN 1 AND 8 AND (subscriptions.live = 1 OR sync_events.position <= subscriptions.cursor) AND sync_events.position > subscriptions.start_position AND (SELECT 1 AS anon_6
FROM deliveries AS deliveries_2
WHERE deliveries_2.subscription_id = subscriptions.id AND deliveries_2.position = sync_events.position
 LIMIT 1 OFFSET 0) IS NULL AND (SELECT 1 AS anon_7
FROM full_lanes
WHERE full_lanes.subscription_id = subscriptions.id AND full_lanes.file_id = sync_events.file_id AND full_lanes.cursor < sync_events.position) IS NULL) AS anon_1;

-- deliver events 1 to 8 again
UPDATE deliveries SET status='pending', due_at=anon_1.due_at, fence=(deliveries.fence + 4294967296), attempts=0, failures=0, created_at=strftime('%Y-%m-%d %H:%M:%f000', 'now'), settled_at=NULL FROM (SELECT anon_2.id AS id, CASE WHEN (anon_2.ordering = 'none') THEN strftime('%Y-%m-%d %H:%M:%f000', 'now') WHEN (anon_2.rank = 1 AND (SELECT 1 AS anon_3
FROM deliveries AS deliveries_1
WHERE deliveries_1.subscription_id = anon_2.subscription_id AND deliveries_1.file_id = anon_2.file_id AND deliveries_1.status = 'pending'
 LIMIT 1 OFFSET 0) IS NULL) THEN strftime('%Y-%m-%d %H:%M:%f000', 'now') ELSE NULL END AS due_at
FROM (SELECT deliveries.id AS id, deliveries.subscription_id AS subscription_id, deliveries.file_id AS file_id, subscriptions.ordering AS ordering, row_number() OVER (PARTITION BY deliveries.subscription_id, deliveries.file_id ORDER BY deliveries.position) AS rank
FROM deliveries JOIN subscriptions ON subscriptions.id = deliveries.subscription_id
WHERE deliveries.status != 'pending' AND deliveries.subscription_id = '01937000000070008000000000000001' AND deliveries.position > 0 AND deliveries.position <= 8 AND (EXISTS (SELECT *
FROM sync_events
WHERE sync_events.position = deliveries.position AND (subscriptions.event_types LIKE '%' || sync_events.event_type || '%')))) AS anon_2) AS anon_1 WHERE deliveries.id = anon_1.id;
