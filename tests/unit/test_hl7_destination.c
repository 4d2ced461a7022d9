// SPDX-License-Identifier: Apache-2.0
// A destination with a real journal and a peer that answers as told. What is counted: messages by MSH-10 and their bytes, and the heart rates in them.
#include "adapters/hl7/destination.h"
#include "adapters/hl7/mllp.h"
#include "store_help.h"

#include "gateway/clock.h"
#include "gateway/nomenclature.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_MAX 4096
#define WAIT_US 30000000

// ---- The peer ----

struct message {
	char id[24];
	char *bytes;
	size_t len;
};

struct peer {
	int listener, port;
	pthread_t thread;
	_Atomic bool stopping;
	_Atomic unsigned connections, count;
	struct message messages[MESSAGES_MAX];
	// Answers the message with this number (from 1): bytes with "%s" for its MSH-10; NULL: silence; "": closes; "!...": closes after these;
	// "~...": waits until the other side has closed, then answers.
	const char *(*answer)(unsigned number);
	const char *flood; // sent without end once something has come
};

static const char AA[] = "\x0bMSH|^~\\&|P\rMSA|AA|%s\r\x1c\r", AE[] = "\x0bMSH|^~\\&|P\rMSA|AE|%s|not now\r\x1c\r",
    AR[] = "\x0bMSH|^~\\&|P\rMSA|AR|%s\rERR|||207^no such bed|E\r\x1c\r", CLOSE[] = "";

static const char *
always_aa(unsigned number)
{
	(void)number;
	return AA;
}

static void
field_10(const char *bytes, size_t len, char out[24])
{
	size_t from = 0, to;

	for (int i = 0; i < 9; i++)
		from = (size_t)((const char *)memchr(bytes + from, '|', len - from) - bytes) + 1;
	to = (size_t)((const char *)memchr(bytes + from, '|', len - from) - bytes);
	assert_true(to - from < 24);
	memcpy(out, bytes + from, to - from);
	out[to - from] = '\0';
}

static void
fill_in(const char *answer, const char *id, char out[512])
{
	size_t len = 0;

	for (const char *at = answer; *at != '\0' && len < 480; at++) {
		if (strncmp(at, "%s", 2) == 0) {
			len += (size_t)sprintf(out + len, "%s", id);
			at++;
		} else {
			out[len++] = *at;
		}
	}
	out[len] = '\0';
}

static bool
take(struct peer *peer, int fd, struct gw_span bytes)
{
	struct message *message = &peer->messages[peer->count];
	const char *answer;
	char text[512];

	assert_true(peer->count < MESSAGES_MAX);
	message->bytes = malloc(bytes.len);
	memcpy(message->bytes, bytes.at, bytes.len);
	message->len = bytes.len;
	field_10(message->bytes, message->len, message->id);
	peer->count++;
	answer = peer->answer(peer->count);
	if (answer == NULL)
		return true;
	if (answer[0] == '\0')
		return false;
	if (answer[0] == '~')
		while (recv(fd, text, sizeof(text), 0) > 0)
			continue;
	fill_in(answer + (answer[0] == '~' || answer[0] == '!'), message->id, text);
	for (size_t i = 0; i < strlen(text); i++) // byte by byte
		if (send(fd, text + i, 1, MSG_NOSIGNAL) != 1)
			return false;
	return answer[0] != '!' && answer[0] != '~';
}

static void
serve(struct peer *peer, int fd)
{
	static uint8_t buf[1 << 20];
	struct gw_hl7_mllp mllp;
	uint8_t bytes[4096];

	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	while (!peer->stopping) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		struct gw_span in, message;
		ssize_t n;

		if (peer->flood != NULL && peer->count > 0 && send(fd, peer->flood, strlen(peer->flood), MSG_NOSIGNAL) < 0)
			return;
		if (poll(&poll_fd, 1, peer->flood != NULL ? 0 : 5) <= 0)
			continue;
		if ((n = recv(fd, bytes, sizeof(bytes), 0)) <= 0)
			return;
		in = gw_span(bytes, (size_t)n);
		while (gw_hl7_mllp_feed(&mllp, &in, &message) == GW_HL7_MLLP_FRAME)
			if (!take(peer, fd, message))
				return;
	}
}

static void *
peer_run(void *arg)
{
	struct peer *peer = arg;

	while (!peer->stopping) {
		struct pollfd fd = { .fd = peer->listener, .events = POLLIN };
		int client;

		if (poll(&fd, 1, 5) <= 0 || (client = accept(peer->listener, NULL, NULL)) < 0)
			continue;
		peer->connections++;
		serve(peer, client);
		close(client);
	}
	return NULL;
}

static struct peer peer;

static void
peer_start(const char *(*answer)(unsigned))
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(address);

	memset(&peer, 0, sizeof(peer));
	peer.answer = answer;
	peer.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(peer.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(peer.listener, 8), 0);
	assert_int_equal(getsockname(peer.listener, (struct sockaddr *)&address, &len), 0);
	peer.port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&peer.thread, NULL, peer_run, &peer), 0);
}

static void
peer_stop(void)
{
	peer.stopping = true;
	pthread_join(peer.thread, NULL);
	close(peer.listener);
	for (unsigned i = 0; i < peer.count; i++)
		free(peer.messages[i].bytes);
}

static bool
same(unsigned a, unsigned b)
{
	return strcmp(peer.messages[a].id, peer.messages[b].id) == 0 && peer.messages[a].len == peer.messages[b].len &&
	    memcmp(peer.messages[a].bytes, peer.messages[b].bytes, peer.messages[a].len) == 0;
}

// How often heart rate `value` stands in messages of different MSH-10.
static unsigned
times_in_messages(int value)
{
	char row[96];
	unsigned times = 0;

	snprintf(row, sizeof(row), "147842^MDC_ECG_HEART_RATE^MDC|1.1.3.147842|%d|", value);
	for (unsigned i = 0; i < peer.count; i++) {
		bool again = false;

		for (unsigned j = 0; j < i; j++)
			again |= strcmp(peer.messages[i].id, peer.messages[j].id) == 0;
		for (const char *at = peer.messages[i].bytes; !again && at != NULL;) {
			at = memmem(at, (size_t)(peer.messages[i].bytes + peer.messages[i].len - at), row, strlen(row));
			times += at != NULL;
			at = at != NULL ? at + 1 : NULL;
		}
	}
	return times;
}

// ---- The gateway's side ----

static struct gw_core core;
static struct gw_hl7_destination *destination;
static struct gw_hl7_settings settings;
static const struct gw_hl7_destination_options options = { &core, &settings };
static int64_t device_us, ago_us; // ago_us: so long ago what is given was received

static void
sync_failed(void *arg, enum gw_error error)
{
	(void)arg;
	fail_msg("%s", gw_error_text(error));
}

static void
open_destination(void)
{
	struct gw_why why = { "" };

	if (gw_hl7_destination_open(&options, &destination, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static void
close_destination(void)
{
	gw_hl7_destination_stop(destination);
	gw_hl7_destination_close(destination);
}

static int
begin(void **state)
{
	struct gw_intake_options intake = { .group_bytes_max = MB, .group_tickets_max = 1000, .failed = sync_failed };
	struct gw_why why = { "" };

	if (store_make(state) != 0 || gw_nomenclature_open(&why) != GW_OK)
		return -1;
	memset(&core, 0, sizeof(core));
	core.journal = store_open();
	intake.journal = core.journal;
	if (gw_intake_open(&intake, &core.intake, &why) != GW_OK || gw_registry_open(core.journal, core.intake, &core.registry, &why) != GW_OK ||
	    gw_patients_open(core.journal, core.intake, core.registry, &core.patients, &why) != GW_OK)
		return -1;
	{
		struct gw_profiles *profiles;

		if (gw_profiles_load(NULL, &profiles, &why) != GW_OK)
			return -1;
		core.profiles = profiles;
	}
	device_us = gw_clock_wall_us();
	ago_us = 0;
	settings = (struct gw_hl7_settings){
		.name = "pdms", .host = "127.0.0.1", .production = true, .processing_id = "P", .version = "2.6", .accept_ack = "AL", .application_ack = "NE",
		.charset = gw_hl7_charset_utf8(), .sending_application = "V", .sending_facility = "", .receiving_application = "", .receiving_facility = "",
		.eui64 = 0x0011223344556677, .select = GW_HL7_EVERY, .interval_us = 0, .decimals = -1, .unassociated = GW_HL7_SEND, .answer_ms_max = 300,
		.backoff_ms_min = 20, .backoff_ms_max = 100, .errors_max = 3, .outbox_max = 8, .parked_max = 5, .held_max = 1000,
	};
	return 0;
}

static int
finish(void **state)
{
	peer_stop();
	gw_patients_close(core.patients);
	gw_registry_close(core.registry);
	gw_intake_stop(core.intake);
	gw_intake_close(core.intake);
	gw_journal_close(core.journal);
	gw_profiles_free((struct gw_profiles *)(uintptr_t)core.profiles);
	return store_remove(state);
}

static void
start(const char *(*answer)(unsigned))
{
	peer_start(answer);
	settings.port = peer.port;
	open_destination();
}

// One record with one heart rate, durable when this returns. Each becomes a message of its own.
static void
give(int value)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	struct gw_reading reading = { .signal = 147842, .time_us = device_us += 50000, .type = GW_VALUE_DECIMAL, .unit = 264864,
		.decimal = { value, 0 } };

	assert_int_equal(gw_source_init(&source, core.intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	add_readings(ticket, value % 2 ? "odd" : "even", gw_clock_wall_us() - ago_us, &reading, 1);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
}

static uint64_t
status(const char *name)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	uint64_t value;

	gw_hl7_destination_status(destination, doc, object);
	assert_non_null(yyjson_mut_obj_get(object, name));
	value = yyjson_mut_get_uint(yyjson_mut_obj_get(object, name));
	yyjson_mut_doc_free(doc);
	return value;
}

static char report[16384];

static const char *
whole_status(void)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	char *text;

	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	gw_hl7_destination_status(destination, doc, yyjson_mut_doc_get_root(doc));
	text = yyjson_mut_write(doc, 0, NULL);
	snprintf(report, sizeof(report), "%s", text);
	free(text);
	yyjson_mut_doc_free(doc);
	return report;
}

static bool
keep_line(void *arg, yyjson_mut_doc *doc)
{
	char *text = yyjson_mut_write(doc, 0, NULL);

	(void)arg;
	snprintf(report + strlen(report), sizeof(report) - strlen(report), "%s\n", text);
	free(text);
	yyjson_mut_doc_free(doc);
	return true;
}

// The list of what is parked, or one of them.
static const char *
reported(uint64_t number)
{
	struct gw_why why = { "" };
	enum gw_error error;

	report[0] = '\0';
	error = number == 0 ? gw_hl7_destination_list(destination, keep_line, NULL, &why) : gw_hl7_destination_show(destination, number, keep_line, NULL, &why);
	if (error != GW_OK)
		fail_msg("%s", why.text);
	return report;
}

#define WAIT_FOR(condition) do { \
	int64_t until_us = gw_clock_mono_us() + WAIT_US; \
	while (!(condition)) { \
		if (gw_clock_mono_us() > until_us) \
			fail_msg("waited for %s: %s", #condition, whole_status()); \
		poll(NULL, 0, 2); \
	} \
} while (0)

static void
test_acknowledged_once(void **state)
{
	(void)state;
	start(always_aa);
	for (int i = 0; i < 20; i++)
		give(60 + i);
	WAIT_FOR(status("acknowledged") == 20 && status("outbox") == 0 && status("lag_records") == 0);
	assert_int_equal(peer.connections, 1);
	close_destination();
	// After a restart nothing of it is sent again, and new readings go on.
	open_destination();
	give(99);
	WAIT_FOR(status("acknowledged") == 1 && status("outbox") == 0);
	close_destination();
	assert_int_equal(peer.count, 21);
	for (int i = 0; i < 20; i++)
		assert_int_equal(times_in_messages(60 + i), 1);
	assert_int_equal(times_in_messages(99), 1);
}

// The first four attempts fail, each in its own way; the message is the same each time, on a connection of its own.
static const char *
four_failures(unsigned number)
{
	static const char *const answers[] = { NULL, CLOSE, "\x0bMSH|^~\\&|P\rMSA|AA|ANOTHER\r\x1c\r", "\x0bHTTP/1.1 200 OK\r\n\x1c\r" };

	return number <= 4 ? answers[number - 1] : AA;
}

static void
test_the_same_message_until_it_is_acknowledged(void **state)
{
	(void)state;
	start(four_failures);
	give(70);
	WAIT_FOR(status("acknowledged") == 1 && status("outbox") == 0);
	assert_int_equal(peer.count, 5);
	for (unsigned i = 1; i < 5; i++)
		assert_true(same(0, i));
	assert_int_equal(peer.connections, 5);
	assert_int_equal(status("unanswered"), 2);
	assert_int_equal(status("not_understood"), 2);
	close_destination();
}

static const char *
error_three_times(unsigned number)
{
	return number <= 3 ? AE : AA;
}

static void
test_errors_are_retried_then_parked(void **state)
{
	struct gw_why reply = { "" };

	(void)state;
	start(error_three_times);
	give(70);
	give(72); // the same device's next: stays behind the first until that is parked
	WAIT_FOR(status("acknowledged") == 1 && status("parked") == 1);
	assert_int_equal(peer.count, 4);
	assert_true(same(0, 1) && same(0, 2) && !same(0, 3));
	assert_int_equal(peer.connections, 1);
	assert_non_null(strstr(reported(0), "\"reason\":\"AE not now\""));
	assert_non_null(strstr(reported(1), "\"segments\":[\"MSH|"));
	assert_null(strstr(reported(0), "MSH|"));
	// It outlives a restart, and goes again under its MSH-10 when somebody says so.
	close_destination();
	open_destination();
	assert_int_equal(status("parked"), 1);
	assert_int_equal(gw_hl7_destination_retry(destination, 0, &reply), GW_OK);
	WAIT_FOR(status("acknowledged") == 1 && status("parked") == 0 && status("outbox") == 0);
	assert_true(same(0, 4));
	close_destination();
}

static const char *
reject_the_first(unsigned number)
{
	return number == 1 ? AR : AA;
}

static void
test_a_rejected_one_is_parked_at_once_and_may_be_dropped(void **state)
{
	struct gw_why reply = { "" };

	(void)state;
	start(reject_the_first);
	give(70);
	give(72);
	WAIT_FOR(status("acknowledged") == 1 && status("parked") == 1);
	assert_int_equal(peer.count, 2);
	assert_int_equal(gw_hl7_destination_drop(destination, 99, &reply), GW_E_NOT_FOUND);
	assert_int_equal(gw_hl7_destination_drop(destination, 1, &reply), GW_OK);
	WAIT_FOR(status("parked") == 0);
	close_destination();
	open_destination();
	assert_int_equal(status("parked"), 0);
	assert_int_equal(status("outbox"), 0);
	close_destination();
}

static _Atomic bool rejecting;

static const char *
reject_while(unsigned number)
{
	(void)number;
	return rejecting ? AR : AA;
}

static void
test_beyond_the_limit_of_parked_ones_nothing_is_skipped(void **state)
{
	(void)state;
	rejecting = true;
	start(reject_while);
	for (int i = 0; i < 20; i++)
		give(60 + i);
	WAIT_FOR(status("parked") == 5 && peer.count > 10);
	assert_int_equal(status("parked"), 5);
	rejecting = false;
	WAIT_FOR(status("acknowledged") == 15);
	assert_int_equal(status("parked"), 5);
	close_destination();
}

static void
test_a_dead_peer_leaves_readings_in_the_journal(void **state)
{
	(void)state;
	start(always_aa);
	WAIT_FOR(status("lag_records") == 0);
	close_destination();
	settings.port = 1; // nobody listens there
	open_destination();
	for (int i = 0; i < 40; i++)
		give(60 + i);
	WAIT_FOR(status("outbox") >= settings.outbox_max);
	assert_true(status("outbox") <= settings.outbox_max + 2); // one more for each device whose interval ended meanwhile
	close_destination();
	settings.port = peer.port;
	open_destination();
	WAIT_FOR(status("outbox") == 0 && status("lag_records") == 0 && status("open_groups") == 0);
	close_destination();
	for (int i = 0; i < 40; i++)
		assert_int_equal(times_in_messages(60 + i), 1);
}

static const char *
mostly_aa(unsigned number)
{
	return number % 7 == 3 ? CLOSE : number % 11 == 5 ? AE : AA;
}

// Ends at any moment, also with a message on its way and groups half full.
static void
test_restarts_at_any_moment(void **state)
{
	unsigned random = 12345;
	int given = 0;

	(void)state;
	settings.parked_max = 100;
	settings.errors_max = 1000;
	start(mostly_aa);
	for (int round = 0; round < 25; round++) {
		for (int i = 0; i < 8; i++)
			give(100 + given++);
		random = random * 1103515245 + 12345;
		poll(NULL, 0, (int)(random >> 16) % 60);
		close_destination();
		open_destination();
	}
	WAIT_FOR(status("outbox") == 0 && status("lag_records") == 0 && status("open_groups") == 0);
	close_destination();
	for (int i = 0; i < given; i++)
		assert_int_equal(times_in_messages(100 + i), 1);
}

static const char *
always_ar(unsigned number)
{
	(void)number;
	return AR;
}

// What comes back parked while the others are sent again is not sent again once more.
static void
test_retrying_all_ends(void **state)
{
	struct gw_why reply;

	(void)state;
	settings.outbox_max = 1;
	start(always_ar);
	for (int i = 0; i < 5; i++) {
		give(70 + i);
		WAIT_FOR(status("parked") == (uint64_t)i + 1);
	}
	assert_int_equal(gw_hl7_destination_retry(destination, 0, &reply), GW_OK);
	WAIT_FOR(gw_hl7_destination_retry(destination, 1, &reply) == GW_E_NOT_FOUND && gw_hl7_destination_drop(destination, 0, &reply) == GW_OK);
	WAIT_FOR(status("parked") == 0 && status("outbox") == 0);
	assert_int_equal(peer.count, 10);
	close_destination();
}

// ---- Modes of acknowledgement ----

#define FRAME(text) "\x0b" text "\x1c\r"
#define HEADER "MSH|^~\\&|P|||||"
#define FROM_APPLICATION(code, id) FRAME(HEADER "|ACK^R01|X77|P|2.6|||AL|NE\rMSA|" code "|" id "\r")

static const char *
accepts_then_applies(unsigned number)
{
	return number % 2 == 1 ? FRAME(HEADER "\rMSA|CA|%s\r") FROM_APPLICATION("AA", "%s") : NULL; // our own CA is left unanswered
}

static void
test_both_acknowledgements_on_one_connection(void **state)
{
	(void)state;
	settings.application_ack = "AL";
	start(accepts_then_applies);
	for (int i = 0; i < 3; i++)
		give(70 + i);
	WAIT_FOR(status("acknowledged") == 3 && status("outbox") == 0 && peer.count == 6);
	// The application's is a message of its own, and asked to be accepted.
	assert_non_null(memmem(peer.messages[1].bytes, peer.messages[1].len, "\rMSA|CA|X77\r", 12));
	assert_non_null(memmem(peer.messages[1].bytes, peer.messages[1].len, "|NE|NE\r", 7));
	assert_string_not_equal(peer.messages[1].id, peer.messages[3].id);
	assert_int_equal(peer.connections, 1);
	assert_int_equal(status("unanswered") + status("not_understood"), 0);
	close_destination();
}

static const char *
accepts_only(unsigned number)
{
	return number <= 2 ? FRAME(HEADER "\rMSA|CA|%s\r") : FRAME(HEADER "\rMSA|AA|%s\r");
}

static void
test_an_accepted_one_is_not_done_where_the_application_is_to_answer(void **state)
{
	(void)state;
	settings.accept_ack = "NE";
	settings.application_ack = "AL";
	settings.answer_ms_max = 100;
	start(accepts_only);
	give(70);
	WAIT_FOR(status("unanswered") == 2);
	assert_non_null(strstr(whole_status(), "no application acknowledgement"));
	WAIT_FOR(status("acknowledged") == 1);
	assert_int_equal(peer.count, 3);
	assert_true(same(0, 1) && same(0, 2));
	close_destination();
}

static const char *
accepts_then_errs(unsigned number)
{
	return number <= 2 ? FRAME(HEADER "\rMSA|CA|%s\r") FRAME(HEADER "\rMSA|AE|%s|full\r") : FRAME(HEADER "\rMSA|AA|%s\r");
}

static void
test_the_application_s_error_counts(void **state)
{
	(void)state;
	settings.application_ack = "AL";
	start(accepts_then_errs);
	give(70);
	WAIT_FOR(status("acknowledged") == 1 && status("outbox") == 0);
	assert_int_equal(status("errors"), 2);
	assert_int_equal(peer.count, 3);
	close_destination();
}

static const char *
accepts(unsigned number)
{
	(void)number;
	return FRAME(HEADER "\rMSA|CA|%s\r");
}

static void
test_accepted_is_done_by_default(void **state)
{
	(void)state;
	start(accepts);
	give(70);
	give(71);
	WAIT_FOR(status("acknowledged") == 2 && status("outbox") == 0);
	assert_int_equal(peer.count, 2);
	close_destination();
}

static const char *
silent(unsigned number);

static void
test_without_acknowledgements_written_is_done(void **state)
{
	(void)state;
	settings.accept_ack = settings.application_ack = "NE";
	start(silent);
	for (int i = 0; i < 10; i++)
		give(70 + i);
	WAIT_FOR(status("acknowledged") == 10 && status("outbox") == 0 && peer.count == 10);
	close_destination();
}

// ---- More ways to fail ----

static const char *
half_an_answer_and_a_late_one(unsigned number)
{
	static const char *const answers[] = { "!\x0bMSH|^~\\&|P\rMSA|AA|%s", "~" FRAME(HEADER "\rMSA|AA|%s\r"), FRAME(HEADER "\rMSA|XX|%s\r"),
		FRAME(HEADER "\rMSA|AA|\r"), FRAME("MSA|AA|%s\r") };

	return number <= 5 ? answers[number - 1] : AA;
}

static void
test_half_late_and_nameless_answers_are_none(void **state)
{
	(void)state;
	start(half_an_answer_and_a_late_one);
	give(70);
	WAIT_FOR(status("acknowledged") == 1 && status("outbox") == 0);
	assert_int_equal(peer.count, 6);
	for (unsigned i = 1; i < 6; i++)
		assert_true(same(0, i));
	assert_int_equal(peer.connections, 6);
	assert_int_equal(status("unanswered"), 2);
	assert_int_equal(status("not_understood"), 3);
	close_destination();
}

static const char *
reject_twice(unsigned number)
{
	return number <= 2 ? AR : AA;
}

static void
test_a_rejected_one_is_sent_again_where_the_settings_say_so(void **state)
{
	(void)state;
	settings.rejected = GW_HL7_RETRY;
	start(reject_twice);
	give(70);
	give(72);
	WAIT_FOR(status("acknowledged") == 2 && status("outbox") == 0);
	assert_int_equal(status("rejects"), 2);
	assert_int_equal(status("parked"), 0);
	assert_true(same(0, 1) && same(0, 2) && !same(0, 3));
	close_destination();
}

static const char *
rude_words(unsigned number)
{
	return number == 1 ? FRAME(HEADER "\rMSA|AR|%s|\x1b[2J\xff\r") : AA;
}

// The peer's words reach people and JSON without what could do harm there.
static void
test_words_of_the_peer_are_cleaned(void **state)
{
	(void)state;
	start(rude_words);
	give(70);
	WAIT_FOR(status("parked") == 1);
	assert_non_null(strstr(reported(0), "\"reason\":\"AR ?[2J?\""));
	close_destination();
}

// ---- A backlog ----

#define OLD 260

// What was received long ago goes at its rate and in its order; what comes from now on goes between, also of the same device, and over a restart.
static void
test_a_backlog_goes_slowly_and_new_ones_between(void **state)
{
	unsigned new_at = 0, before;
	char row[96];
	int64_t began;

	(void)state;
	settings.backlog_per_s = 100;
	settings.outbox_max = 20;
	start(always_aa);
	WAIT_FOR(status("lag_records") == 0);
	close_destination();
	ago_us = 86400000000;
	for (int i = 0; i < OLD; i++)
		give(1000 + 2 * i); // "even"
	ago_us = 0;
	began = gw_clock_mono_us();
	open_destination();
	WAIT_FOR(status("acknowledged") >= 20);
	assert_true(status("backlog_records") > 0);
	give(98); // "even" as well
	WAIT_FOR(times_in_messages(98) == 1);
	before = (unsigned)status("acknowledged");
	assert_true(before < OLD - 100);
	close_destination();
	open_destination();
	WAIT_FOR(status("acknowledged") + before >= OLD + 1 && status("outbox") == 0 && status("backlog_records") == 0);
	assert_true(gw_clock_mono_us() - began >= (OLD - 20) * INT64_C(10000)); // a limit, so time is what counts
	WAIT_FOR(gw_journal_get(core.journal, gw_span_text("outlet/hl7/pdms~backlog/cursor"), row, sizeof(row), &(size_t){ 0 }) == GW_E_NOT_FOUND);
	for (unsigned i = 0, next = 0; i < peer.count; i++) {
		snprintf(row, sizeof(row), "|%d|", 1000 + 2 * (int)next);
		if (memmem(peer.messages[i].bytes, peer.messages[i].len, "|98|", 4) != NULL)
			new_at = i;
		else if (memmem(peer.messages[i].bytes, peer.messages[i].len, row, strlen(row)) != NULL)
			next++;
		else
			assert_true(i > 0 && same(i - 1, i)); // under way when the program stopped
	}
	for (int i = 0; i < OLD; i++)
		assert_in_range(times_in_messages(1000 + 2 * i), 1, 2);
	assert_in_range(new_at, 1, OLD - 100);
	close_destination();
}

static const char *
silent(unsigned number)
{
	(void)number;
	return NULL;
}

// A peer that sends without end holds up nobody: its messages wait in the journal, whose cursor and limits go on being looked after, and stopping
// does not wait for it.
static void
flooded(const char *flood)
{
	char many[16384] = "";

	while (strlen(many) + strlen(flood) < sizeof(many))
		strcat(many, flood);
	start(silent);
	peer.flood = many;
	for (int i = 0; i < 5; i++)
		give(70 + i);
	WAIT_FOR(peer.connections >= 3); // left, and tried again
	WAIT_FOR(status("unanswered") + status("not_understood") >= 2);
	give(80);
	WAIT_FOR(status("made") == 6);
	close_destination();
}

static void
test_a_peer_that_sends_garbage_without_end(void **state)
{
	(void)state;
	flooded("garbage ");
}

static void
test_a_peer_that_sends_frames_without_end(void **state)
{
	(void)state;
	flooded("\x0b\x06\x1c\r");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_acknowledged_once, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_same_message_until_it_is_acknowledged, begin, finish),
		cmocka_unit_test_setup_teardown(test_errors_are_retried_then_parked, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_rejected_one_is_parked_at_once_and_may_be_dropped, begin, finish),
		cmocka_unit_test_setup_teardown(test_beyond_the_limit_of_parked_ones_nothing_is_skipped, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_dead_peer_leaves_readings_in_the_journal, begin, finish),
		cmocka_unit_test_setup_teardown(test_restarts_at_any_moment, begin, finish),
		cmocka_unit_test_setup_teardown(test_retrying_all_ends, begin, finish),
		cmocka_unit_test_setup_teardown(test_both_acknowledgements_on_one_connection, begin, finish),
		cmocka_unit_test_setup_teardown(test_an_accepted_one_is_not_done_where_the_application_is_to_answer, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_application_s_error_counts, begin, finish),
		cmocka_unit_test_setup_teardown(test_accepted_is_done_by_default, begin, finish),
		cmocka_unit_test_setup_teardown(test_without_acknowledgements_written_is_done, begin, finish),
		cmocka_unit_test_setup_teardown(test_half_late_and_nameless_answers_are_none, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_rejected_one_is_sent_again_where_the_settings_say_so, begin, finish),
		cmocka_unit_test_setup_teardown(test_words_of_the_peer_are_cleaned, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_backlog_goes_slowly_and_new_ones_between, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_peer_that_sends_garbage_without_end, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_peer_that_sends_frames_without_end, begin, finish),
	};

	gw_diag_open(false, GW_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
