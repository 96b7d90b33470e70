CREATE TABLE amendments (
    id bigint NOT NULL,
    session bigint NOT NULL,
    at double precision NOT NULL,
    record_type text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C",
    before numeric,
    after numeric,
    currency text NOT NULL COLLATE pg_catalog."C"
);
CREATE SEQUENCE amendments_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE amendments_id_seq OWNED BY amendments.id;
CREATE SEQUENCE claims
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE events (
    key bytea NOT NULL,
    owner bigint NOT NULL,
    claim bigint NOT NULL,
    labels bigint NOT NULL,
    cost_labels bigint,
    cost numeric,
    currency text NOT NULL COLLATE pg_catalog."C",
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    billed_seconds numeric NOT NULL,
    at double precision,
    flags bigint NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE facets (
    id bigint NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    record_type text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C"
);
CREATE SEQUENCE facets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE facets_id_seq OWNED BY facets.id;
CREATE TABLE failures (
    id bigint NOT NULL,
    session bigint NOT NULL,
    at double precision NOT NULL,
    outcome text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    detail text NOT NULL COLLATE pg_catalog."C"
)
WITH (fillfactor='100', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE SEQUENCE failures_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE failures_id_seq OWNED BY failures.id;
CREATE TABLE fallbacks (
    session bigint NOT NULL,
    record_type text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE label_sets (
    id bigint NOT NULL,
    labels text NOT NULL COLLATE pg_catalog."C"
);
CREATE SEQUENCE label_sets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE label_sets_id_seq OWNED BY label_sets.id;
CREATE TABLE leases (
    name text NOT NULL COLLATE pg_catalog."C",
    holder bigint NOT NULL,
    until timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE listed (
    session bigint NOT NULL,
    facet bigint NOT NULL,
    changed_at double precision NOT NULL,
    events bigint NOT NULL,
    costless bigint NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE listed_costs (
    session bigint NOT NULL,
    currency text NOT NULL COLLATE pg_catalog."C",
    facet bigint NOT NULL,
    amount numeric NOT NULL,
    rank bytea NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE meta (
    key text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE records (
    key bytea NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    at double precision NOT NULL,
    cost numeric
);
CREATE TABLE roots (
    event_id text NOT NULL COLLATE pg_catalog."C",
    session bigint NOT NULL
);
CREATE TABLE series (
    id bigint NOT NULL,
    family text NOT NULL COLLATE pg_catalog."C",
    labels text NOT NULL COLLATE pg_catalog."C",
    bounds text COLLATE pg_catalog."C",
    released bigint NOT NULL,
    changed xid8 DEFAULT pg_current_xact_id() NOT NULL
);
CREATE SEQUENCE series_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE series_id_seq OWNED BY series.id;
CREATE TABLE sessions (
    id bigint NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    record_type text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C",
    date_time text COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    configured bigint NOT NULL,
    due_at double precision,
    claim bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    "interval" double precision NOT NULL,
    followed_at double precision NOT NULL,
    first_tree_at double precision,
    changed_at double precision,
    rested_at double precision,
    rechecks bigint NOT NULL,
    observed bigint NOT NULL,
    owned bigint NOT NULL,
    latest_at double precision,
    crossed text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    failing text NOT NULL COLLATE pg_catalog."C",
    polls text NOT NULL COLLATE pg_catalog."C",
    hint text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    hinted_due double precision,
    summary text COLLATE pg_catalog."C",
    fingerprint bytea,
    leased_until timestamp with time zone
)
WITH (fillfactor='75', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE SEQUENCE sessions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE sessions_id_seq OWNED BY sessions.id;
CREATE TABLE spend (
    quarter bigint NOT NULL,
    labels bigint NOT NULL,
    currency text NOT NULL COLLATE pg_catalog."C",
    writer bigint NOT NULL,
    amount numeric NOT NULL
)
WITH (fillfactor='75', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE totals (
    writer bigint NOT NULL,
    series bigint NOT NULL,
    value numeric NOT NULL,
    counts text COLLATE pg_catalog."C",
    exemplars text COLLATE pg_catalog."C",
    changed xid8 DEFAULT pg_current_xact_id() NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE trees (
    session bigint NOT NULL,
    body bytea NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE writers (
    id bigint NOT NULL,
    seen timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE SEQUENCE writers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE writers_id_seq OWNED BY writers.id;
ALTER TABLE ONLY amendments ALTER COLUMN id SET DEFAULT nextval('amendments_id_seq'::regclass);
ALTER TABLE ONLY facets ALTER COLUMN id SET DEFAULT nextval('facets_id_seq'::regclass);
ALTER TABLE ONLY failures ALTER COLUMN id SET DEFAULT nextval('failures_id_seq'::regclass);
ALTER TABLE ONLY label_sets ALTER COLUMN id SET DEFAULT nextval('label_sets_id_seq'::regclass);
ALTER TABLE ONLY series ALTER COLUMN id SET DEFAULT nextval('series_id_seq'::regclass);
ALTER TABLE ONLY sessions ALTER COLUMN id SET DEFAULT nextval('sessions_id_seq'::regclass);
ALTER TABLE ONLY writers ALTER COLUMN id SET DEFAULT nextval('writers_id_seq'::regclass);
INSERT INTO amendments VALUES (1, 1, 51000, 'ai-voice-assistant', 'main-ai', 0.18, 0.2, 'USD');
INSERT INTO amendments VALUES (2, 1, 52000, 'ai-voice-assistant', 'other-ai', 0.18, 0.2, 'USD');
INSERT INTO amendments VALUES (3, 8, 52000, 'ai-voice-assistant', 'other-ai', 0.18, 0.2, 'USD');
INSERT INTO events VALUES ('\x52c3c5f4b3ad379cca40126877643143', 1, 1, 5, 5, 0.001, 'USD', 0, 0, 0, 1004, 2);
INSERT INTO events VALUES ('\x7358c04c3f4dae9295f22d9a26b98e37', 1, 1, 1, 1, 0, 'USD', 0, 0, 0, 1000, 0);
INSERT INTO events VALUES ('\x83284758d9b11c8ce2b55a7da2abb2d0', 1, 1, 3, 3, 0.0052, 'USD', 0, 0, 0, 1002, 2);
INSERT INTO events VALUES ('\xcf45e2b4ff0333c1d25c2a684a5a9e11', 1, 1, 2, 2, 0.0052, 'USD', 0, 0, 0, 1001, 2);
INSERT INTO events VALUES ('\xda622e35a7eb84b9b6f7976ed02fdd95', 1, 4, 4, 4, 0.2, 'USD', 0, 0, 0, 1003, 2);
INSERT INTO events VALUES ('\x94e59e24f33ae298ed37b3ab2c402351', 1, 1, 5, NULL, NULL, '', 0, 0, 0, 1005, 3);
INSERT INTO events VALUES ('\x06f9fdc25f55447dad11c455580eeccb', 1, 11, 1, 1, 0, 'USD', 0, 0, 0, 1000, 0);
INSERT INTO events VALUES ('\x13508428eed7fb0c829f3e6a876c9bb4', 1, 11, 5, NULL, NULL, '', 0, 0, 0, 1005, 2);
INSERT INTO events VALUES ('\xce3a66f01cd66849f17a5e9fc4e0e6d3', 1, 11, 2, 2, 0.0052, 'USD', 0, 0, 0, 1001, 2);
INSERT INTO events VALUES ('\xe59c0a50d802dd20ff6c09d66f976ea9', 1, 11, 5, 5, 0.001, 'USD', 0, 0, 0, 1004, 2);
INSERT INTO events VALUES ('\xf6c691e9bc0c05e2105d410b76bfe4c7', 1, 11, 3, 3, 0.0052, 'USD', 0, 0, 0, 1002, 2);
INSERT INTO events VALUES ('\x1ce43bd3501cb68e077fe7d9158ef223', 8, 13, 7, 7, 0.0052, 'USD', 0, 0, 0, 1001, 2);
INSERT INTO events VALUES ('\x43d5bee50fbc373c983d9d9b023ed316', 8, 13, 6, 6, 0, 'USD', 0, 0, 0, 1000, 0);
INSERT INTO events VALUES ('\x574facfe4e7819bfad56f99573477236', 8, 13, 10, 10, 0.001, 'USD', 0, 0, 0, 1004, 2);
INSERT INTO events VALUES ('\x5e5e8967d86f26034c081ef4758ba761', 8, 13, 8, 8, 0.0052, 'USD', 0, 0, 0, 1002, 2);
INSERT INTO events VALUES ('\xc154391a1327a0b16956366f212f0861', 9, 14, 6, 6, 0.5, 'EUR', 0, 0, 0, 1000, 0);
INSERT INTO events VALUES ('\xab773053bdcca98475f37bd737dad693', 1, 17, 4, 4, 0.2, 'USD', 0, 0, 0, 1003, 2);
INSERT INTO events VALUES ('\xbb866dbbde2d4246d5dafec9076920e8', 8, 20, 9, 9, 0.2, 'USD', 0, 0, 0, 1003, 2);
INSERT INTO events VALUES ('\x13678c05b46bfab2ffdf482a3cfba020', 8, 13, 10, NULL, NULL, '', 0, 0, 0, 1005, 3);
INSERT INTO facets VALUES (1, 'main', 'call-session', 'discovered');
INSERT INTO facets VALUES (2, 'main', 'call-session', 'active');
INSERT INTO facets VALUES (3, 'main', 'call-session', 'settled');
INSERT INTO facets VALUES (4, 'main', 'message', 'discovered');
INSERT INTO facets VALUES (5, 'main', 'call-control', 'discovered');
INSERT INTO facets VALUES (6, 'other', 'call-session', 'discovered');
INSERT INTO facets VALUES (7, 'other', 'call-session', 'active');
INSERT INTO facets VALUES (8, 'other', 'call-session', 'settled');
INSERT INTO facets VALUES (9, 'other', 'message', 'discovered');
INSERT INTO facets VALUES (10, 'other', 'call-control', 'discovered');
INSERT INTO failures VALUES (3, 9, 52000, 'failed', 'timeout', 'no answer');
INSERT INTO fallbacks VALUES (5, 'call-session', 'substitute');
INSERT INTO fallbacks VALUES (12, 'call-session', 'substitute');
INSERT INTO label_sets VALUES (1, '[["account","main"],["record_type","call-session"],["product","call-session"],["model","none"]]');
INSERT INTO label_sets VALUES (2, '[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"],["model","none"]]');
INSERT INTO label_sets VALUES (3, '[["account","main"],["record_type","call-control"],["product","call-control"],["model","none"]]');
INSERT INTO label_sets VALUES (4, '[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["model","none"]]');
INSERT INTO label_sets VALUES (5, '[["account","main"],["record_type","inference"],["product","inference"],["model","none"]]');
INSERT INTO label_sets VALUES (6, '[["account","other"],["record_type","call-session"],["product","call-session"],["model","none"]]');
INSERT INTO label_sets VALUES (7, '[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"],["model","none"]]');
INSERT INTO label_sets VALUES (8, '[["account","other"],["record_type","call-control"],["product","call-control"],["model","none"]]');
INSERT INTO label_sets VALUES (9, '[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["model","none"]]');
INSERT INTO label_sets VALUES (10, '[["account","other"],["record_type","inference"],["product","inference"],["model","none"]]');
INSERT INTO leases VALUES ('budgets', 0, '-infinity');
INSERT INTO leases VALUES ('folding', 0, '-infinity');
INSERT INTO leases VALUES ('exposition', 2, '-infinity');
INSERT INTO leases VALUES ('look_back', 2, '-infinity');
INSERT INTO listed VALUES (3, 1, 201100, 0, 1);
INSERT INTO listed VALUES (4, 4, 201100, 0, 1);
INSERT INTO listed VALUES (5, 5, 201100, 0, 1);
INSERT INTO listed VALUES (7, 4, 201400, 0, 1);
INSERT INTO listed VALUES (1, 3, 52000, 6, 0);
INSERT INTO listed VALUES (8, 8, 52000, 6, 0);
INSERT INTO listed VALUES (9, 8, 2000, 1, 0);
INSERT INTO listed VALUES (10, 6, 202100, 0, 1);
INSERT INTO listed VALUES (11, 9, 202100, 0, 1);
INSERT INTO listed VALUES (12, 10, 202100, 0, 1);
INSERT INTO listed VALUES (14, 9, 202400, 0, 1);
INSERT INTO listed_costs VALUES (1, 'USD', 3, 0.2114, '\x8000000000000031386c0200');
INSERT INTO listed_costs VALUES (8, 'USD', 8, 0.2114, '\x8000000000000031386c0200');
INSERT INTO listed_costs VALUES (9, 'EUR', 8, 0.5, '\x80000000000000746a528800');
INSERT INTO meta VALUES ('schema_version', '5');
INSERT INTO meta VALUES ('ledger_id', '8ec8ea218069422892c9e5121dcd9a2b');
INSERT INTO meta VALUES ('metadata', '{"writer": 2}');
INSERT INTO meta VALUES ('horizon', '150000.0');
INSERT INTO meta VALUES ('look_back', 'done');
INSERT INTO records VALUES ('\x0a4e4b699544152bd03046c3e5d30752', 'main', 1010, 0.01);
INSERT INTO records VALUES ('\x13a9509ebbc4436f6441ac1b6ce41273', 'other', 2010, 0.01);
INSERT INTO roots VALUES ('main-root', 1);
INSERT INTO roots VALUES ('other-root', 1);
INSERT INTO roots VALUES ('other-root', 8);
INSERT INTO roots VALUES ('other-old', 9);
INSERT INTO series VALUES (1, 'telnyx_sessions', '[["account","main"],["state","discovered"]]', NULL, 1, '729');
INSERT INTO series VALUES (3, 'telnyx_discovery_last_success_timestamp_seconds', '[["account","main"],["source","file"]]', NULL, 1, '731');
INSERT INTO series VALUES (6, 'telnyx_cost_total', '[["account","main"],["record_type","call-session"],["product","call-session"],["currency","USD"]]', NULL, 0, '737');
INSERT INTO series VALUES (9, 'telnyx_events_total', '[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"]]', NULL, 0, '741');
INSERT INTO series VALUES (12, 'telnyx_events_total', '[["account","main"],["record_type","call-control"],["product","call-control"]]', NULL, 0, '745');
INSERT INTO series VALUES (15, 'telnyx_events_total', '[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"]]', NULL, 0, '749');
INSERT INTO series VALUES (18, 'telnyx_events_total', '[["account","main"],["record_type","inference"],["product","inference"]]', NULL, 0, '753');
INSERT INTO series VALUES (21, 'telnyx_cost_total', '[["account","main"],["record_type","inference"],["product","inference"],["currency","USD"]]', NULL, 0, '756');
INSERT INTO series VALUES (24, 'telnyx_events_awaiting_price', '[["account","main"],["record_type","inference"],["product","inference"]]', NULL, 1, '759');
INSERT INTO series VALUES (25, 'telnyx_ledger_events', '[]', NULL, 1, '760');
INSERT INTO series VALUES (27, 'telnyx_unreconciled_sessions', '[["account","main"],["check","event_sum"]]', NULL, 1, '762');
INSERT INTO series VALUES (28, 'telnyx_sessions', '[["account","main"],["state","active"]]', NULL, 1, '763');
INSERT INTO series VALUES (30, 'telnyx_cost_credits_total', '[["account","main"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]', NULL, 0, '765');
INSERT INTO series VALUES (32, 'telnyx_unsettled_cost', '[["account","main"],["currency","USD"]]', NULL, 1, '767');
INSERT INTO series VALUES (33, 'telnyx_unsettled_cost', '[["account","main"],["currency","EUR"]]', NULL, 1, '768');
INSERT INTO series VALUES (34, 'telnyx_budget_spent', '[["budget","calls"],["currency","USD"]]', NULL, 1, '769');
INSERT INTO series VALUES (35, 'telnyx_sessions', '[["account","main"],["state","settled"]]', NULL, 1, '774');
INSERT INTO series VALUES (36, 'telnyx_events_settled_unpriced_total', '[["account","main"],["record_type","inference"],["product","inference"]]', NULL, 0, '775');
INSERT INTO series VALUES (39, 'telnyx_session_inference_turns', '[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]', '[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]', 0, '778');
INSERT INTO series VALUES (42, 'telnyx_session_cost', '[["account","main"],["root_record_type","call-session"],["session_kind","voice"],["currency","USD"]]', '[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]', 0, '781');
INSERT INTO series VALUES (45, 'telnyx_discovery_last_success_timestamp_seconds', '[["account","main"],["source","webhook"]]', NULL, 1, '785');
INSERT INTO series VALUES (2, 'telnyx_discovered_sessions_total', '[["account","main"],["source","file"]]', NULL, 1, '793');
INSERT INTO series VALUES (4, 'telnyx_events_total', '[["account","main"],["record_type","call-session"],["product","call-session"]]', NULL, 1, '793');
INSERT INTO series VALUES (5, 'telnyx_cost_credits_total', '[["account","main"],["record_type","call-session"],["product","call-session"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (7, 'telnyx_budget_cost_credits_total', '[["budget","calls"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (8, 'telnyx_budget_cost_total', '[["budget","calls"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (10, 'telnyx_cost_credits_total', '[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (11, 'telnyx_cost_total', '[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (13, 'telnyx_cost_credits_total', '[["account","main"],["record_type","call-control"],["product","call-control"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (14, 'telnyx_cost_total', '[["account","main"],["record_type","call-control"],["product","call-control"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (16, 'telnyx_cost_credits_total', '[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (17, 'telnyx_cost_total', '[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (19, 'telnyx_inference_turns_total', '[["account","main"],["model","none"]]', NULL, 1, '793');
INSERT INTO series VALUES (20, 'telnyx_cost_credits_total', '[["account","main"],["record_type","inference"],["product","inference"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (22, 'telnyx_inference_cost_credits_total', '[["account","main"],["model","none"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (23, 'telnyx_inference_cost_total', '[["account","main"],["model","none"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (26, 'telnyx_reconciliation_failures_total', '[["account","main"],["check","event_sum"]]', NULL, 1, '793');
INSERT INTO series VALUES (29, 'telnyx_sessions_started_total', '[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]', NULL, 1, '793');
INSERT INTO series VALUES (31, 'telnyx_cost_total', '[["account","main"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]', NULL, 1, '793');
INSERT INTO series VALUES (37, 'telnyx_sessions_settled_total', '[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]', NULL, 1, '793');
INSERT INTO series VALUES (38, 'telnyx_session_events', '[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]', '[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]', 1, '793');
INSERT INTO series VALUES (40, 'telnyx_session_duration_seconds', '[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]', '[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0]', 1, '793');
INSERT INTO series VALUES (41, 'telnyx_session_settling_seconds', '[["account","main"],["session_kind","voice"]]', '[900.0, 3600.0, 10800.0, 21600.0, 25200.0, 28800.0, 36000.0, 43200.0, 64800.0, 86400.0, 172800.0, 345600.0, 604800.0, 1209600.0]', 1, '793');
INSERT INTO series VALUES (43, 'telnyx_session_cost', '[["account","main"],["root_record_type","call-session"],["session_kind","voice"],["currency","EUR"]]', '[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]', 1, '793');
INSERT INTO series VALUES (44, 'telnyx_discovered_sessions_total', '[["account","main"],["source","webhook"]]', NULL, 1, '793');
INSERT INTO series VALUES (46, 'telnyx_detail_record_cost_total', '[["account","main"],["record_type","m1"],["currency","USD"]]', NULL, 1, '793');
INSERT INTO series VALUES (47, 'telnyx_discovered_sessions_total', '[["account","main"],["source","detail_records"]]', NULL, 1, '793');
INSERT INTO series VALUES (48, 'telnyx_sessions', '[["account","other"],["state","discovered"]]', NULL, 1, '798');
INSERT INTO series VALUES (50, 'telnyx_discovery_last_success_timestamp_seconds', '[["account","other"],["source","file"]]', NULL, 1, '800');
INSERT INTO series VALUES (51, 'telnyx_reconciliation_failures_total', '[["account","main"],["check","vanished_event"]]', NULL, 0, '803');
INSERT INTO series VALUES (52, 'telnyx_unreconciled_sessions', '[["account","main"],["check","vanished_event"]]', NULL, 1, '804');
INSERT INTO series VALUES (54, 'telnyx_cost_credits_total', '[["account","other"],["record_type","call-session"],["product","call-session"],["currency","USD"]]', NULL, 0, '807');
INSERT INTO series VALUES (57, 'telnyx_cost_credits_total', '[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]', NULL, 0, '811');
INSERT INTO series VALUES (60, 'telnyx_cost_credits_total', '[["account","other"],["record_type","call-control"],["product","call-control"],["currency","USD"]]', NULL, 0, '815');
INSERT INTO series VALUES (63, 'telnyx_cost_credits_total', '[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]', NULL, 0, '819');
INSERT INTO series VALUES (66, 'telnyx_inference_turns_total', '[["account","other"],["model","none"]]', NULL, 0, '823');
INSERT INTO series VALUES (69, 'telnyx_inference_cost_credits_total', '[["account","other"],["model","none"],["currency","USD"]]', NULL, 0, '826');
INSERT INTO series VALUES (71, 'telnyx_events_awaiting_price', '[["account","other"],["record_type","inference"],["product","inference"]]', NULL, 1, '828');
INSERT INTO series VALUES (72, 'telnyx_reconciliation_failures_total', '[["account","other"],["check","event_sum"]]', NULL, 0, '829');
INSERT INTO series VALUES (73, 'telnyx_unreconciled_sessions', '[["account","other"],["check","event_sum"]]', NULL, 1, '830');
INSERT INTO series VALUES (74, 'telnyx_sessions', '[["account","other"],["state","active"]]', NULL, 1, '831');
INSERT INTO series VALUES (49, 'telnyx_discovered_sessions_total', '[["account","other"],["source","file"]]', NULL, 1, '860');
INSERT INTO series VALUES (75, 'telnyx_sessions_started_total', '[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]', NULL, 0, '832');
INSERT INTO series VALUES (78, 'telnyx_unsettled_cost', '[["account","other"],["currency","USD"]]', NULL, 1, '835');
INSERT INTO series VALUES (79, 'telnyx_unsettled_cost', '[["account","other"],["currency","EUR"]]', NULL, 1, '836');
INSERT INTO series VALUES (80, 'telnyx_sessions', '[["account","other"],["state","settled"]]', NULL, 1, '841');
INSERT INTO series VALUES (81, 'telnyx_events_settled_unpriced_total', '[["account","other"],["record_type","inference"],["product","inference"]]', NULL, 0, '842');
INSERT INTO series VALUES (84, 'telnyx_session_inference_turns', '[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]', '[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]', 0, '845');
INSERT INTO series VALUES (87, 'telnyx_session_cost', '[["account","other"],["root_record_type","call-session"],["session_kind","voice"],["currency","USD"]]', '[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]', 0, '848');
INSERT INTO series VALUES (90, 'telnyx_discovery_last_success_timestamp_seconds', '[["account","other"],["source","webhook"]]', NULL, 1, '852');
INSERT INTO series VALUES (53, 'telnyx_events_total', '[["account","other"],["record_type","call-session"],["product","call-session"]]', NULL, 1, '860');
INSERT INTO series VALUES (55, 'telnyx_cost_total', '[["account","other"],["record_type","call-session"],["product","call-session"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (56, 'telnyx_events_total', '[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"]]', NULL, 1, '860');
INSERT INTO series VALUES (58, 'telnyx_cost_total', '[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (59, 'telnyx_events_total', '[["account","other"],["record_type","call-control"],["product","call-control"]]', NULL, 1, '860');
INSERT INTO series VALUES (61, 'telnyx_cost_total', '[["account","other"],["record_type","call-control"],["product","call-control"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (62, 'telnyx_events_total', '[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"]]', NULL, 1, '860');
INSERT INTO series VALUES (64, 'telnyx_cost_total', '[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (65, 'telnyx_events_total', '[["account","other"],["record_type","inference"],["product","inference"]]', NULL, 1, '860');
INSERT INTO series VALUES (67, 'telnyx_cost_credits_total', '[["account","other"],["record_type","inference"],["product","inference"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (68, 'telnyx_cost_total', '[["account","other"],["record_type","inference"],["product","inference"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (70, 'telnyx_inference_cost_total', '[["account","other"],["model","none"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (76, 'telnyx_cost_credits_total', '[["account","other"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]', NULL, 1, '860');
INSERT INTO series VALUES (77, 'telnyx_cost_total', '[["account","other"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]', NULL, 1, '860');
INSERT INTO series VALUES (82, 'telnyx_sessions_settled_total', '[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]', NULL, 1, '860');
INSERT INTO series VALUES (83, 'telnyx_session_events', '[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]', '[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]', 1, '860');
INSERT INTO series VALUES (85, 'telnyx_session_duration_seconds', '[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]', '[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0]', 1, '860');
INSERT INTO series VALUES (86, 'telnyx_session_settling_seconds', '[["account","other"],["session_kind","voice"]]', '[900.0, 3600.0, 10800.0, 21600.0, 25200.0, 28800.0, 36000.0, 43200.0, 64800.0, 86400.0, 172800.0, 345600.0, 604800.0, 1209600.0]', 1, '860');
INSERT INTO series VALUES (88, 'telnyx_session_cost', '[["account","other"],["root_record_type","call-session"],["session_kind","voice"],["currency","EUR"]]', '[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]', 1, '860');
INSERT INTO series VALUES (89, 'telnyx_discovered_sessions_total', '[["account","other"],["source","webhook"]]', NULL, 1, '860');
INSERT INTO series VALUES (91, 'telnyx_detail_record_cost_total', '[["account","other"],["record_type","m1"],["currency","USD"]]', NULL, 1, '860');
INSERT INTO series VALUES (92, 'telnyx_discovered_sessions_total', '[["account","other"],["source","detail_records"]]', NULL, 1, '860');
INSERT INTO sessions VALUES (1, 'main', 'call-session', 'call', NULL, 'file', 0, 288400, 0, 'settled', 30, 1000, 1000, 52000, 202000, 0, 1, 12, 1005, '', 'vanished_event', '[[1000.0,"changed",""],[51000.0,"changed",""],[201000.0,"unchanged",""],[2000.0,"changed",""],[52000.0,"changed",""],[202000.0,"unchanged",""]]', '', NULL, '{"events":6,"turns":2,"costs":[["ai-voice-assistant","USD","0.2"],["call-control","USD","0.0052"],["call-session","USD","0"],["inference","USD","0.001"],["sip-trunking","USD","0.0052"]]}', NULL, '2026-12-01 02:35:47.036196+00');
INSERT INTO sessions VALUES (4, 'main', 'message', 'ended', NULL, 'webhook', 0, 202113.15476069786, 0, 'discovered', 120, 201100, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[[2000.0,"gone",""],[52000.0,"gone",""],[202000.0,"gone",""]]', 'rated', NULL, NULL, NULL, '2026-12-01 02:35:47.036269+00');
INSERT INTO sessions VALUES (5, 'main', 'call-control', 'listed', NULL, 'webhook', 0, 201100, 7, 'discovered', 0, 201100, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[]', 'rated', NULL, NULL, NULL, '2026-12-01 02:35:46.850467+00');
INSERT INTO sessions VALUES (7, 'main', 'message', 'm1', NULL, 'detail_records', 0, 202118.8203920629, 0, 'discovered', 120, 201400, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[[2000.0,"gone",""],[52000.0,"gone",""],[202000.0,"gone",""]]', 'rated', NULL, NULL, NULL, '2026-12-01 02:35:47.036361+00');
INSERT INTO sessions VALUES (3, 'main', 'call-session', 'begun', NULL, 'webhook', 0, 202548.26603872702, 0, 'discovered', 600, 201100, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[[2000.0,"gone",""],[52000.0,"gone",""],[202000.0,"gone",""]]', 'begun', NULL, NULL, NULL, '2026-12-01 02:35:47.036401+00');
INSERT INTO sessions VALUES (8, 'other', 'call-session', 'call', NULL, 'file', 0, 288400, 0, 'settled', 30, 2000, 2000, 52000, 202000, 0, 1, 6, 1005, '', '', '[[2000.0,"changed",""],[52000.0,"changed",""],[202000.0,"unchanged",""]]', '', NULL, '{"events":6,"turns":2,"costs":[["ai-voice-assistant","USD","0.2"],["call-control","USD","0.0052"],["call-session","USD","0"],["inference","USD","0.001"],["sip-trunking","USD","0.0052"]]}', NULL, '2026-12-01 02:35:47.036443+00');
INSERT INTO sessions VALUES (9, 'other', 'call-session', 'old', NULL, 'file', 0, 288400, 0, 'settled', 60, 2000, 2000, 2000, 202000, 0, 1, 1, 1000, '', '', '[[2000.0,"changed",""],[52000.0,"failed","timeout"],[202000.0,"unchanged",""]]', '', NULL, '{"events":1,"turns":0,"costs":[["call-session","EUR","0.5"]]}', NULL, '2026-12-01 02:35:47.036483+00');
INSERT INTO sessions VALUES (10, 'other', 'call-session', 'begun', NULL, 'webhook', 0, 203000, 0, 'discovered', 0, 202100, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[]', 'begun', NULL, NULL, NULL, NULL);
INSERT INTO sessions VALUES (12, 'other', 'call-control', 'listed', NULL, 'webhook', 0, 202100, 29, 'discovered', 0, 202100, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[]', 'rated', NULL, NULL, NULL, '2026-12-01 02:35:47.076528+00');
INSERT INTO sessions VALUES (11, 'other', 'message', 'ended', NULL, 'webhook', 0, 202130, 0, 'discovered', 0, 202100, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[]', 'rated', 202300, NULL, NULL, NULL);
INSERT INTO sessions VALUES (14, 'other', 'message', 'm1', NULL, 'detail_records', 0, 202400, 0, 'discovered', 0, 202400, NULL, NULL, NULL, 0, 0, 0, NULL, '', '', '[]', 'rated', NULL, NULL, NULL, NULL);
INSERT INTO spend VALUES (1, 1, 'EUR', 1, 0.5);
INSERT INTO spend VALUES (1, 2, 'USD', 1, 0.0052);
INSERT INTO spend VALUES (1, 3, 'USD', 1, 0.0052);
INSERT INTO spend VALUES (1, 5, 'USD', 1, 0.001);
INSERT INTO spend VALUES (1, 4, 'USD', 1, 0.20);
INSERT INTO spend VALUES (1, 1, 'EUR', 2, 0.5);
INSERT INTO spend VALUES (1, 2, 'USD', 2, 0.0052);
INSERT INTO spend VALUES (1, 3, 'USD', 2, 0.0052);
INSERT INTO spend VALUES (1, 5, 'USD', 2, 0.001);
INSERT INTO spend VALUES (1, 6, 'EUR', 2, 0.5);
INSERT INTO spend VALUES (1, 7, 'USD', 2, 0.0052);
INSERT INTO spend VALUES (1, 8, 'USD', 2, 0.0052);
INSERT INTO spend VALUES (1, 10, 'USD', 2, 0.001);
INSERT INTO spend VALUES (1, 4, 'USD', 2, 0.20);
INSERT INTO spend VALUES (1, 9, 'USD', 2, 0.20);
INSERT INTO totals VALUES (1, 3, 1000, NULL, NULL, '728');
INSERT INTO totals VALUES (1, 6, 0, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 9, 1, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 12, 1, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 15, 1, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 18, 2, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 21, 0.001, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 24, 1, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 30, 0, NULL, NULL, '733');
INSERT INTO totals VALUES (1, 10, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 11, 0.0052, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 13, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 36, 1, NULL, NULL, '773');
INSERT INTO totals VALUES (1, 39, 2, '[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[["main-old", 0.0, 201000.0], ["main-root", 2.0, 201000.0], null, null, null, null, null, null, null, null, null]', '773');
INSERT INTO totals VALUES (1, 42, 0.2114, '[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, ["main-root", 0.2114, 201000.0], null, null, null, null, null, null, null, null]', '773');
INSERT INTO totals VALUES (1, 27, 0, NULL, NULL, '773');
INSERT INTO totals VALUES (1, 33, 0, NULL, NULL, '773');
INSERT INTO totals VALUES (1, 1, 4, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 2, 2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 4, 2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 5, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 7, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 8, 0.2114, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 14, 0.0052, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 16, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 17, 0.2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 19, 2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 20, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 22, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 23, 0.001, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 25, 7, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 26, 2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 28, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 29, 2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 31, 0.5, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 32, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 34, 0, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 35, 2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 37, 2, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 38, 7, '[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]', '[["main-old", 1.0, 201000.0], null, null, ["main-root", 6.0, 201000.0], null, null, null, null, null, null, null, null]', '793');
INSERT INTO totals VALUES (1, 40, 60, '[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, ["main-old", 30.0, 201000.0], null, null, null, null, null, null, null, null, null, null]', '793');
INSERT INTO totals VALUES (1, 41, 400000, '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]', '[null, null, null, null, null, null, null, null, null, null, null, ["main-old", 200000.0, 201000.0], null, null, null]', '793');
INSERT INTO totals VALUES (1, 43, 0.5, '[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, null, ["main-old", 0.5, 201000.0], null, null, null, null, null, null, null]', '793');
INSERT INTO totals VALUES (1, 45, 201300, NULL, NULL, '787');
INSERT INTO totals VALUES (1, 44, 3, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 46, 0.01, NULL, NULL, '793');
INSERT INTO totals VALUES (1, 47, 1, NULL, NULL, '793');
INSERT INTO totals VALUES (2, 51, 2, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 54, 0, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 57, 0, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 60, 0, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 63, 0, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 66, 2, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 69, 0, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 72, 2, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 75, 2, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 4, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 9, 1, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 12, 1, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 15, 1, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 18, 2, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 21, 0.001, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 24, 1, NULL, NULL, '802');
INSERT INTO totals VALUES (2, 35, -1, NULL, NULL, '862');
INSERT INTO totals VALUES (2, 8, 0.4228, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 11, 0.0052, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 48, 4, NULL, NULL, '855');
INSERT INTO totals VALUES (2, 52, 1, NULL, NULL, '862');
INSERT INTO totals VALUES (2, 25, 12, NULL, NULL, '862');
INSERT INTO totals VALUES (2, 27, 0, NULL, NULL, '840');
INSERT INTO totals VALUES (2, 33, 0, NULL, NULL, '840');
INSERT INTO totals VALUES (2, 78, 0, NULL, NULL, '840');
INSERT INTO totals VALUES (2, 28, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 32, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 34, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 14, 0.0052, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 17, 0.2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 19, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 23, 0.001, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 26, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 31, 0.5, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 49, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 50, 2000, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 53, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 55, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 56, 1, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 58, 0.0052, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 59, 1, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 61, 0.0052, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 62, 1, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 64, 0.2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 65, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 67, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 68, 0.001, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 70, 0.001, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 71, 1, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 73, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 74, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 76, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 77, 0.5, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 79, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 80, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 81, 1, NULL, NULL, '840');
INSERT INTO totals VALUES (2, 84, 2, '[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[["other-old", 0.0, 202000.0], ["other-root", 2.0, 202000.0], null, null, null, null, null, null, null, null, null]', '840');
INSERT INTO totals VALUES (2, 87, 0.2114, '[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, ["other-root", 0.2114, 202000.0], null, null, null, null, null, null, null, null]', '840');
INSERT INTO totals VALUES (2, 90, 202300, NULL, NULL, '854');
INSERT INTO totals VALUES (2, 1, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 2, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 5, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 7, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 10, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 13, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 16, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 20, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 22, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 29, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 37, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 38, 0, '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, null, null, null, null, null, null, null]', '860');
INSERT INTO totals VALUES (2, 40, 0, '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, null, null, null, null, null, null, null, null]', '860');
INSERT INTO totals VALUES (2, 41, 0, '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, null, null, null, null, null, null, null, null, null, null]', '860');
INSERT INTO totals VALUES (2, 43, 0, '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, null, null, null, null, null, null, null, null, null]', '860');
INSERT INTO totals VALUES (2, 44, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 46, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 47, 0, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 82, 2, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 83, 7, '[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]', '[["other-old", 1.0, 202000.0], null, null, ["other-root", 6.0, 202000.0], null, null, null, null, null, null, null, null]', '860');
INSERT INTO totals VALUES (2, 85, 60, '[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]', '[null, null, ["other-old", 30.0, 202000.0], null, null, null, null, null, null, null, null, null, null]', '860');
INSERT INTO totals VALUES (2, 86, 400000, '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]', '[null, null, null, null, null, null, null, null, null, null, null, ["other-old", 200000.0, 202000.0], null, null, null]', '860');
INSERT INTO totals VALUES (2, 88, 0.5, '[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]', '[null, null, null, null, null, null, ["other-old", 0.5, 202000.0], null, null, null, null, null, null, null]', '860');
INSERT INTO totals VALUES (2, 89, 3, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 91, 0.01, NULL, NULL, '860');
INSERT INTO totals VALUES (2, 92, 1, NULL, NULL, '860');
INSERT INTO trees VALUES (9, '\x78018b8e56ca2fc9482dd2cdcf4951d2d135d4514a4eccc9d12d4e2d2ececccf53d25132d03355d2c92bcdc9d151720d0d528a8d050094370f50');
INSERT INTO trees VALUES (1, '\x7801858f410a02310c45eff2d7897446bc81371057c32c4aa91a2c89b41dcf6f2d0a0a23ae02e1bdff936982d54bcc9ccd2a880742f0297189a58829080ea44b4a84e3618f99de7c911bc811dae49a17bd8a9e9ff4c6b9ddb8ae84d08d9e1f4c6bb6f4c7f0021a095ef86e1222fb7654a95edba5ade9474d5db2f200da12444f31470df1d5d3b66bbf74a3a57d1b9dfcc0e70706fb5bda');
INSERT INTO trees VALUES (8, '\x7801858f410a02310c45eff2d7897446bc81371057c32c4aa91a2c89b41dcf6f2d0a0a23ae02e1bdff936982d54bcc9ccd2a880742f0297189a58829080ea44b4a84e3618f99de7c911bc811dae49a17bd8a9e9ff4c6b9ddb8ae84d08d9e1f4c6bb6f4c7f0021a095ef86e1222fb7654a95edba5ade9474d5db2f200da12444f31470df1d5d3b66bbf74a3a57d1b9dfcc0e70706fb5bda');
INSERT INTO writers VALUES (1, '-infinity');
INSERT INTO writers VALUES (2, '-infinity');
SELECT pg_catalog.setval('amendments_id_seq', 3, true);
SELECT pg_catalog.setval('claims', 29, true);
SELECT pg_catalog.setval('facets_id_seq', 10, true);
SELECT pg_catalog.setval('failures_id_seq', 3, true);
SELECT pg_catalog.setval('label_sets_id_seq', 10, true);
SELECT pg_catalog.setval('series_id_seq', 92, true);
SELECT pg_catalog.setval('sessions_id_seq', 14, true);
SELECT pg_catalog.setval('writers_id_seq', 2, true);
ALTER TABLE ONLY amendments
    ADD CONSTRAINT amendments_pkey PRIMARY KEY (id);
ALTER TABLE ONLY events
    ADD CONSTRAINT events_pkey PRIMARY KEY (key);
ALTER TABLE ONLY facets
    ADD CONSTRAINT facets_account_record_type_state_key UNIQUE (account, record_type, state);
ALTER TABLE ONLY facets
    ADD CONSTRAINT facets_pkey PRIMARY KEY (id);
ALTER TABLE ONLY failures
    ADD CONSTRAINT failures_pkey PRIMARY KEY (id);
ALTER TABLE ONLY fallbacks
    ADD CONSTRAINT fallbacks_pkey PRIMARY KEY (session, record_type, event_id);
ALTER TABLE ONLY label_sets
    ADD CONSTRAINT label_sets_labels_key UNIQUE (labels);
ALTER TABLE ONLY label_sets
    ADD CONSTRAINT label_sets_pkey PRIMARY KEY (id);
ALTER TABLE ONLY leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY listed_costs
    ADD CONSTRAINT listed_costs_pkey PRIMARY KEY (session, currency);
ALTER TABLE ONLY listed
    ADD CONSTRAINT listed_pkey PRIMARY KEY (session);
ALTER TABLE ONLY meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY records
    ADD CONSTRAINT records_pkey PRIMARY KEY (key);
ALTER TABLE ONLY roots
    ADD CONSTRAINT roots_pkey PRIMARY KEY (event_id, session);
ALTER TABLE ONLY series
    ADD CONSTRAINT series_family_labels_key UNIQUE (family, labels);
ALTER TABLE ONLY series
    ADD CONSTRAINT series_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_account_record_type_event_id_key UNIQUE (account, record_type, event_id);
ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY spend
    ADD CONSTRAINT spend_pkey PRIMARY KEY (quarter, labels, currency, writer);
ALTER TABLE ONLY totals
    ADD CONSTRAINT totals_pkey PRIMARY KEY (writer, series);
ALTER TABLE ONLY trees
    ADD CONSTRAINT trees_pkey PRIMARY KEY (session);
ALTER TABLE ONLY writers
    ADD CONSTRAINT writers_pkey PRIMARY KEY (id);
CREATE INDEX ix_amendments_session ON amendments USING btree (session);
CREATE INDEX ix_events_owner ON events USING btree (owner);
CREATE INDEX ix_failures_reason ON failures USING btree (reason);
CREATE INDEX ix_failures_session ON failures USING btree (session);
CREATE INDEX ix_roots_session ON roots USING btree (session);
CREATE INDEX listed_changed ON listed USING btree (facet, changed_at);
CREATE INDEX listed_costless ON listed USING btree (facet) WHERE (costless = 1);
CREATE INDEX listed_dear ON listed_costs USING btree (facet, currency, rank, session);
CREATE INDEX listed_events ON listed USING btree (facet, events);
CREATE INDEX records_forgettable ON records USING btree (account, at);
CREATE INDEX sessions_configured ON sessions USING btree (configured) WHERE (configured = 1);
CREATE INDEX sessions_due ON sessions USING btree (account, due_at, id);
CREATE INDEX sessions_failing ON sessions USING btree (failing) WHERE (failing <> ''::text);
CREATE INDEX sessions_given_up ON sessions USING btree (due_at) WHERE (state = ANY (ARRAY['missing'::text, 'denied'::text]));
CREATE INDEX sessions_live ON sessions USING btree (account, record_type) WHERE (state = ANY (ARRAY['discovered'::text, 'active'::text]));
CREATE INDEX sessions_prunable ON sessions USING btree (latest_at);
CREATE INDEX sessions_treeless ON sessions USING btree (followed_at) WHERE (summary IS NULL);
