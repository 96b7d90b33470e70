BEGIN TRANSACTION;
CREATE TABLE amendments (
	id INTEGER NOT NULL, 
	session INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	record_type TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	"before" TEXT, 
	"after" TEXT, 
	currency TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE events (
	"key" BLOB NOT NULL, 
	owner INTEGER NOT NULL, 
	claim INTEGER NOT NULL, 
	labels INTEGER NOT NULL, 
	cost_labels INTEGER, 
	cost TEXT, 
	currency TEXT NOT NULL, 
	input_tokens INTEGER NOT NULL, 
	output_tokens INTEGER NOT NULL, 
	billed_seconds TEXT NOT NULL, 
	at FLOAT, 
	flags INTEGER NOT NULL, 
	PRIMARY KEY ("key")
)
 WITHOUT ROWID

;
INSERT INTO "events" VALUES(X'30DA2F4CFFACBC6B6B0BD4E610F1745E',1,1,2,2,'0.0052','USD',0,0,'0',NULL,2);
INSERT INTO "events" VALUES(X'4D2FD1BC8EE572F9641DCB9327B44610',1,1,3,3,'0.18','USD',0,0,'0',NULL,2);
INSERT INTO "events" VALUES(X'8B617E503220716F978869D540F6A2DF',2,2,1,1,'0.5','USD',0,0,'0',NULL,0);
INSERT INTO "events" VALUES(X'0C8AC57745EECF2D9590445639A96EDA',1,1,1,1,'0','USD',0,0,'0',NULL,0);
CREATE TABLE label_sets (
	id INTEGER NOT NULL, 
	labels TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (labels)
);
INSERT INTO "label_sets" VALUES(1,'[["account","main"],["record_type","call-session"],["product","siptrunking-cdrs"],["model","none"]]');
INSERT INTO "label_sets" VALUES(2,'[["account","main"],["record_type","call-control"],["product","callcontrol-cdrs"],["model","none"]]');
INSERT INTO "label_sets" VALUES(3,'[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["model","none"]]');
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema_version','1');
INSERT INTO "meta" VALUES('ledger_id','a8777cd50c7e4901aeb32667318c94b7');
INSERT INTO "meta" VALUES('claims','2');
CREATE TABLE sessions (
	id INTEGER NOT NULL, 
	account TEXT NOT NULL, 
	record_type TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	date_time TEXT, 
	source TEXT NOT NULL, 
	configured INTEGER NOT NULL, 
	due_at FLOAT, 
	claim INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	interval FLOAT NOT NULL, 
	followed_at FLOAT NOT NULL, 
	first_tree_at FLOAT, 
	changed_at FLOAT, 
	rested_at FLOAT, 
	rechecks INTEGER NOT NULL, 
	observed INTEGER NOT NULL, 
	owned INTEGER NOT NULL, 
	failing TEXT NOT NULL, 
	polls TEXT NOT NULL, 
	summary TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (account, record_type, event_id)
);
INSERT INTO "sessions" VALUES(1,'main','call-session','s',NULL,'file',0,1.03070820392062887553e+03,0,'active',30.0,1000.0,1000.0,1000.0,NULL,0,0,3,'','[[1000.0, "changed", ""]]','{"events": 3, "turns": 0, "costs": [["ai-voice-assistant", "USD", "0.18"], ["callcontrol-cdrs", "USD", "0.0052"], ["siptrunking-cdrs", "USD", "0"]]}');
INSERT INTO "sessions" VALUES(2,'main','call-session','t',NULL,'file',0,1.02841640784125775104e+03,0,'active',30.0,1000.0,1000.0,1000.0,NULL,0,0,1,'','[[1000.0, "changed", ""]]','{"events": 1, "turns": 0, "costs": [["siptrunking-cdrs", "USD", "0.5"]]}');
CREATE TABLE totals (
	id INTEGER NOT NULL, 
	family TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	value TEXT NOT NULL, 
	released INTEGER NOT NULL, 
	bounds TEXT, 
	counts TEXT, 
	exemplars TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (family, labels)
);
INSERT INTO "totals" VALUES(1,'telnyx_sessions','[["account","main"],["state","discovered"]]','0',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(2,'telnyx_discovered_sessions_total','[["account","main"],["source","file"]]','2',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(3,'telnyx_events_total','[["account","main"],["record_type","call-session"],["product","siptrunking-cdrs"]]','2',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(4,'telnyx_cost_total','[["account","main"],["record_type","call-session"],["product","siptrunking-cdrs"],["currency","USD"]]','0.5',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(5,'telnyx_cost_credits_total','[["account","main"],["record_type","call-session"],["product","siptrunking-cdrs"],["currency","USD"]]','0',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(6,'telnyx_ledger_events','[]','4',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(7,'telnyx_unsettled_cost','[["account","main"],["currency","USD"]]','0.6852',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(8,'telnyx_events_total','[["account","main"],["record_type","call-control"],["product","callcontrol-cdrs"]]','1',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(9,'telnyx_cost_total','[["account","main"],["record_type","call-control"],["product","callcontrol-cdrs"],["currency","USD"]]','0.0052',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(10,'telnyx_cost_credits_total','[["account","main"],["record_type","call-control"],["product","callcontrol-cdrs"],["currency","USD"]]','0',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(11,'telnyx_events_total','[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"]]','1',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(12,'telnyx_cost_total','[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]','0.18',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(13,'telnyx_cost_credits_total','[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]','0',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(14,'telnyx_sessions','[["account","main"],["state","active"]]','2',1,NULL,NULL,NULL);
INSERT INTO "totals" VALUES(15,'telnyx_sessions_started_total','[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]','2',1,NULL,NULL,NULL);
CREATE TABLE trees (
	session INTEGER NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (session)
);
INSERT INTO "trees" VALUES(1,X'78018B8E562A56D2D135D4514A4ECCC9D12D4E2D2ECECCCF53D2513200613D430B5323202334D8452956275A295949C700AA32393FAFA4283F07ACCAC000AC0A4379A2920ED0E0C44CDDB2FCCCE454DD44A0D9C52589792550A31114D8FC58001C57246D');
INSERT INTO "trees" VALUES(2,X'78018B8E562A51D2D135D4514A4ECCC9D12D4E2D2ECECCCF53D25132D0338593A1C12E4AB1B100055B0B52');
CREATE INDEX ix_amendments_session ON amendments (session);
CREATE INDEX ix_events_owner ON events (owner);
CREATE INDEX sessions_due ON sessions (account, due_at);
COMMIT;
