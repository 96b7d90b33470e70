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
INSERT INTO "amendments" VALUES(1,1,51000.0,'ai-voice-assistant','main-ai','0.18','0.2','USD');
INSERT INTO "amendments" VALUES(2,1,52000.0,'ai-voice-assistant','other-ai','0.18','0.2','USD');
INSERT INTO "amendments" VALUES(3,7,52000.0,'ai-voice-assistant','other-ai','0.18','0.2','USD');
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
 WITHOUT ROWID;
INSERT INTO "events" VALUES(X'06F9FDC25F55447DAD11C455580EECCB',1,12,1,1,'0','USD',0,0,'0',1000.0,0);
INSERT INTO "events" VALUES(X'13508428EED7FB0C829F3E6A876C9BB4',1,12,5,NULL,NULL,'',0,0,'0',1005.0,2);
INSERT INTO "events" VALUES(X'13678C05B46BFAB2FFDF482A3CFBA020',7,14,10,NULL,NULL,'',0,0,'0',1005.0,3);
INSERT INTO "events" VALUES(X'1CE43BD3501CB68E077FE7D9158EF223',7,14,7,7,'0.0052','USD',0,0,'0',1001.0,2);
INSERT INTO "events" VALUES(X'43D5BEE50FBC373C983D9D9B023ED316',7,14,6,6,'0','USD',0,0,'0',1000.0,0);
INSERT INTO "events" VALUES(X'52C3C5F4B3AD379CCA40126877643143',1,1,5,5,'0.001','USD',0,0,'0',1004.0,2);
INSERT INTO "events" VALUES(X'574FACFE4E7819BFAD56F99573477236',7,14,10,10,'0.001','USD',0,0,'0',1004.0,2);
INSERT INTO "events" VALUES(X'5E5E8967D86F26034C081EF4758BA761',7,14,8,8,'0.0052','USD',0,0,'0',1002.0,2);
INSERT INTO "events" VALUES(X'7358C04C3F4DAE9295F22D9A26B98E37',1,1,1,1,'0','USD',0,0,'0',1000.0,0);
INSERT INTO "events" VALUES(X'83284758D9B11C8CE2B55A7DA2ABB2D0',1,1,3,3,'0.0052','USD',0,0,'0',1002.0,2);
INSERT INTO "events" VALUES(X'94E59E24F33AE298ED37B3AB2C402351',1,1,5,NULL,NULL,'',0,0,'0',1005.0,3);
INSERT INTO "events" VALUES(X'AB773053BDCCA98475F37BD737DAD693',1,19,4,4,'0.2','USD',0,0,'0',1003.0,2);
INSERT INTO "events" VALUES(X'BB866DBBDE2D4246D5DAFEC9076920E8',7,24,9,9,'0.2','USD',0,0,'0',1003.0,2);
INSERT INTO "events" VALUES(X'C154391A1327A0B16956366F212F0861',8,15,6,6,'0.5','EUR',0,0,'0',1000.0,0);
INSERT INTO "events" VALUES(X'CE3A66F01CD66849F17A5E9FC4E0E6D3',1,12,2,2,'0.0052','USD',0,0,'0',1001.0,2);
INSERT INTO "events" VALUES(X'CF45E2B4FF0333C1D25C2A684A5A9E11',1,1,2,2,'0.0052','USD',0,0,'0',1001.0,2);
INSERT INTO "events" VALUES(X'DA622E35A7EB84B9B6F7976ED02FDD95',1,4,4,4,'0.2','USD',0,0,'0',1003.0,2);
INSERT INTO "events" VALUES(X'E59C0A50D802DD20FF6C09D66F976EA9',1,12,5,5,'0.001','USD',0,0,'0',1004.0,2);
INSERT INTO "events" VALUES(X'F6C691E9BC0C05E2105D410B76BFE4C7',1,12,3,3,'0.0052','USD',0,0,'0',1002.0,2);
CREATE TABLE facets (
	id INTEGER NOT NULL, 
	account TEXT NOT NULL, 
	record_type TEXT NOT NULL, 
	state TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (account, record_type, state)
);
INSERT INTO "facets" VALUES(1,'main','call-session','discovered');
INSERT INTO "facets" VALUES(2,'main','call-session','active');
INSERT INTO "facets" VALUES(3,'main','call-session','settled');
INSERT INTO "facets" VALUES(4,'main','message','discovered');
INSERT INTO "facets" VALUES(5,'main','call-control','discovered');
INSERT INTO "facets" VALUES(6,'other','call-session','discovered');
INSERT INTO "facets" VALUES(7,'other','call-session','active');
INSERT INTO "facets" VALUES(8,'main','call-session','missing');
INSERT INTO "facets" VALUES(9,'other','call-session','settled');
INSERT INTO "facets" VALUES(10,'other','message','discovered');
INSERT INTO "facets" VALUES(11,'other','call-control','discovered');
CREATE TABLE failures (
	id INTEGER NOT NULL, 
	session INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "failures" VALUES(3,8,52000.0,'failed','timeout','no answer');
CREATE TABLE fallbacks (
	session INTEGER NOT NULL, 
	record_type TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	PRIMARY KEY (session, record_type, event_id)
)
 WITHOUT ROWID;
INSERT INTO "fallbacks" VALUES(12,'call-session','substitute');
CREATE TABLE label_sets (
	id INTEGER NOT NULL, 
	labels TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (labels)
);
INSERT INTO "label_sets" VALUES(1,'[["account","main"],["record_type","call-session"],["product","call-session"],["model","none"]]');
INSERT INTO "label_sets" VALUES(2,'[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"],["model","none"]]');
INSERT INTO "label_sets" VALUES(3,'[["account","main"],["record_type","call-control"],["product","call-control"],["model","none"]]');
INSERT INTO "label_sets" VALUES(4,'[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["model","none"]]');
INSERT INTO "label_sets" VALUES(5,'[["account","main"],["record_type","inference"],["product","inference"],["model","none"]]');
INSERT INTO "label_sets" VALUES(6,'[["account","other"],["record_type","call-session"],["product","call-session"],["model","none"]]');
INSERT INTO "label_sets" VALUES(7,'[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"],["model","none"]]');
INSERT INTO "label_sets" VALUES(8,'[["account","other"],["record_type","call-control"],["product","call-control"],["model","none"]]');
INSERT INTO "label_sets" VALUES(9,'[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["model","none"]]');
INSERT INTO "label_sets" VALUES(10,'[["account","other"],["record_type","inference"],["product","inference"],["model","none"]]');
CREATE TABLE listed (
	session INTEGER NOT NULL, 
	facet INTEGER NOT NULL, 
	changed_at FLOAT NOT NULL, 
	events INTEGER NOT NULL, 
	costless INTEGER NOT NULL, 
	PRIMARY KEY (session)
);
INSERT INTO "listed" VALUES(1,3,52000.0,6,0);
INSERT INTO "listed" VALUES(3,1,201100.0,0,1);
INSERT INTO "listed" VALUES(4,4,201100.0,0,1);
INSERT INTO "listed" VALUES(5,5,201100.0,0,1);
INSERT INTO "listed" VALUES(6,4,201400.0,0,1);
INSERT INTO "listed" VALUES(7,9,52000.0,6,0);
INSERT INTO "listed" VALUES(8,9,2000.0,1,0);
INSERT INTO "listed" VALUES(9,8,2000.0,0,1);
INSERT INTO "listed" VALUES(10,6,202100.0,0,1);
INSERT INTO "listed" VALUES(11,10,202100.0,0,1);
INSERT INTO "listed" VALUES(12,11,202100.0,0,1);
INSERT INTO "listed" VALUES(13,10,202400.0,0,1);
CREATE TABLE listed_costs (
	session INTEGER NOT NULL, 
	currency TEXT NOT NULL, 
	facet INTEGER NOT NULL, 
	amount TEXT NOT NULL, 
	rank BLOB NOT NULL, 
	PRIMARY KEY (session, currency)
)
 WITHOUT ROWID;
INSERT INTO "listed_costs" VALUES(1,'USD',3,'0.2114',X'8000000000000031386C0200');
INSERT INTO "listed_costs" VALUES(7,'USD',9,'0.2114',X'8000000000000031386C0200');
INSERT INTO "listed_costs" VALUES(8,'EUR',9,'0.5',X'80000000000000746A528800');
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema_version','5');
INSERT INTO "meta" VALUES('ledger_id','2cddd8bb1e474967b3f7d626fd85ae6a');
INSERT INTO "meta" VALUES('claims','34');
INSERT INTO "meta" VALUES('metadata','{"writer": 2}');
INSERT INTO "meta" VALUES('horizon','150000.0');
INSERT INTO "meta" VALUES('look_back','done');
CREATE TABLE records (
	"key" BLOB NOT NULL, 
	account TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	cost TEXT, 
	PRIMARY KEY ("key")
)
 WITHOUT ROWID;
INSERT INTO "records" VALUES(X'0A4E4B699544152BD03046C3E5D30752','main',1010.0,'0.01');
INSERT INTO "records" VALUES(X'13A9509EBBC4436F6441AC1B6CE41273','other',2010.0,'0.01');
CREATE TABLE roots (
	event_id TEXT NOT NULL, 
	session INTEGER NOT NULL, 
	PRIMARY KEY (event_id, session)
)
 WITHOUT ROWID;
INSERT INTO "roots" VALUES('main-root',1);
INSERT INTO "roots" VALUES('other-root',1);
INSERT INTO "roots" VALUES('other-root',7);
INSERT INTO "roots" VALUES('other-old',8);
CREATE TABLE series (
	id INTEGER NOT NULL, 
	family TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	bounds TEXT, 
	released INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (family, labels)
);
INSERT INTO "series" VALUES(1,'telnyx_sessions','[["account","main"],["state","discovered"]]',NULL,1);
INSERT INTO "series" VALUES(2,'telnyx_discovered_sessions_total','[["account","main"],["source","file"]]',NULL,1);
INSERT INTO "series" VALUES(3,'telnyx_discovery_last_success_timestamp_seconds','[["account","main"],["source","file"]]',NULL,1);
INSERT INTO "series" VALUES(4,'telnyx_events_total','[["account","main"],["record_type","call-session"],["product","call-session"]]',NULL,1);
INSERT INTO "series" VALUES(5,'telnyx_cost_credits_total','[["account","main"],["record_type","call-session"],["product","call-session"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(6,'telnyx_cost_total','[["account","main"],["record_type","call-session"],["product","call-session"],["currency","USD"]]',NULL,0);
INSERT INTO "series" VALUES(7,'telnyx_budget_cost_credits_total','[["budget","calls"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(8,'telnyx_budget_cost_total','[["budget","calls"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(9,'telnyx_events_total','[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"]]',NULL,0);
INSERT INTO "series" VALUES(10,'telnyx_cost_credits_total','[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(11,'telnyx_cost_total','[["account","main"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(12,'telnyx_events_total','[["account","main"],["record_type","call-control"],["product","call-control"]]',NULL,0);
INSERT INTO "series" VALUES(13,'telnyx_cost_credits_total','[["account","main"],["record_type","call-control"],["product","call-control"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(14,'telnyx_cost_total','[["account","main"],["record_type","call-control"],["product","call-control"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(15,'telnyx_events_total','[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"]]',NULL,0);
INSERT INTO "series" VALUES(16,'telnyx_cost_credits_total','[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(17,'telnyx_cost_total','[["account","main"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(18,'telnyx_events_total','[["account","main"],["record_type","inference"],["product","inference"]]',NULL,0);
INSERT INTO "series" VALUES(19,'telnyx_inference_turns_total','[["account","main"],["model","none"]]',NULL,1);
INSERT INTO "series" VALUES(20,'telnyx_cost_credits_total','[["account","main"],["record_type","inference"],["product","inference"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(21,'telnyx_cost_total','[["account","main"],["record_type","inference"],["product","inference"],["currency","USD"]]',NULL,0);
INSERT INTO "series" VALUES(22,'telnyx_inference_cost_credits_total','[["account","main"],["model","none"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(23,'telnyx_inference_cost_total','[["account","main"],["model","none"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(24,'telnyx_events_awaiting_price','[["account","main"],["record_type","inference"],["product","inference"]]',NULL,1);
INSERT INTO "series" VALUES(25,'telnyx_ledger_events','[]',NULL,1);
INSERT INTO "series" VALUES(26,'telnyx_reconciliation_failures_total','[["account","main"],["check","event_sum"]]',NULL,1);
INSERT INTO "series" VALUES(27,'telnyx_unreconciled_sessions','[["account","main"],["check","event_sum"]]',NULL,1);
INSERT INTO "series" VALUES(28,'telnyx_sessions','[["account","main"],["state","active"]]',NULL,1);
INSERT INTO "series" VALUES(29,'telnyx_sessions_started_total','[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]',NULL,1);
INSERT INTO "series" VALUES(30,'telnyx_cost_credits_total','[["account","main"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]',NULL,0);
INSERT INTO "series" VALUES(31,'telnyx_cost_total','[["account","main"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]',NULL,1);
INSERT INTO "series" VALUES(32,'telnyx_unsettled_cost','[["account","main"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(33,'telnyx_unsettled_cost','[["account","main"],["currency","EUR"]]',NULL,1);
INSERT INTO "series" VALUES(34,'telnyx_budget_spent','[["budget","calls"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(35,'telnyx_sessions','[["account","main"],["state","settled"]]',NULL,1);
INSERT INTO "series" VALUES(36,'telnyx_events_settled_unpriced_total','[["account","main"],["record_type","inference"],["product","inference"]]',NULL,0);
INSERT INTO "series" VALUES(37,'telnyx_sessions_settled_total','[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]',NULL,1);
INSERT INTO "series" VALUES(38,'telnyx_session_events','[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]','[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]',1);
INSERT INTO "series" VALUES(39,'telnyx_session_inference_turns','[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]','[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]',0);
INSERT INTO "series" VALUES(40,'telnyx_session_duration_seconds','[["account","main"],["root_record_type","call-session"],["session_kind","voice"]]','[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0]',1);
INSERT INTO "series" VALUES(41,'telnyx_session_settling_seconds','[["account","main"],["session_kind","voice"]]','[900.0, 3600.0, 10800.0, 21600.0, 25200.0, 28800.0, 36000.0, 43200.0, 64800.0, 86400.0, 172800.0, 345600.0, 604800.0, 1209600.0]',1);
INSERT INTO "series" VALUES(42,'telnyx_session_cost','[["account","main"],["root_record_type","call-session"],["session_kind","voice"],["currency","USD"]]','[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]',0);
INSERT INTO "series" VALUES(43,'telnyx_session_cost','[["account","main"],["root_record_type","call-session"],["session_kind","voice"],["currency","EUR"]]','[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]',1);
INSERT INTO "series" VALUES(44,'telnyx_discovered_sessions_total','[["account","main"],["source","webhook"]]',NULL,1);
INSERT INTO "series" VALUES(45,'telnyx_discovery_last_success_timestamp_seconds','[["account","main"],["source","webhook"]]',NULL,1);
INSERT INTO "series" VALUES(46,'telnyx_detail_record_cost_total','[["account","main"],["record_type","m1"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(47,'telnyx_discovered_sessions_total','[["account","main"],["source","detail_records"]]',NULL,1);
INSERT INTO "series" VALUES(48,'telnyx_sessions','[["account","other"],["state","discovered"]]',NULL,1);
INSERT INTO "series" VALUES(49,'telnyx_discovered_sessions_total','[["account","other"],["source","file"]]',NULL,1);
INSERT INTO "series" VALUES(50,'telnyx_discovery_last_success_timestamp_seconds','[["account","other"],["source","file"]]',NULL,1);
INSERT INTO "series" VALUES(51,'telnyx_reconciliation_failures_total','[["account","main"],["check","vanished_event"]]',NULL,0);
INSERT INTO "series" VALUES(52,'telnyx_unreconciled_sessions','[["account","main"],["check","vanished_event"]]',NULL,1);
INSERT INTO "series" VALUES(53,'telnyx_events_total','[["account","other"],["record_type","call-session"],["product","call-session"]]',NULL,1);
INSERT INTO "series" VALUES(54,'telnyx_cost_credits_total','[["account","other"],["record_type","call-session"],["product","call-session"],["currency","USD"]]',NULL,0);
INSERT INTO "series" VALUES(55,'telnyx_cost_total','[["account","other"],["record_type","call-session"],["product","call-session"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(56,'telnyx_events_total','[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"]]',NULL,1);
INSERT INTO "series" VALUES(57,'telnyx_cost_credits_total','[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]',NULL,0);
INSERT INTO "series" VALUES(58,'telnyx_cost_total','[["account","other"],["record_type","sip-trunking"],["product","sip-trunking"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(59,'telnyx_events_total','[["account","other"],["record_type","call-control"],["product","call-control"]]',NULL,1);
INSERT INTO "series" VALUES(60,'telnyx_cost_credits_total','[["account","other"],["record_type","call-control"],["product","call-control"],["currency","USD"]]',NULL,0);
INSERT INTO "series" VALUES(61,'telnyx_cost_total','[["account","other"],["record_type","call-control"],["product","call-control"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(62,'telnyx_events_total','[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"]]',NULL,1);
INSERT INTO "series" VALUES(63,'telnyx_cost_credits_total','[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]',NULL,0);
INSERT INTO "series" VALUES(64,'telnyx_cost_total','[["account","other"],["record_type","ai-voice-assistant"],["product","ai-voice-assistant"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(65,'telnyx_events_total','[["account","other"],["record_type","inference"],["product","inference"]]',NULL,1);
INSERT INTO "series" VALUES(66,'telnyx_inference_turns_total','[["account","other"],["model","none"]]',NULL,0);
INSERT INTO "series" VALUES(67,'telnyx_cost_credits_total','[["account","other"],["record_type","inference"],["product","inference"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(68,'telnyx_cost_total','[["account","other"],["record_type","inference"],["product","inference"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(69,'telnyx_inference_cost_credits_total','[["account","other"],["model","none"],["currency","USD"]]',NULL,0);
INSERT INTO "series" VALUES(70,'telnyx_inference_cost_total','[["account","other"],["model","none"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(71,'telnyx_events_awaiting_price','[["account","other"],["record_type","inference"],["product","inference"]]',NULL,1);
INSERT INTO "series" VALUES(72,'telnyx_reconciliation_failures_total','[["account","other"],["check","event_sum"]]',NULL,0);
INSERT INTO "series" VALUES(73,'telnyx_unreconciled_sessions','[["account","other"],["check","event_sum"]]',NULL,1);
INSERT INTO "series" VALUES(74,'telnyx_sessions','[["account","other"],["state","active"]]',NULL,1);
INSERT INTO "series" VALUES(75,'telnyx_sessions_started_total','[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]',NULL,0);
INSERT INTO "series" VALUES(76,'telnyx_cost_credits_total','[["account","other"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]',NULL,1);
INSERT INTO "series" VALUES(77,'telnyx_cost_total','[["account","other"],["record_type","call-session"],["product","call-session"],["currency","EUR"]]',NULL,1);
INSERT INTO "series" VALUES(78,'telnyx_unsettled_cost','[["account","other"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(79,'telnyx_unsettled_cost','[["account","other"],["currency","EUR"]]',NULL,1);
INSERT INTO "series" VALUES(80,'telnyx_sessions','[["account","main"],["state","missing"]]',NULL,1);
INSERT INTO "series" VALUES(81,'telnyx_sessions','[["account","other"],["state","settled"]]',NULL,1);
INSERT INTO "series" VALUES(82,'telnyx_events_settled_unpriced_total','[["account","other"],["record_type","inference"],["product","inference"]]',NULL,1);
INSERT INTO "series" VALUES(83,'telnyx_sessions_settled_total','[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]',NULL,1);
INSERT INTO "series" VALUES(84,'telnyx_session_events','[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]','[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]',0);
INSERT INTO "series" VALUES(85,'telnyx_session_inference_turns','[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]','[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]',1);
INSERT INTO "series" VALUES(86,'telnyx_session_duration_seconds','[["account","other"],["root_record_type","call-session"],["session_kind","voice"]]','[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0]',1);
INSERT INTO "series" VALUES(87,'telnyx_session_settling_seconds','[["account","other"],["session_kind","voice"]]','[900.0, 3600.0, 10800.0, 21600.0, 25200.0, 28800.0, 36000.0, 43200.0, 64800.0, 86400.0, 172800.0, 345600.0, 604800.0, 1209600.0]',0);
INSERT INTO "series" VALUES(88,'telnyx_session_cost','[["account","other"],["root_record_type","call-session"],["session_kind","voice"],["currency","USD"]]','[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]',1);
INSERT INTO "series" VALUES(89,'telnyx_session_cost','[["account","other"],["root_record_type","call-session"],["session_kind","voice"],["currency","EUR"]]','[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0]',1);
INSERT INTO "series" VALUES(90,'telnyx_discovered_sessions_total','[["account","other"],["source","webhook"]]',NULL,0);
INSERT INTO "series" VALUES(91,'telnyx_discovery_last_success_timestamp_seconds','[["account","other"],["source","webhook"]]',NULL,1);
INSERT INTO "series" VALUES(92,'telnyx_detail_record_cost_total','[["account","other"],["record_type","m1"],["currency","USD"]]',NULL,1);
INSERT INTO "series" VALUES(93,'telnyx_discovered_sessions_total','[["account","other"],["source","detail_records"]]',NULL,0);
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
	latest_at FLOAT, 
	crossed TEXT DEFAULT '' NOT NULL, 
	failing TEXT NOT NULL, 
	polls TEXT NOT NULL, 
	hint TEXT DEFAULT '' NOT NULL, 
	hinted_due FLOAT, 
	summary TEXT, 
	fingerprint BLOB, 
	PRIMARY KEY (id), 
	UNIQUE (account, record_type, event_id)
);
INSERT INTO "sessions" VALUES(1,'main','call-session','call',NULL,'file',0,288400.0,0,'settled',30.0,1000.0,1000.0,52000.0,202000.0,0,1,12,1005.0,'','vanished_event','[[1000.0,"changed",""],[51000.0,"changed",""],[201000.0,"unchanged",""],[2000.0,"changed",""],[52000.0,"changed",""],[202000.0,"unchanged",""]]','',NULL,'{"events":6,"turns":2,"costs":[["ai-voice-assistant","USD","0.2"],["call-control","USD","0.0052"],["call-session","USD","0"],["inference","USD","0.001"],["sip-trunking","USD","0.0052"]]}',NULL);
INSERT INTO "sessions" VALUES(3,'main','call-session','begun',NULL,'webhook',0,2.02604922352377325289e+05,0,'discovered',600.0,201100.0,NULL,NULL,NULL,0,0,0,NULL,'','','[[2000.0,"gone",""],[52000.0,"gone",""],[202000.0,"gone",""]]','begun',NULL,NULL,NULL);
INSERT INTO "sessions" VALUES(4,'main','message','ended',NULL,'webhook',0,2.02124486023427918563e+05,0,'discovered',120.0,201100.0,NULL,NULL,NULL,0,0,0,NULL,'','','[[2000.0,"gone",""],[52000.0,"gone",""],[202000.0,"gone",""]]','rated',NULL,NULL,NULL);
INSERT INTO "sessions" VALUES(5,'main','call-control','listed',NULL,'webhook',0,2.02130151654792949555e+05,0,'discovered',120.0,201100.0,NULL,NULL,NULL,0,0,0,NULL,'','','[[2000.0,"gone",""],[52000.0,"gone",""],[202000.0,"gone",""]]','rated',NULL,NULL,NULL);
INSERT INTO "sessions" VALUES(6,'main','message','m1',NULL,'detail_records',0,2.02109653207745403047e+05,0,'discovered',120.0,201400.0,NULL,NULL,NULL,0,0,0,NULL,'','','[[2000.0,"gone",""],[52000.0,"gone",""],[202000.0,"gone",""]]','rated',NULL,NULL,NULL);
INSERT INTO "sessions" VALUES(7,'other','call-session','call',NULL,'file',0,288400.0,0,'settled',30.0,2000.0,2000.0,52000.0,202000.0,0,1,6,1005.0,'','','[[2000.0,"changed",""],[52000.0,"changed",""],[202000.0,"unchanged",""]]','',NULL,'{"events":6,"turns":2,"costs":[["ai-voice-assistant","USD","0.2"],["call-control","USD","0.0052"],["call-session","USD","0"],["inference","USD","0.001"],["sip-trunking","USD","0.0052"]]}',NULL);
INSERT INTO "sessions" VALUES(8,'other','call-session','old',NULL,'file',0,288400.0,0,'settled',60.0,2000.0,2000.0,2000.0,202000.0,0,1,1,1000.0,'','','[[2000.0,"changed",""],[52000.0,"failed","timeout"],[202000.0,"unchanged",""]]','',NULL,'{"events":1,"turns":0,"costs":[["call-session","EUR","0.5"]]}',NULL);
INSERT INTO "sessions" VALUES(9,'main','call-session','substitute',NULL,'detail_records',0,NULL,0,'missing',0.0,2000.0,NULL,NULL,52000.0,1,0,0,NULL,'','','[[52000.0,"gone",""],[202000.0,"gone",""]]','',NULL,NULL,NULL);
INSERT INTO "sessions" VALUES(10,'other','call-session','begun',NULL,'webhook',0,203000.0,0,'discovered',0.0,202100.0,NULL,NULL,NULL,0,0,0,NULL,'','','[]','begun',NULL,NULL,NULL);
INSERT INTO "sessions" VALUES(11,'other','message','ended',NULL,'webhook',0,202130.0,0,'discovered',0.0,202100.0,NULL,NULL,NULL,0,0,0,NULL,'','','[]','rated',202300.0,NULL,NULL);
INSERT INTO "sessions" VALUES(12,'other','call-control','listed',NULL,'webhook',0,202100.0,34,'discovered',0.0,202100.0,NULL,NULL,NULL,0,0,0,NULL,'','','[]','rated',NULL,NULL,NULL);
INSERT INTO "sessions" VALUES(13,'other','message','m1',NULL,'detail_records',0,202400.0,0,'discovered',0.0,202400.0,NULL,NULL,NULL,0,0,0,NULL,'','','[]','rated',NULL,NULL,NULL);
CREATE TABLE spend (
	quarter INTEGER NOT NULL, 
	labels INTEGER NOT NULL, 
	currency TEXT NOT NULL, 
	writer INTEGER NOT NULL, 
	amount TEXT NOT NULL, 
	PRIMARY KEY (quarter, labels, currency, writer)
)
 WITHOUT ROWID;
INSERT INTO "spend" VALUES(1,1,'EUR',0,'1');
INSERT INTO "spend" VALUES(1,2,'USD',0,'0.0104');
INSERT INTO "spend" VALUES(1,3,'USD',0,'0.0104');
INSERT INTO "spend" VALUES(1,4,'USD',0,'0.4');
INSERT INTO "spend" VALUES(1,5,'USD',0,'0.002');
INSERT INTO "spend" VALUES(1,6,'EUR',0,'0.5');
INSERT INTO "spend" VALUES(1,7,'USD',0,'0.0052');
INSERT INTO "spend" VALUES(1,8,'USD',0,'0.0052');
INSERT INTO "spend" VALUES(1,9,'USD',0,'0.2');
INSERT INTO "spend" VALUES(1,10,'USD',0,'0.001');
CREATE TABLE totals (
	writer INTEGER NOT NULL, 
	series INTEGER NOT NULL, 
	value TEXT NOT NULL, 
	counts TEXT, 
	exemplars TEXT, 
	PRIMARY KEY (writer, series)
)
 WITHOUT ROWID;
INSERT INTO "totals" VALUES(0,1,'4',NULL,NULL);
INSERT INTO "totals" VALUES(0,2,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,3,'1000',NULL,NULL);
INSERT INTO "totals" VALUES(0,4,'4',NULL,NULL);
INSERT INTO "totals" VALUES(0,5,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,6,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,7,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,8,'0.6342',NULL,NULL);
INSERT INTO "totals" VALUES(0,9,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,10,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,11,'0.0104',NULL,NULL);
INSERT INTO "totals" VALUES(0,12,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,13,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,14,'0.0104',NULL,NULL);
INSERT INTO "totals" VALUES(0,15,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,16,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,17,'0.4',NULL,NULL);
INSERT INTO "totals" VALUES(0,18,'4',NULL,NULL);
INSERT INTO "totals" VALUES(0,19,'4',NULL,NULL);
INSERT INTO "totals" VALUES(0,20,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,21,'0.002',NULL,NULL);
INSERT INTO "totals" VALUES(0,22,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,23,'0.002',NULL,NULL);
INSERT INTO "totals" VALUES(0,24,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,25,'19',NULL,NULL);
INSERT INTO "totals" VALUES(0,26,'4',NULL,NULL);
INSERT INTO "totals" VALUES(0,27,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,28,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,29,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,30,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,31,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,32,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,33,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,34,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,35,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,36,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,37,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,38,'7','[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]','[["main-old", 1.0, 201000.0], null, null, ["main-root", 6.0, 201000.0], null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,39,'2','[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]','[["main-old", 0.0, 201000.0], ["main-root", 2.0, 201000.0], null, null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,40,'60','[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]','[null, null, ["main-old", 30.0, 201000.0], null, null, null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,41,'400000','[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]','[null, null, null, null, null, null, null, null, null, null, null, ["main-old", 200000.0, 201000.0], null, null, null]');
INSERT INTO "totals" VALUES(0,42,'0.2114','[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]','[null, null, null, null, null, ["main-root", 0.2114, 201000.0], null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,43,'0.5','[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]','[null, null, null, null, null, null, ["main-old", 0.5, 201000.0], null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,44,'3',NULL,NULL);
INSERT INTO "totals" VALUES(0,45,'201300',NULL,NULL);
INSERT INTO "totals" VALUES(0,46,'0.01',NULL,NULL);
INSERT INTO "totals" VALUES(0,47,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,48,'4',NULL,NULL);
INSERT INTO "totals" VALUES(0,49,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,50,'2000',NULL,NULL);
INSERT INTO "totals" VALUES(0,51,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,52,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,53,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,54,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,55,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,56,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,57,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,58,'0.0052',NULL,NULL);
INSERT INTO "totals" VALUES(0,59,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,60,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,61,'0.0052',NULL,NULL);
INSERT INTO "totals" VALUES(0,62,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,63,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,64,'0.2',NULL,NULL);
INSERT INTO "totals" VALUES(0,65,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,66,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,67,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,68,'0.001',NULL,NULL);
INSERT INTO "totals" VALUES(0,69,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,70,'0.001',NULL,NULL);
INSERT INTO "totals" VALUES(0,71,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,72,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,73,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,74,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,75,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,76,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,77,'0.5',NULL,NULL);
INSERT INTO "totals" VALUES(0,78,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,79,'0',NULL,NULL);
INSERT INTO "totals" VALUES(0,80,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,81,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,82,'1',NULL,NULL);
INSERT INTO "totals" VALUES(0,83,'2',NULL,NULL);
INSERT INTO "totals" VALUES(0,84,'7','[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]','[["other-old", 1.0, 202000.0], null, null, ["other-root", 6.0, 202000.0], null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,85,'2','[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]','[["other-old", 0.0, 202000.0], ["other-root", 2.0, 202000.0], null, null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,86,'60','[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]','[null, null, ["other-old", 30.0, 202000.0], null, null, null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,87,'400000','[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]','[null, null, null, null, null, null, null, null, null, null, null, ["other-old", 200000.0, 202000.0], null, null, null]');
INSERT INTO "totals" VALUES(0,88,'0.2114','[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]','[null, null, null, null, null, ["other-root", 0.2114, 202000.0], null, null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,89,'0.5','[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]','[null, null, null, null, null, null, ["other-old", 0.5, 202000.0], null, null, null, null, null, null, null]');
INSERT INTO "totals" VALUES(0,90,'3',NULL,NULL);
INSERT INTO "totals" VALUES(0,91,'202300',NULL,NULL);
INSERT INTO "totals" VALUES(0,92,'0.01',NULL,NULL);
INSERT INTO "totals" VALUES(0,93,'1',NULL,NULL);
CREATE TABLE trees (
	session INTEGER NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (session)
);
INSERT INTO "trees" VALUES(1,X'7801858F410A02310C45EFF2D7897446BC81371057C32C4AA91A2C89B41DCF6F2D0A0A23AE02E1BDFF936982D54BCC9CCD2A880742F0297189A58829080EA44B4A84E3618F99DE7C911BC811DAE49A17BD8A9E9FF4C6B9DDB8AE84D08D9E1F4C6BB6F4C7F0021A095EF86E1222FB7654A95EDBA5ADE9474D5DB2F200DA12444F31470DF1D5D3B66BBF74A3A57D1B9DFCC0E70706FB5BDA');
INSERT INTO "trees" VALUES(7,X'7801858F410A02310C45EFF2D7897446BC81371057C32C4AA91A2C89B41DCF6F2D0A0A23AE02E1BDFF936982D54BCC9CCD2A880742F0297189A58829080EA44B4A84E3618F99DE7C911BC811DAE49A17BD8A9E9FF4C6B9DDB8AE84D08D9E1F4C6BB6F4C7F0021A095EF86E1222FB7654A95EDBA5ADE9474D5DB2F200DA12444F31470DF1D5D3B66BBF74A3A57D1B9DFCC0E70706FB5BDA');
INSERT INTO "trees" VALUES(8,X'78018B8E56CA2FC9482DD2CDCF4951D2D135D4514A4ECCC9D12D4E2D2ECECCCF53D25132D03355D2C92BCDC9D151720D0D528A8D050094370F50');
CREATE INDEX ix_amendments_session ON amendments (session);
CREATE INDEX ix_events_owner ON events (owner);
CREATE INDEX ix_failures_reason ON failures (reason);
CREATE INDEX ix_failures_session ON failures (session);
CREATE INDEX listed_changed ON listed (facet, changed_at);
CREATE INDEX listed_costless ON listed (facet) WHERE costless = 1;
CREATE INDEX listed_events ON listed (facet, events);
CREATE INDEX listed_dear ON listed_costs (facet, currency, rank, session);
CREATE INDEX records_forgettable ON records (account, at);
CREATE INDEX ix_roots_session ON roots (session);
CREATE INDEX sessions_claimed ON sessions (claim) WHERE claim <> 0;
CREATE INDEX sessions_configured ON sessions (configured) WHERE configured = 1;
CREATE INDEX sessions_due ON sessions (account, due_at);
CREATE INDEX sessions_failing ON sessions (failing) WHERE failing <> '';
CREATE INDEX sessions_given_up ON sessions (due_at) WHERE state IN ('missing', 'denied');
CREATE INDEX sessions_live ON sessions (account, record_type) WHERE state IN ('discovered', 'active');
CREATE INDEX sessions_prunable ON sessions (latest_at);
CREATE INDEX sessions_treeless ON sessions (followed_at) WHERE summary IS NULL;
COMMIT;
